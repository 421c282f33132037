"""`p2pfl peer run | status | stop | pause | resume | logs`."""

import json
import math
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import IO, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from p2pfl.cli.errors import CANNOT_GO_ON, BadInput, peer_errors
from p2pfl.cli.figures import told_figure, told_gain, told_interval
from p2pfl.cli.passphrases import read_keys_of
from p2pfl.cli.quantities import data_size, duration, plural
from p2pfl.cli.resting import resting_lines
from p2pfl.daemon.config import PeerConfig, PeerFolder, read_config
from p2pfl.daemon.control import ask
from p2pfl.daemon.errors import RunsTwice
from p2pfl.daemon.logs import describe_line
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.store.errors import FolderLocked, StoreError
from p2pfl.store.keys import PeerKeys
from p2pfl.store.reading import is_locked

WATCH_EVERY_S = 1.0
STOP_WAIT_S = 45.0  # Longer than a peer takes that ends its round first.
POLL_S = 0.1
LEARNING = "learning"  # What the driver's threads that train are called.


def run_foreground(folder: Path, *, until_eof: bool, draws: str | None = None) -> int:
    """Run the peer of a folder in the foreground; return the exit code."""
    with peer_errors():
        config = read_config(folder)
        keys = read_keys_of(folder, config)
    with _stoppable_while_it_starts():
        code = _run(folder, config, keys, until_eof=until_eof, draws=draws)
    if any(thread.name.startswith(LEARNING) for thread in threading.enumerate()):
        # A training that nobody waits for any more: Python would, however long that takes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _run(
    folder: Path, config: PeerConfig, keys: PeerKeys, *, until_eof: bool, draws: str | None
) -> int:
    from p2pfl.daemon.starting import run_peer

    try:
        with peer_errors():
            run_peer(PeerFolder(folder), config, keys, until_eof=until_eof, draws=draws)
    except FolderLocked as error:
        raise BadInput(str(error)) from None
    except (RunsTwice, StoreError, OSError) as error:
        Console(stderr=True, soft_wrap=True).print(f"p2pfl: {error}", markup=False, highlight=False)
        return CANNOT_GO_ON
    return 0


@contextmanager
def _stoppable_while_it_starts() -> Iterator[None]:
    """End at once on SIGTERM and Ctrl-C until the service handles them; never after it has ended.

    Loading a task may take long, and an exception amid an import of torch ends in tracebacks. By
    then nothing has been said to anybody, and the journal bears an end at any moment.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        os.write(2, b"p2pfl: stopped before it began\n")
        os._exit(0)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    except BaseException:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        raise
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)  # The process is about to end by itself.


def show_status(folder: Path, *, as_json: bool, watch: bool) -> None:
    """Show what a running peer says of itself, once or until Ctrl-C."""
    console = Console()
    if not watch:
        _show(console, _ask(folder, "status"), as_json=as_json)
        return
    if as_json:
        while True:
            print(json.dumps(_ask(folder, "status")), flush=True)
            time.sleep(WATCH_EVERY_S)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_screen(_ask(folder, "status")), refresh=True)
            time.sleep(WATCH_EVERY_S)


def stop_peer(folder: Path, *, now: bool) -> None:
    """Ask a running peer to leave, and wait until it has."""
    _ask(folder, "stop", now=now)
    deadline_s = time.monotonic() + STOP_WAIT_S
    while is_locked(PeerFolder(folder).journal):
        if time.monotonic() > deadline_s:
            raise BadInput(
                f"the peer in {folder} has not left within {STOP_WAIT_S:g} s; p2pfl peer logs"
                f" {folder} may tell why, and p2pfl peer stop --now does not wait for its round"
            )
        time.sleep(POLL_S)
    print("stopped")


def pause_peer(folder: Path) -> None:
    """Ask a running peer to begin no further round."""
    _ask(folder, "pause")
    print(f"begins no further round; p2pfl peer resume {folder} lets it go on")


def resume_peer(folder: Path, *, once_more: bool = False) -> None:
    """Ask a paused peer to go on, or one that has spent its updates to give one more."""
    _ask(folder, "resume", once_more=once_more)
    print("gives one update more from this model" if once_more else "goes on")


def show_logs(folder: Path, *, lines: int, follow: bool, as_json: bool) -> None:
    """Print the end of a peer's log, then, if wanted, what is added until Ctrl-C."""
    path = PeerFolder(folder).log
    with peer_errors():
        read_config(folder)
    try:
        log = path.open(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"there is no {path}: no peer has run in {folder} yet") from None
    with log:
        for line in deque(log, maxlen=lines):
            _print_line(line, as_json=as_json)
        if follow:
            for line in _added(log, path):
                _print_line(line, as_json=as_json)


def _added(log: IO[str], path: Path) -> Iterator[str]:
    """Yield what is written to a log from now on, also after it was put away for a new one."""
    number = os.fstat(log.fileno()).st_ino
    while True:
        line = log.readline()
        if line:
            yield line
        elif path.exists() and path.stat().st_ino != number:
            with path.open(encoding="utf-8") as fresh:
                yield from _added(fresh, path)
        else:
            time.sleep(POLL_S)


