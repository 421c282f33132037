"""`p2pfl charter ...`: what it accepts. Nothing heavy is imported here (see main.py)."""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.options import JsonOption

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


FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A charter file.")]
KeyOption = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="The governance key to sign with.")
]
PeerOption = Annotated[
    Path | None,
    typer.Option("--peer", metavar="DIR", help="Sign with the key of the peer in this folder."),
]
ActsOption = Annotated[
    Path | None,
    typer.Option("--acts", metavar="DIR", help="Note the act in this peer's folder."),
]


@app.command(
    epilog="Example:  [bold]p2pfl charter draft group.toml group.charter --card a/member.toml"
    " --card b/member.toml ...[/]\n\n"
    "[bold]p2pfl charter draft roster.toml group.charter --from-roster --first-state"
    " start.safetensors --card a/member.toml ...[/]"
)
def draft(
    toml: Annotated[Path, typer.Argument(metavar="TOML", help="What the group agrees on.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, NAME.charter.")],
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
) -> None:
    """Draft the charter that founds a group, of a TOML and the founders' cards."""
    from p2pfl.cli.charters import draft_charter

    draft_charter(
        toml, cards, file, from_roster=from_roster, first_state=first_state, bundle=bundle
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
    phrase: Annotated[
        str | None,
        typer.Option(
            "--phrase",
            metavar="WORDS",
            help="The nine words that all founders have read to each other; asked if not given.",
        ),
    ] = None,
    predecessor: Annotated[
        Path | None,
        typer.Option(
            "--predecessor",
            metavar="PEER",
            help="Of a group that succeeds another: a peer's folder or record of that one. Its"
            " members sign, too, if they are no members of the new one.",
        ),
    ] = None,
    acts: ActsOption = None,
) -> None:
    """Sign a founding charter. Every key in it signs: each governance key, and each peer's."""
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


