"""What a peer's events say to people: a sentence each, and how loud."""

import logging
from collections.abc import Callable
from typing import Any

from p2pfl_gossip import events
from p2pfl_gossip.actions import Event
from p2pfl_gossip.description import Difference

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


def describe(event: Event) -> tuple[int, str]:
    """Return the level at which an event is logged, and its sentence."""
    entry = _SENTENCES.get(type(event))
    if entry is None:
        return INFO, snake_case(type(event).__name__).replace("_", " ")
    level, sentence = entry
    if isinstance(event, events.MaskedSumEnded) and event.result != "summed":
        level = WARNING
    return level, sentence(event)


def snake_case(name: str) -> str:
    """Write the name of an event's class as a word of the log: ``"round_ended"``."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def describe_reason(reason: str) -> str:
    """Say why a link is gone, or cannot be had: a reason of p2pfl.libp2p, in words."""
    return _REASONS.get(reason, reason.replace("_", " "))


_REASONS = {
    "unreachable": "nobody answers at its addresses",
    "dial_timeout": "no answer from its addresses in time",
    "address_of_another_peer": "somebody else is at its address",
    "another_incarnation": "it is linked to another process that runs with our key",
    "being_checked": "it does not run yet: p2pfl peer check runs there",
    "wrong_peer_id": "somebody else is at its address",
    "closed_by_peer": "it has ended the link, or its charter does not name this peer",
    "not_yet": "nothing is known of it yet",
    "out_of_descriptors": "this host has no file descriptor left to dial with",
    "gone_away": "it has ended the link",
    "does_not_read": "it takes nothing of what is sent to it",
}


NAMED_MAX = 8
"""Members named in one line; of more their number is told."""


def _round_ended(event: events.RoundEnded) -> str:
    told = f"round {event.round} ended: {event.contributors} of {event.expected} models"
    if event.without_update:
        named, count = event.without_update[:NAMED_MAX], len(event.without_update)
        more = f" and {count - NAMED_MAX} more" * (count > NAMED_MAX)
        told += f", {', '.join(named)}{more}: no update"
    return told if event.complete else f"{told}, not complete"


def _evaluated(event: events.PeerEvaluated) -> str:
    told = event.own or event.metrics
    if not told:
        return f"round {event.round}: evaluated; the figures stay with p2pfl peer status"
    figures = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
    rows = "on own test rows" if event.own else "on the common test rows"
    return f"round {event.round}, {rows}: {figures}"


def _waits(event: events.OpeningWaits) -> str:
    more = f" and {event.count - len(event.members)} more" * (event.count > len(event.members))
    return f"waits for {', '.join(event.members)}{more} to be ready"


def describe_change(found: Difference) -> str:
    """Say how a task has changed since a group opened."""
    match found.what:
        case "layout" | "code" if found.name:
            return f"{found.name} was {found.theirs}, is {found.ours}"
        case "start":
            return "it gives another start, as by another seed or file"
        case "frozen":
            return "it gives other frozen tensors"
    return "the model or the files are others"


def _member_differs(event: events.MemberDiffers) -> str:
    member, name = event.member, event.name
    match event.what:
        case "code" if "missing" in (event.theirs, event.ours):
            told = f"another task than we: {name} is {event.theirs} there, {event.ours} here"
            remedy = "hand the same files to all members"
        case "layout":
            told = f"another model than we: {name} is {event.theirs} there, {event.ours} here"
            remedy = "hand the same task file to all members"
        case "start":
            told = "another start than we: its model's initial values are others"
            remedy = "set the same seed, or load the start from the same file"
        case "frozen":
            told = "other frozen tensors than we, which all must share"
            remedy = "hand the file with their values to all members"
        case "code" if name:
            told = f"another version of {name} than we: {event.theirs} there, {event.ours} here"
            remedy = "hand the same one to all members"
        case "code":
            told = "other code of the task than we"
            remedy = "hand the same files to all members"
        case _:
            return (
                f"{member} says that it differs from us, and not in what: compare"
                " p2pfl --version and the task's files on both sides"
            )
    return f"{member} has {told}; {remedy}, and start again"


def _proposed(event: events.CharterProposed) -> str:
    approved = f"approved by {event.approved}"
    rest = "it is enough" if not event.missing else f"{event.missing} more wanted"
    return f"{event.kind} change {event.charter.hex()[:16]} is proposed: {approved}, {rest}"


def _spent(event: events.UpdatesSpent) -> str:
    why = "rounds came to nothing"
    if event.idle:
        why = (
            f"the last {event.idle} models are the one before, as each part of their sums was out"
            " of range: somebody bends sums"
        )
    return (
        f"this peer gave as many updates from the model of round {event.round} as it may, and gives"
        f" no more: {why}; once that is mended, p2pfl peer resume --once-more gives one more"
    )


_SENTENCES: dict[type[Event], tuple[int, Callable[[Any], str]]] = {
    events.OpeningWaits: (INFO, _waits),
    events.MemberDiffers: (ERROR, _member_differs),
    events.MemberAgrees: (INFO, lambda it: f"{it.member} has the same as we now"),
    events.Opened: (INFO, lambda _it: "the group has opened: the first round begins"),
    events.RoundStarted: (DEBUG, lambda it: f"round {it.round} started"),
    events.AveragingStarted: (
        DEBUG,
        lambda it: (
            f"round {it.round}: trained" + ("" if it.loss is None else f", loss {it.loss:.4g}")
        ),
    ),
    events.RoundEnded: (INFO, _round_ended),
    events.RoundLost: (WARNING, lambda it: f"round {it.round} lost: {it.reason}"),
    events.CaughtUp: (INFO, lambda it: f"caught up from round {it.behind} to round {it.round}"),
    events.TrainingFailed: (ERROR, lambda it: f"round {it.round}: training failed: {it.reason}"),
    events.EvaluationFailed: (
        ERROR,
        lambda it: f"round {it.round}: evaluation failed: {it.reason}",
    ),
    events.PeerEvaluated: (INFO, _evaluated),
    events.MaskedSumEnded: (DEBUG, lambda it: f"round {it.round}: masked sum {it.result}"),
    events.MemberBlamed: (
        WARNING,
        lambda it: f"round {it.round}: {it.member} broke the masked sum: {it.fault}",
    ),
    events.Paused: (INFO, lambda it: f"paused before round {it.round}"),
    events.Finished: (INFO, lambda it: f"finished after {it.round} rounds"),
    events.Left: (INFO, lambda it: f"left in round {it.round}"),
    events.UpdateShrunk: (
        DEBUG,
        lambda it: f"round {it.round}: our update, of the norm {it.norm:.3g}, was shrunk",
    ),
    events.SitsOut: (
        WARNING,
        lambda it: (
            f"the others hold more of what this peer said, up to try {it.round}, than its"
            " journal: it says nothing new until the group is past that (an older copy of the"
            " journal, or another process with this key)"
        ),
    ),
    events.UpdatesSpent: (ERROR, _spent),
    events.EpochBegun: (
        INFO,
        lambda it: (
            f"epoch {it.epoch} has begun, with {len(it.members)} members: its charter holds"
            + ("; heights begin again, from the state that it names" if it.is_anew else "")
        ),
    ),
    events.CharterProposed: (INFO, _proposed),
    events.MemberDeparted: (
        WARNING,
        lambda it: (
            f"the key of {it.member}'s peer is revoked by that member itself"
            if it.is_revoked
            else f"{it.member} leaves, as its own governance keys say"
            + (
                ", and asks that later models are not built on rounds with its rows"
                if it.withdraws
                else ""
            )
        ),
    ),
    events.OtherHistory: (ERROR, lambda _it: "the history shown is not the invitation's"),
}
