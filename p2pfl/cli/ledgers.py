"""`p2pfl ledger show` and `p2pfl ledger verify`: a group's record as tables, or JSON."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from p2pfl.charter.departures import departure_line
from p2pfl.cli.errors import DIFFERENT, BadInput
from p2pfl.daemon.config import PeerFolder
from p2pfl.daemon.retention import forgotten_up_to
from p2pfl.store.errors import StoreError
from p2pfl.store.reading import has_journal, read_kept
from p2pfl_gossip.ledger.approvals import Says
from p2pfl_gossip.ledger.charter import NONE, Epoch
from p2pfl_gossip.ledger.departing import departed
from p2pfl_gossip.ledger.entries import Entry, EntryStep, Kind, out_of
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.participation import (
    entries_of,
    overdue,
    participation,
    warning_of,
)
from p2pfl_gossip.ledger.record import (
    RECORD_FILE,
    DamagedRecord,
    read_record,
    record_from_journal,
)
from p2pfl_gossip.records import MalformedFrame

RECORD_BYTES_MAX = 2**30
"""Of a file that is read: 90,000 rounds of 128 members."""

NAMES_SHOWN_MAX = 4
"""Members who were not in a model, by name; of more the number is shown, and JSON has all."""


def show_ledger(path: Path, *, as_json: bool, last: int | None) -> None:
    """Show the record at a path."""
    try:
        history = read_record(read_ledger(path))
    except DamagedRecord as error:
        raise BadInput(f"{path} is damaged: {error}") from None
    if as_json:
        print(json.dumps(describe(history, last=last), indent=2))
    else:
        _show(Console(markup=False, highlight=False), history, last)


def verify_ledger(path: Path, *, as_json: bool) -> int:
    """Check the record at a path, tell what was found, and return the exit code."""
    data = read_ledger(path)
    try:
        history = read_record(data)
    except DamagedRecord as error:
        if as_json:
            problem = {"item": error.item, "name": error.name, "why": error.why}
            print(json.dumps({"is_whole": False, "problem": problem}, indent=2))
        else:
            print(f"{path}: {error}")
        return DIFFERENT
    gap = history.gap()
    forgotten = forgotten_up_to(path) if path.is_dir() else 0
    is_forgotten = gap is not None and gap.round <= forgotten
    entries = entries_of(history)
    sums = sum(entry.kind == Kind.SUM for entry in entries)
    if as_json:
        found = {
            "is_whole": gap is None,
            "problem": None,
            "missing_up_to_round": None if gap is None else gap.round,
            "deleted_as_agreed": is_forgotten,
            "group": history.epochs[0].group.hex(),
            "entries": len(entries),
            "models": sums,
            "epochs": len(history.epochs),
            "height": history.head.entry.height,
            "final_round": _final_round(history),
        }
        print(json.dumps(found, indent=2))
    else:
        print(f"group {history.epochs[0].group.hex()}")
        print(
            f"{_count(len(entries), 'entry', 'entries')}, {_count(sums, 'model', 'models')},"
            f" {_count(len(history.epochs), 'epoch', 'epochs')}: every signature, base and proof is"
            f" in order; height {history.head.entry.height}, final up to round"
            f" {_final_round(history)}"
        )
        if gap is not None and is_forgotten:
            print(
                f"the entries up to round {gap.round} were deleted, as the charter's retention_days"
                " says; charters, ends of epochs and all later entries are here"
            )
        elif gap is not None:
            print(
                f"the entries up to round {gap.round} are not here: this member came later, and has"
                " not fetched them yet; another member's record has them"
            )
    return 0 if gap is None or is_forgotten else DIFFERENT


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


# --- reading ------------------------------------------------------------------------------------


def read_ledger(path: Path) -> bytes:
    """Read the record of a run's folder, of a peer's folder or journal, or of a file."""
    try:
        if path.is_dir():
            file = path / RECORD_FILE
            if file.is_file():
                return _read_file(file)
            for journal in (PeerFolder(path).journal, path):
                if has_journal(journal):
                    return record_from_journal({**read_kept(journal, "ledger/")})
            raise BadInput(
                f"{path} holds no ledger: it is neither the folder of a run whose group keeps one"
                " nor that of a peer which has run in one"
            )
        return _read_file(path)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    except (StoreError, MalformedFrame) as error:
        raise BadInput(f"cannot read the ledger of {path}: {error}") from None


def _read_file(file: Path) -> bytes:
    size = file.stat().st_size
    if size > RECORD_BYTES_MAX:
        raise BadInput(f"{file} is no record of a ledger: it has {size:,} bytes")
    return file.read_bytes()


# --- showing ------------------------------------------------------------------------------------


def describe(history: History, *, last: int | None = None) -> dict[str, Any]:
    """Return all that there is to show, for programs."""
    gap = history.gap()
    return {
        "group": history.epochs[0].group.hex(),
        "epochs": [
            {
                "epoch": epoch.number,
                "charter": epoch.digest.hex(),
                "rounds": epoch.charter.rounds,
                "threshold": epoch.threshold,
                "members": [
                    {"name": member.name, "peer": peer, "weight": member.weight}
                    for member, peer in zip(epoch.charter.members, epoch.members, strict=True)
                ],
                "departed": {
                    name: says.name.lower() for name, says in _departed(history, epoch).items()
                },
            }
            for epoch in history.epochs
        ],
        "entries": [_describe_entry(history, entry) for entry in _entries(history, last)],
        "final_round": _final_round(history),
        "missing_up_to_round": None if gap is None else gap.round,
        "participation": [
            {
                "name": share.name,
                "peer": share.peer,
                "weight": share.weight,
                "heights_in": share.heights_in,
                "heights": share.heights,
                "share": share.share,
                "last_height": share.last_height,
                "out_for": share.out_for,
                "cause": share.cause,
            }
            for share in participation(history)
        ],
    }


def _entries(history: History, last: int | None) -> list[Entry]:
    return entries_of(history)[-last if last else 0 :]


def _describe_entry(history: History, entry: Entry) -> dict[str, Any]:
    epoch, step = history.epochs[entry.epoch], EntryStep(entry)
    certificate = history.certificate(step.head)
    assert certificate is not None
    return {
        "height": entry.height,
        "round": entry.round,
        "epoch": entry.epoch,
        "kind": "sum" if entry.kind == Kind.SUM else "empty",
        "members": _names(epoch, epoch.unpack(entry.members) or ()),
        "weight": entry.weight,
        "signers": _names(epoch, epoch.unpack(certificate.signers) or ()),
        "out": _names(epoch, epoch.unpack(entry.out) or ()),
        "next_charter": None if entry.next_charter == NONE else entry.next_charter.hex(),
        "model": entry.state[0].digest.hex(),
        "entry": step.head.entry.hex(),
        "is_final": entry.round <= _final_round(history),
    }


def _names(epoch: Epoch, ranks: Sequence[int]) -> list[str]:
    return [epoch.charter.members[rank].name for rank in ranks]


def _final_round(history: History) -> int:
    return history.final.head.round if history.final else 0


def _show(console: Console, history: History, last: int | None) -> None:
    epoch = history.epoch
    console.print(
        f"group {history.epochs[0].group.hex()[:16]}   epoch {epoch.number}: {epoch.size} members,"
        f" {epoch.threshold} sign   height {history.head.entry.height} of {epoch.charter.rounds},"
        f" final up to round {_final_round(history)}"
    )
    entries = _entries(history, last)
    if entries:
        console.print(_table(history, entries))
    gap = history.gap()
    if gap is not None:
        console.print(f"The entries up to round {gap.round} are not here.")
    shares = participation(history)
    table = _make_table("member", "weight", "in models", "last in")
    for share in shares:
        share_of = "" if share.share is None else f"{share.heights_in} of {share.heights}"
        table.add_row(
            share.name,
            f"{share.weight:g}",
            share_of,
            str(share.last_height) if share.last_height else "none",
        )
    console.print(table)
    for share in overdue(shares):
        console.print(warning_of(share), style="yellow")


def _make_table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in columns:
        is_text = column in ("member", "who was in", "what else")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text)
    return table


def _table(history: History, entries: Sequence[Entry]) -> Table:
    table = _make_table("height", "round", "who was in", "weight", "signers", "model", "what else")
    for entry in entries:
        epoch = history.epochs[entry.epoch]
        certificate = history.certificate(EntryStep(entry).head)
        assert certificate is not None
        signers = epoch.unpack(certificate.signers) or ()
        is_sum = entry.kind == Kind.SUM
        table.add_row(
            str(entry.height),
            str(entry.round),
            _who(epoch, entry) if is_sum else "no sum",
            f"{entry.weight:g}" if is_sum else "",
            f"{len(signers)} of {epoch.size}",
            entry.state[0].digest.hex()[:8],
            "; ".join(_remarks(history, entry)),
        )
    return table


def _who(epoch: Epoch, entry: Entry) -> str:
    inside = epoch.unpack(entry.members) or ()
    absent = _names(epoch, [rank for rank in range(epoch.size) if rank not in inside])
    if not absent:
        return f"all {epoch.size}"
    if len(absent) > NAMES_SHOWN_MAX:
        return f"{len(inside)} of {epoch.size}"
    return f"{len(inside)} of {epoch.size}, without {', '.join(absent)}"


def _departed(history: History, epoch: Epoch) -> dict[str, Says]:
    """Return what members said alone of an epoch's charter, as the next epoch's beginning has it.

    Before there is one, the members' own files say so, and an entry has such a member out.
    """
    is_over = epoch.number < history.epoch.number
    return departed(epoch.charter, history.approvals_of(epoch.number + 1) if is_over else ())


def _changes(before: Epoch, epoch: Epoch) -> str:
    """Say in what a charter differs from the one before, as far as members and rounds go."""
    old = dict(zip(before.keys, before.charter.members, strict=True))
    new = dict(zip(epoch.keys, epoch.charter.members, strict=True))
    joined = [member.name for key, member in new.items() if key not in old]
    left = [member.name for key, member in old.items() if key not in new]
    parts = [f"{name} joins" for name in joined] + [f"{name} leaves" for name in left]
    if before.charter.rounds != epoch.charter.rounds:
        parts.append(f"{epoch.charter.rounds} rounds")
    return ", ".join(parts) or "other settings"


def _remarks(history: History, entry: Entry) -> Iterator[str]:
    epoch = history.epochs[entry.epoch]
    base = history.step(entry.base)
    before = entry.epoch if base is None else base.entry.epoch
    if entry.epoch != before:
        yield f"epoch {epoch.number} begins: {_changes(history.epochs[before], epoch)}"
        for name, says in _departed(history, history.epochs[before]).items():
            yield departure_line(name, says)
    if entry.next_charter != NONE:
        yield f"carries charter {entry.next_charter.hex()[:8]}"
    was_out = out_of(epoch, base.entry) if base is not None else frozenset()
    fresh = [rank for rank in epoch.unpack(entry.out) or () if rank not in was_out]
    if fresh:
        yield f"{', '.join(_names(epoch, fresh))} out"