def _print_line(line: str, *, as_json: bool) -> None:
    try:
        entry = json.loads(line)
        at = datetime.fromisoformat(entry["time"]).astimezone()
        told = describe_line(at.strftime("%b %d %H:%M:%S"), entry["level"], entry["message"])
    except (ValueError, KeyError, TypeError):
        told = line.rstrip("\n")  # Cut off by a full disk, say: as it is.
    print(line.rstrip("\n") if as_json else told, flush=True)


def _show(console: Console, status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(status, indent=2))
    else:
        console.print(_screen(status))


def _screen(status: dict[str, Any]) -> Group:
    """Lay a status out for people."""
    group, latest, counts = status["group"], status["latest"], status["counts"]
    linked = sum(member["link"] == "up" for member in status["members"])
    head = Text.assemble(
        (status["name"], "bold"), f" of {group['name']}   ", (f"group {group['id'][:16]}", "dim")
    )
    grid = Table.grid(padding=(0, 3))
    rows = [
        ("state", status["state"] + (", stopping" if status["stopping"] else "")),
        ("rounds", f"{status['round']} of {status['rounds']} done"),
        ("up", duration(status["up_s"])),
        ("linked", f"{linked} of {len(status['members']) - 1} other members"),
    ]
    rows += _gain_rows(status)
    ledger = status["ledger"]
    rows += _own_part(latest, counts) if ledger is None else _ledger_rows(ledger)
    rows += _charter_rows(status["charter"])
    if "training_failure" in latest:
        rows.append(("last failure", latest["training_failure"]))
    if any(name.startswith("masked_sums") for name in counts):
        summed, aborted = (counts.get(f"masked_sums_{how}", 0) for how in ("summed", "aborted"))
        rows.append(("masked sums", f"{plural(summed, 'sum')}, {aborted} aborted"))
    rows += [("clipped", _clipped(name, it)) for name, it in status["clipped"].items()]
    rows += [("lost", _lost(it)) for it in status["lossy"]]
    if (wire := status["tripwire"]) and wire["last"]:
        rows.append(("tripwire", _rise(wire)))
    rows += [("differs", told) for told in status["differing"].values()]
    traffic = status["traffic"]
    sent, received = (data_size(traffic.get(f"bytes_{way}", 0)) for way in ("sent", "received"))
    rows.append(("traffic", f"{sent} sent, {received} received"))
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), Text(value))  # A task's own words are no markup.
    members = Table.grid(padding=(0, 3))
    shares = {} if ledger is None else {it["name"]: it for it in ledger["members"]}
    for member in status["members"]:
        link = member["link"].replace("_", " ")
        style = "green" if link == "up" else "dim" if link == "self" else "yellow"
        share = [_part(shares[member["name"]])] if member["name"] in shares else []
        last = Text(member["peer_id"], "dim")
        members.add_row(member["name"], Text(link, style=style), *share, last)
    pairs = [
        Text(
            f"{' and '.join(pair['members'])} have no link to each other, says"
            f" {' and '.join(pair['said'])}",
            "yellow",
        )
        for pair in status["pairs_without_link"]
    ]
    resting = [Text(line, "yellow") for line in resting_lines(status)]
    return Group(head, grid, Text(), members, *resting, *pairs)


def _rise(wire: Mapping[str, Any]) -> str:
    """Say how often the loss on own rows rose, and how far the last time."""
    last = wire["last"]
    return (
        f"loss on own rows rose {plural(wire['rises'], 'time')}; in round {last['round']} from"
        f" {last['before']:.3g} to {last['loss']:.3g} (docs/liars.md)"
    )


def _clipped(tensor: str, of: Mapping[str, Any]) -> str:
    told = f"{tensor}: {of['values']} of {of['of']} values beyond averaging.clip"
    return f"{told}, up to {of['largest']:.3g}"


def _lost(loss: Mapping[str, Any]) -> str:
    """Say what was lost of a peer's own, in how many rounds, and the largest value of it."""
    from p2pfl.group.lossy import KINDS

    told = f"{KINDS[loss['kind']]} in {plural(loss['rounds'], 'round')}"
    if loss["tensor"]:
        told += f" ({loss['tensor']})"
    if loss["largest"]:
        told += f", up to {loss['largest']:.3g}, cut to {loss['limit']:g}"
    return told


