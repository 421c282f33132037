"""Faults planted in the evidence of a good run: a check that finds nothing must be able to."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace

from process_checks import Evidence
from process_logs import Sent

from p2pfl.daemon.recording import Recorded
from p2pfl_gossip import events
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.records import replaced

Reports = list[Recorded]


def overlooked(evidence: Evidence) -> list[str]:
    """Plant one fault after the other; name those that no check finds."""
    return [name for name, plant in PLANTED.items() if not plant(evidence).faults()]


def _with_frame(
    evidence: Evidence, kind: str, change: Callable[[Sent], Sent], *, is_own: bool = False
) -> Evidence:
    """Let the victim have sent one of its frames twice, the second time changed."""
    doctored, peer = copy(evidence), evidence.strikes.victim
    log = evidence.logs[peer]
    found = next(it for it in log.sent if it.kind == kind and (not is_own or it.author == peer))
    doctored.logs = list(evidence.logs)
    doctored.logs[peer] = replace(log, sent=[*log.sent, change(found)])
    return doctored


def _with_reports(
    evidence: Evidence, change: Callable[[Reports], Iterator[Recorded]], peer: int | None = None
) -> Evidence:
    """Let a peer, one that nothing was done to if none is named, have reported other events."""
    doctored = copy(evidence)
    peer = evidence.untouched[0] if peer is None else peer
    doctored.reports = list(evidence.reports)
    doctored.reports[peer] = list(change(evidence.reports[peer]))
    return doctored


def _with_history(evidence: Evidence, change: Callable[[History], History]) -> Evidence:
    doctored = copy(evidence)
    doctored.histories = list(evidence.histories)
    doctored.histories[0] = change(evidence.histories[0])
    return doctored


def _other_digest(frame: Sent) -> Sent:
    return replace(frame, digest="00")


def _blame(reports: Reports) -> Iterator[Recorded]:
    yield from reports
    yield reports[-1]._replace(event=events.MemberBlamed(0, bytes(32), "somebody", "two_acks"))


def _sits_out(reports: Reports) -> Iterator[Recorded]:
    yield from reports
    yield reports[-1]._replace(event=events.SitsOut(7))


def _slow(reports: Reports) -> Iterator[Recorded]:
    for it in reports:
        is_slow = isinstance(it.event, events.RoundEnded) and it.event.round == 3
        yield it._replace(monotonic_s=it.monotonic_s + 1e3) if is_slow else it


def _other_vector(reports: Reports) -> Iterator[Recorded]:
    last = max(it.event.round for it in reports if isinstance(it.event, events.RoundEnded))
    for it in reports:
        if isinstance(it.event, events.RoundEnded) and it.event.round == last:
            event = events.RoundEnded(last, it.event.vector + 1, 8, 8, True)
            yield it._replace(event=event)
        else:
            yield it


def _another_entry(history: History) -> History:
    """Another entry in the head's place, under the certificate of the true one."""
    doctored = copy(history)
    step = history.head
    other = EntryStep(replaced(step.entry, weight=step.entry.weight + 1))
    doctored._steps = {**history._steps, other.head: other}
    certificate = history.certificate(step.head)
    assert certificate is not None
    doctored._certificates = {
        **history._certificates,
        other.head: replaced(certificate, entry=other.entry),
    }
    doctored.head = other
    return doctored


def _one_less(history: History) -> History:
    doctored = copy(history)
    before = history.step(history.head.entry.base)
    assert before is not None
    doctored.head = before
    return doctored


def _twin_goes_on(evidence: Evidence) -> Evidence:
    doctored = copy(evidence)
    doctored.twin_code = None
    return doctored


def _twin_votes(evidence: Evidence) -> Evidence:
    doctored = copy(evidence)
    vote = next(it for it in evidence.logs[0].sent if it.kind == "Vote")
    doctored.twin_sent = [*evidence.twin_sent, vote]
    return doctored


PLANTED: dict[str, Callable[[Evidence], Evidence]] = {
    "a second vote": lambda it: _with_frame(it, "Vote", _other_digest, is_own=True),
    "a second ACK": lambda it: _with_frame(it, "Ack", _other_digest),
    "a second advert": lambda it: _with_frame(it, "GroupAdvert", _other_digest, is_own=True),
    "a second signature": lambda it: _with_frame(it, "EntrySignature", _other_digest),
    "a second version of a chunk": lambda it: _with_frame(
        it, "ChunkHeader", _other_digest, is_own=True
    ),
    "a vector sent again after a restart": lambda it: _with_frame(
        it, "ChunkHeader", lambda frame: replace(frame, life=frame.life + 1)
    ),
    "a blame": lambda it: _with_reports(it, _blame),
    "a member that sits out without cause": lambda it: _with_reports(it, _sits_out),
    "a round that took too long": lambda it: _with_reports(it, _slow),
    "another vector": lambda it: _with_reports(it, _other_vector),
    "another certified entry": lambda it: _with_history(it, _another_entry),
    "a history that lags behind": lambda it: _with_history(it, _one_less),
    "a second process with one key that goes on": _twin_goes_on,
    "a second process with one key that votes": _twin_votes,
    "a victim that did not come back": lambda it: _with_reports(
        it, lambda reports: iter(reports[: len(reports) // 2]), it.strikes.victim
    ),
}