@app.command(epilog="Example:  [bold]p2pfl charter show group.charter --toml > next.toml[/]")
def show(
    file: FileArgument,
    toml: Annotated[
        bool, typer.Option("--toml", help="Only its TOML: where an amendment begins.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show all that a charter says, its phrase, and who has signed."""
    from p2pfl.cli.charters import show_charter

    show_charter(file, as_toml=toml, as_json=json)


@app.command(epilog="Example:  [bold]p2pfl charter diff group.charter next.charter[/]")
def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A charter file.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another one.")],
) -> None:
    """Say in words what changes, which class of change it is, and who must still sign."""
    from p2pfl.cli.charters import diff_charters

    diff_charters(before, after)


@app.command(epilog="Example:  [bold]p2pfl charter erase group.charter[/]")
def erase(file: FileArgument) -> None:
    """Take free texts and contacts out of a charter file; the charter stays the same."""
    from p2pfl.cli.charters import erase_texts

    erase_texts(file)


@app.command(
    epilog="Example:  [bold]p2pfl charter propose next.toml next.charter --present charters[/]"
)
def propose(
    toml: Annotated[Path, typer.Argument(metavar="TOML", help="All that is to hold then.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, NAME.charter.")],
    present: Annotated[
        Path,
        typer.Option(
            "--present", metavar="FILE", help="The charter in force, or a folder of charters."
        ),
    ],
    cards: Annotated[
        list[Path] | None,
        typer.Option(
            "--card",
            metavar="CARD",
            help="The card of a newcomer, or of a member that gets other keys or addresses.",
        ),
    ] = None,
) -> None:
    """Propose a charter that is to follow the one in force."""
    from p2pfl.cli.amendments import propose_charter

    propose_charter(toml, present, file, cards or ())


PresentOption = Annotated[
    Path | None,
    typer.Option(
        "--present",
        metavar="FILE",
        help="The charter in force, or a folder of charters; by default, the proposal's folder.",
    ),
]
DaysOption = Annotated[
    int,
    typer.Option("--days", metavar="N", min=1, max=365, help="How long the word holds."),
]


@app.command(epilog="Example:  [bold]p2pfl charter approve charters/next.charter --key my.key[/]")
def approve(
    file: FileArgument,
    key: KeyOption = None,
    peer: PeerOption = None,
    present: PresentOption = None,
    passphrase_file: PassphraseOption = None,
    days: DaysOption = 30,
    acts: ActsOption = None,
) -> None:
    """Approve a proposal: by a governance key, or by the peer's where it is a running change."""
    from p2pfl.cli.amendments import approve_charter
    from p2pfl_gossip.ledger.approvals import Says

    approve_charter(
        file,
        says=Says.APPROVE,
        present=present,
        key=key,
        peer=peer,
        passphrase_file=passphrase_file,
        days=days,
        acts_of=acts,
    )


@app.command(epilog="Example:  [bold]p2pfl charter reject charters/next.charter --key my.key[/]")
def reject(
    file: FileArgument,
    key: KeyOption = None,
    present: PresentOption = None,
    passphrase_file: PassphraseOption = None,
    days: DaysOption = 30,
    acts: ActsOption = None,
) -> None:
    """Object to a proposal. An old key stops the replacement of its member's keys so."""
    from p2pfl.cli.amendments import approve_charter
    from p2pfl_gossip.ledger.approvals import Says

    approve_charter(
        file,
        says=Says.OBJECT,
        present=present,
        key=key,
        peer=None,
        passphrase_file=passphrase_file,
        days=days,
        acts_of=acts,
    )


OwnKeyOption = Annotated[
    Path, typer.Option("--key", metavar="FILE", help="One of one's own governance keys.")
]


@app.command(epilog="Example:  [bold]p2pfl charter leave group.charter --key my.key[/]")
def leave(
    file: FileArgument,
    key: OwnKeyOption,
    withdraw: Annotated[
        bool,
        typer.Option(
            "--withdraw",
            help="Ask that later models are not built on rounds with one's own rows, too. All its"
            " keys that sign say the same.",
        ),
    ] = False,
    passphrase_file: PassphraseOption = None,
    acts: ActsOption = None,
) -> None:
    """Leave the group. It needs nobody's consent."""
    from p2pfl.cli.departing import say_of_present
    from p2pfl_gossip.ledger.approvals import Says

    says = Says.WITHDRAW if withdraw else Says.LEAVE
    say_of_present(file, says=says, key=key, passphrase_file=passphrase_file, acts_of=acts)


@app.command(epilog="Example:  [bold]p2pfl charter revoke group.charter --key my.key[/]")
def revoke(
    file: FileArgument,
    key: OwnKeyOption,
    passphrase_file: PassphraseOption = None,
    acts: ActsOption = None,
) -> None:
    """Revoke the key of one's own peer: whoever has it counts for nothing from then on."""
    from p2pfl.cli.departing import say_of_present
    from p2pfl_gossip.ledger.approvals import Says

    say_of_present(file, says=Says.REVOKE, key=key, passphrase_file=passphrase_file, acts_of=acts)


@app.command(epilog="Example:  [bold]p2pfl charter invite berlin york york.toml[/]")
def invite(
    peer: Annotated[Path, typer.Argument(metavar="PEER", help="The peer of a member.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The newcomer.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, for the newcomer.")],
) -> None:
    """Write what a newcomer is to find, once its charter is in force; tell it as nine words too."""
    from p2pfl.cli.joining import write_invite

    write_invite(peer, name, file)


@app.command(
    epilog="Example:  [bold]p2pfl charter join york.toml york --phrase 'nine words ...'[/]"
)
def join(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The invitation.")],
    peer: Annotated[Path, typer.Argument(metavar="PEER", help="The newcomer's peer.")],
    phrase: Annotated[
        str | None,
        typer.Option(
            "--phrase",
            metavar="WORDS",
            help="The nine words that a member has read to you; asked if not given.",
        ),
    ] = None,
) -> None:
    """Take an invitation, once its words are compared: in another history the peer says nothing."""
    from p2pfl.cli.joining import take_invitation

    take_invitation(file, peer, phrase=phrase)


@app.command(epilog="Example:  [bold]p2pfl charter back berlin --without turin[/]")
def back(
    peer: Annotated[Path, typer.Argument(metavar="PEER", help="The peer of a member.")],
    without: Annotated[
        str | None,
        typer.Option("--without", metavar="NAME", help="A member: before it joined."),
    ] = None,
) -> None:
    """Print the line of a proposal that goes back to where an epoch began, or a member joined."""
    from p2pfl.cli.going_back import print_beginnings

    print_beginnings(peer, without=without)


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


@app.command(epilog="Example:  [bold]p2pfl charter status charters --member berlin[/]")
def status(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of charter files, or one of them.")
    ],
    member: Annotated[
        str | None, typer.Option("--member", metavar="NAME", help="Say what waits for this one.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the charter in force, what waits for whose approval, and dates that come near."""
    from p2pfl.cli.amendments import show_status

    show_status(folder, name=member, as_json=json)


@app.command(epilog="Example:  [bold]p2pfl charter verify charters[/]")
def verify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Charter files, or folders of them.")
    ],
    study: Annotated[
        list[Path] | None,
        typer.Option(
            "--study",
            metavar="FILE",
            help="Another group of some of the same members: warn if their models can be compared.",
        ),
    ] = None,
    predecessor: Annotated[
        Path | None,
        typer.Option(
            "--predecessor",
            metavar="PEER",
            help="A peer, or a record, of the group that this one succeeds.",
        ),
    ] = None,
) -> None:
    """Check charters from the founding on, offline; name the first fault (exit code 2)."""
    from p2pfl.cli.amendments import verify_charters

    verify_charters(paths, study or (), predecessor)


@app.command(epilog="Example:  [bold]p2pfl charter dossier charters > dossier.md[/]")
def dossier(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of charter files, or one of them.")
    ],
) -> None:
    """Print the facts for a record of processing, an impact assessment, a technical file."""
    from p2pfl.cli.dossiers import print_dossier

    print_dossier(folder)