def _gain_rows(status: dict[str, Any]) -> list[tuple[str, str]]:
    """Say what the joint model and the peer's own one reach on its own test rows."""
    own, latest = status["own"], status["latest"]
    if own is None:
        return []  # There is no task yet.
    primary = PrimaryMetric(**own["primary"])
    rows = []
    if own["joint"] is not None:
        after = f"after {plural(own['round'] + 1, 'round')}"
        told = told_figure(primary, own["joint"])
        where = f"on {plural(own['test_rows'], 'own test row')}"
        if own["is_chosen"]:
            where += "; the best so far on own rows to choose by"
        is_private = status["charter"] is not None and status["charter"]["is_private"]
        hint = "; not private: keep it here" if is_private else ""
        rows.append((primary.title, f"{told} {after}, {where}{hint}"))
    elif primary.name in status["figures"]:
        after = f"after {plural(latest['evaluated_round'] + 1, 'round')}"
        told = told_figure(primary, status["figures"][primary.name])
        rows.append((primary.title, f"{told} {after}, on the common test rows"))
    if own["chosen_problem"]:
        rows.append(("best model", own["chosen_problem"]))
    if own["problem"]:
        rows.append(("alone", own["problem"]))
    elif own["baseline_rounds"] is None and own["test_rows"]:
        rows.append(("alone", "not known: p2pfl peer baseline trains it, on own rows only"))
    elif own["local"] is not None:
        rounds = plural(own["baseline_rounds"], "round")
        rows.append(("alone", f"{told_figure(primary, own['local'])} after {rounds}"))
    if own["gain"] is not None:
        gain, interval = (
            told_gain(primary, own["gain"]),
            told_interval(primary, own["low"], own["high"]),
        )
        rows.append(("by joining", f"{gain} ({interval} with 95% confidence)"))
    return rows


def _own_part(latest: dict[str, Any], counts: dict[str, int]) -> list[tuple[str, str]]:
    """Say which sums have our own update, where members gossip."""
    rows = []
    if "contributors" in latest:
        ours = "" if latest["own_update"] else ", ours not among them"
        rows.append(("last sum", f"{latest['contributors']} of {latest['expected']} models{ours}"))
    own = counts.get("rounds_with_own_update", 0)
    ended = counts.get("round_ended", 0) + counts.get("round_lost", 0)
    if own < ended:
        rows.append(("own updates", f"in {own} of {plural(ended, 'round')} since it started"))
    return rows


def _ledger_rows(ledger: dict[str, Any]) -> list[tuple[str, str]]:
    """Say what is certified, and how many may fail."""
    head, may_fail = ledger["head"], ledger["may_fail"]
    place = f"try {head['round']}" + (f", epoch {head['epoch']}" if head["epoch"] else "")
    rows = [("head", f"{head['entry'][:16]} (height {head['height']}, {place})")]
    if ledger["out"]:
        rows.append(("out", f"{', '.join(ledger['out'])}: left, its key revoked, or proven to lie"))
    if ledger["idle"]:
        told = f"the last {plural(ledger['idle'], 'model')} brought nothing: sums out of range"
        rows.append(("idle", told))
    if ledger["may_be_allowed_more"]:
        rows.append(("spent", "all updates from this model: peer resume --once-more gives another"))
    spare = f"{plural(may_fail, 'member')} may be away before no model can be certified"
    rows.append(("spare", spare if may_fail > 0 else "none: if one more is away, no model comes"))
    return rows


def _claim(claim: Mapping[str, Any]) -> str:
    """Say what one adversary can learn."""
    if claim["epsilon"] is None:
        return f"{claim['adversary']}: nothing is hidden"
    of_all = ", the claim" if claim["is_the_claim"] else ""
    return (
        f"{claim['adversary']}: epsilon {claim['epsilon']:.2g}, finds at most"
        f" {math.ceil(1000 * claim['found'] - 1e-9) / 10:.1f} %{of_all}"
    )


def _charter_rows(charter: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Say what holds, why the peer rests, and what waits."""
    if charter is None:
        return []
    rows = [("charter", f"{charter['charter'][:16]}, until {_date(charter['until'])}")]
    if charter["privacy"]:
        rows.append(("privacy", charter["privacy"]))
    rows += [("", _claim(it)) for it in charter["claims"]]
    if charter["why"]:
        rows.append(("rests", charter["why"]))
    for it in charter["proposals"]:
        missing, changed = "; ".join(it["missing"]) or "nobody", "; ".join(it["changes"])
        rows.append(("proposal", f"{it['charter'][:16]}, {it['class']}: {changed}"))
        approved = ", ".join(it["approved"]) or "nobody"
        rows.append(("", f"approved by {approved}; wants {missing}"))
        if it["held"]:
            rows.append(("", f"held back here: {it['held']}"))
        if it["waits_for_me"]:
            rows.append(("", f"it waits for this member: p2pfl charter approve {it['file']}"))
    return rows + [("warning", told) for told in (*charter["warnings"], *charter["faults"])]


def _date(seconds: int) -> str:
    from p2pfl.charter.form import moment

    return f"{moment(seconds):%Y-%m-%d %H:%M} UTC"


def _part(share: dict[str, Any]) -> Text:
    """Say how many models a member is in, and why it was out last."""
    if not share["heights"]:
        return Text("")
    told = f"in {share['heights_in']} of {share['heights']}"
    if share["out_for"]:
        last = f"last in {share['last_height']}" if share["last_height"] else "never in"
        why = f": {share['why_out'].replace('_', ' ')}" if share["why_out"] else ""
        told += f", {last}{why}"
    return Text(told, "yellow" if share["is_overdue"] else "")


def _ask(folder: Path, command: str, **more: Any) -> dict[str, Any]:
    with peer_errors():
        read_config(folder)  # What is no peer's folder is told apart from a peer that does not run.
        return ask(PeerFolder(folder).control, {"command": command, **more})
