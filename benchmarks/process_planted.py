"""Faults planted in the evidence of a good run: a check that finds nothing must be able to."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace

from process_checks import Evidence
from process_logs import Sent

from p2pfl_gossip import events


def overlooked(evidence: Evidence) -> list[str]:
    """Plant one fault after the other; name those that no check finds."""
    return [name for name, plant in PLANTED.items() if not plant(evidence).faults()]


def _with_frame(
    evidence: Evidence, kind: str, change: Callable[[Sent], Sent], author: int | None = None
) -> Evidence:
    """Let the victim have sent one of its frames twice, the second time changed."""
    doctored, peer = copy(evidence), evidence.strikes.victim
    log = evidence.logs[peer]
    found = next(it for it in log.sent if it.kind == kind and (author in (None, it.author)))
    doctored.logs = list(evidence.logs)
    doctored.logs[peer] = replace(log, sent=[*log.sent, change(found)])
    return doctored


def _with_reports(
    evidence: Evidence, change: Callable[[list], Iterator], peer: int | None = None
) -> Evidence:
    """Let a peer, one that nothing was done to if none is named, have reported other events."""
    doctored = copy(evidence)
    peer = evidence.untouched[0] if peer is None else peer
    doctored.reports = list(evidence.reports)
    doctored.reports[peer] = list(change(evidence.reports[peer]))
    return doctored


def _everywhere(evidence: Evidence, change: Callable[[list], Iterator]) -> Evidence:
    for peer in range(len(evidence.reports)):
        evidence = _with_reports(evidence, change, peer)
    return evidence


def _ended(it) -> bool:
    return isinstance(it.event, events.RoundEnded)


def _other_digest(frame: Sent) -> Sent:
    return replace(frame, digest="00")


def _blame(reports: list) -> Iterator:
    yield from reports
    yield reports[-1]._replace(event=events.MemberBlamed(0, bytes(32), "somebody", "two_acks"))


def _one_round_less(reports: list) -> Iterator:
    return (it for it in reports if not (_ended(it) and it.event.round == 3))


def _no_sums(reports: list) -> Iterator:
    return (it for it in reports if not isinstance(it.event, events.MaskedSumEnded))


def _slow(reports: list) -> Iterator:
    for it in reports:
        slow = _ended(it) and it.event.round == 3
        yield it._replace(monotonic_s=it.monotonic_s + 1e3) if slow else it


def _other_vector(reports: list) -> Iterator:
    last = max(it.event.round for it in reports if _ended(it))
    for it in reports:
        if _ended(it) and it.event.round == last:
            event = events.RoundEnded(last, it.event.vector + 1, 8, 8, True)
            yield it._replace(event=event)
        else:
            yield it


PLANTED: dict[str, Callable[[Evidence], Evidence]] = {
    "a second vote": lambda it: _with_frame(it, "Vote", _other_digest),
    "a second ACK": lambda it: _with_frame(it, "Ack", _other_digest),
    "a second version of a chunk": lambda it: _with_frame(
        it, "ChunkHeader", _other_digest, author=it.strikes.victim
    ),
    "a vector sent again after a restart": lambda it: _with_frame(
        it, "ChunkHeader", lambda frame: replace(frame, life=frame.life + 1)
    ),
    "a blame": lambda it: _with_reports(it, _blame),
    "a round that did not end": lambda it: _with_reports(it, _one_round_less),
    "a round that took too long": lambda it: _with_reports(it, _slow),
    "no sum": lambda it: _everywhere(it, _no_sums),
    "another vector": lambda it: _with_reports(it, _other_vector),
    "a victim that did not come back": lambda it: _with_reports(
        it, lambda reports: iter(reports[: len(reports) // 2]), it.strikes.victim
    ),
}
