"""`p2pfl charter propose | approve | reject | leave | ... | back`: what they accept.

Nothing heavy is imported here (see main.py).
"""

from pathlib import Path
from typing import Annotated

import typer

from p2pfl.cli.charter_options import (
    ActsOption,
    DaysOption,
    FileArgument,
    KeyOption,
    MemberPeerArgument,
    NewFileArgument,
    OwnKeyOption,
    PassphraseOption,
    PeerOption,
    PhraseOption,
    PresentOption,
)

app = typer.Typer()


@app.command(
    epilog="Example:  [bold]p2pfl charter propose next.toml next.charter --present charters[/]"
)
def propose(
    toml: Annotated[Path, typer.Argument(metavar="TOML", help="All that is to hold then.")],
    file: NewFileArgument,
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
    peer: MemberPeerArgument,
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
    phrase: PhraseOption = None,
) -> None:
    """Take an invitation, once its words are compared: in another history the peer says nothing."""
    from p2pfl.cli.joining import take_invitation

    take_invitation(file, peer, phrase=phrase)


@app.command(epilog="Example:  [bold]p2pfl charter back berlin --without turin[/]")
def back(
    peer: MemberPeerArgument,
    without: Annotated[
        str | None,
        typer.Option("--without", metavar="NAME", help="A member: before it joined."),
    ] = None,
) -> None:
    """Print the line of a proposal that goes back to where an epoch began, or a member joined."""
    from p2pfl.cli.going_back import print_beginnings

    print_beginnings(peer, without=without)
