"""`p2pfl charter key | card | draft | reveal | gather | sign | succeed`: what they accept.

Nothing heavy is imported here (see main.py).
"""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.charter_options import (
    ActsOption,
    FileArgument,
    KeyOption,
    NewFileArgument,
    PassphraseOption,
    PeerOption,
    PhraseOption,
    PredecessorOption,
    UnderOption,
)

app = typer.Typer()


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


@app.command(
    epilog="Example:  [bold]p2pfl charter draft group.toml group.charter --card a/member.toml"
    " --card b/member.toml ...[/]\n\n"
    "[bold]p2pfl charter draft roster.toml group.charter --from-roster --first-state"
    " start.safetensors --card a/member.toml ...[/]"
)
def draft(
    toml: Annotated[Path, typer.Argument(metavar="TOML", help="What the group agrees on.")],
    file: NewFileArgument,
    cards: Annotated[
        list[Path], typer.Option("--card", metavar="CARD", help="A founder's card; one for each.")
    ],
    from_roster: Annotated[
        bool,
        typer.Option(
            "--from-roster",
            help="TOML is the roster of a group from before there were charters.",
        ),
    ] = False,
    first_state: Annotated[
        Path | None,
        typer.Option(
            "--first-state",
            metavar="FILE",
            help="With a roster: where the group begins, as p2pfl task begin --model writes it.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="FILE", help="With a roster: the bundle of an own task."),
    ] = None,
    under: UnderOption = None,
) -> None:
    """Draft the charter that founds a group, of a TOML and the founders' cards."""
    from p2pfl.cli.charters import draft_charter

    draft_charter(
        toml,
        cards,
        file,
        from_roster=from_roster,
        first_state=first_state,
        bundle=bundle,
        under=under,
    )


@app.command(epilog="Example:  [bold]p2pfl charter reveal group.charter berlin[/]")
def reveal(
    file: FileArgument,
    peer: Annotated[Path, typer.Argument(metavar="PEER", help="A founder's peer.")],
) -> None:
    """Show the random bytes that a founder has committed to, for this draft and no other."""
    from p2pfl.cli.charters import reveal_bytes

    reveal_bytes(file, peer)


@app.command(epilog="Example:  [bold]p2pfl charter gather group.charter from-*.charter[/]")
def gather(
    file: FileArgument,
    others: Annotated[
        list[Path], typer.Argument(metavar="OTHER...", help="Copies of it that came back.")
    ],
) -> None:
    """Take what others have shown and signed in their copies into one file."""
    from p2pfl.cli.charters import gather_files

    gather_files(file, others)


@app.command(
    epilog="Example:  [bold]p2pfl charter sign group.charter --key director.key"
    " --phrase 'nine words ...'[/]"
)
def sign(
    file: FileArgument,
    key: KeyOption = None,
    peer: PeerOption = None,
    passphrase_file: PassphraseOption = None,
    phrase: PhraseOption = None,
    predecessor: PredecessorOption = None,
    acts: ActsOption = None,
) -> None:
    """Sign a founding charter. Every key in it signs: each governance key, and each peer's.

    With --predecessor members of the group before sign, too, that are none of the new one.
    """
    from p2pfl.cli.charters import sign_founding

    sign_founding(
        file,
        key=key,
        peer=peer,
        passphrase_file=passphrase_file,
        phrase=phrase,
        acts_of=acts,
        predecessor=predecessor,
    )


@app.command(epilog="Example:  [bold]p2pfl charter succeed berlin start.safetensors[/]")
def succeed(
    peer: Annotated[
        Path, typer.Argument(metavar="PEER", help="A peer of the group that lost too many.")
    ],
    state: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file: the model that they go on from.")
    ],
) -> None:
    """Begin a group that succeeds one which can certify nothing any more: write its first state.

    What is printed goes into the TOML of the new group's draft.
    """
    from p2pfl.cli.succeeding import write_successor

    write_successor(peer, state)
