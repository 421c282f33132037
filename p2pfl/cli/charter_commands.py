"""`p2pfl charter ...`: what it accepts. Nothing heavy is imported here (see main.py)."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Found a group and change it: keys, drafts, signatures, amendments. All of it works"
    " offline.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="Where the key's passphrase stands; asked at the terminal if not given.",
    ),
]


@app.command(
    epilog="Examples:\n\n"
    "[bold]p2pfl charter key director.key[/]\n\n"
    "[bold]p2pfl charter key director.key --pkcs11 /usr/lib/softhsm/libsofthsm2.so --id 05[/]"
    "\n\n[bold]p2pfl charter key director.key --public p256:02... --command 'sign-it --slot 3'[/]"
)
def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    kind: Annotated[
        str, typer.Option("--kind", metavar="K", help="ed25519 or p256, of a key made here.")
    ] = "ed25519",
    passphrase_file: PassphraseOption = None,
    pkcs11: Annotated[
        Path | None,
        typer.Option("--pkcs11", metavar="MODULE", help="The key is in a hardware module."),
    ] = None,
    key_id: Annotated[
        str | None, typer.Option("--id", metavar="HEX", help="The key's id in the module.")
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", metavar="T", help="The module's token.")
    ] = None,
    pin_file: Annotated[
        Path | None,
        typer.Option("--pin-file", metavar="FILE", help="The PIN; asked each time if not given."),
    ] = None,
    public: Annotated[
        str | None,
        typer.Option("--public", metavar="KEY", help="The public key that a command signs with."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--command",
            metavar="WORDS",
            help="Signs what is on its standard input. No shell reads the words.",
        ),
    ] = None,
    deadline_s: Annotated[
        float,
        typer.Option("--deadline", metavar="S", help="How long a command or module may take."),
    ] = 120.0,
) -> None:
    """Make a governance key, or note by which module or command one signs."""
    from p2pfl.cli.governance_keys import make_governance_key

    make_governance_key(
        file,
        kind=kind,
        passphrase_file=passphrase_file,
        pkcs11=pkcs11,
        key_id=key_id,
        token=token,
        pin_file=pin_file,
        public=public,
        command=command,
        deadline_s=deadline_s,
    )


@app.command(
    epilog="Example:  [bold]p2pfl charter card berlin --key a.key --key b.key --threshold 2[/]"
)
def card(
    peer: Annotated[Path, typer.Argument(metavar="PEER", help="A peer's folder.")],
    keys: Annotated[
        list[Path],
        typer.Option("--key", metavar="FILE", help="A governance key; up to seven."),
    ],
    threshold: Annotated[
        int, typer.Option("--threshold", metavar="N", help="How many of the keys it takes.")
    ] = 1,
    controller: Annotated[
        str | None,
        typer.Option(
            "--controller",
            metavar="NAME",
            help="Who answers for the data, if it has several peers: one vote for all of them.",
        ),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(
            "--weight",
            metavar="W",
            help="How much its updates count; its rows if they are on its card, else 1.",
        ),
    ] = None,
    contact: Annotated[
        str | None,
        typer.Option("--contact", metavar="TEXT", help="Whom to call; can be erased later."),
    ] = None,
) -> None:
    """Write the card by which a peer becomes a member: DIR/member.toml."""
    from p2pfl.cli.governance_keys import write_card_of_member

    write_card_of_member(
        peer,
        keys,
        threshold=threshold,
        controller=controller,
        weight=weight,
        contact=contact,
    )
