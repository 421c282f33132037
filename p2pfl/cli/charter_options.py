"""Options and arguments that several commands of charters take."""

from pathlib import Path
from typing import Annotated

import typer

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A charter file.")]
NewFileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A new file, NAME.charter.")]
FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder of charter files, or one of them.")
]
MemberPeerArgument = Annotated[Path, typer.Argument(metavar="PEER", help="The peer of a member.")]

KeyOption = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="The governance key to sign with.")
]
OwnKeyOption = Annotated[
    Path, typer.Option("--key", metavar="FILE", help="One of one's own governance keys.")
]
PeerOption = Annotated[
    Path | None,
    typer.Option("--peer", metavar="DIR", help="Sign with the key of the peer in this folder."),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="Where the key's passphrase stands; asked at the terminal if not given.",
    ),
]
ActsOption = Annotated[
    Path | None,
    typer.Option("--acts", metavar="DIR", help="Note the act in this peer's folder."),
]
PhraseOption = Annotated[
    str | None,
    typer.Option(
        "--phrase",
        metavar="WORDS",
        help="The nine words as the others have read them; asked if not given.",
    ),
]
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
UnderOption = Annotated[
    Path | None,
    typer.Option(
        "--under",
        metavar="FILE",
        help="Of a study: the charter of the group that it is of some members of, or a folder of"
        " its charters. Cards and terms are that group's.",
    ),
]
PredecessorOption = Annotated[
    Path | None,
    typer.Option(
        "--predecessor",
        metavar="PEER",
        help="Of a group that succeeds another: a peer's folder, or record, of that one.",
    ),
]
