# mypy: disable-error-code="arg-type, index"
"""What is done to each message of a masked sum, and what a real member makes of it.

The cases follow from the messages' definitions (forging.py) and from the phases in which a member
takes them. The table of what must come of each is `session_forgeries.toml`.

    python tests/checks/session_forgeries.py > /tmp/now.toml            # what comes of them now
    python tests/checks/session_forgeries.py group > /tmp/group.toml    # in a group's session
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import numpy as np
from auditing_once import perform_once
from fingerprints import fingerprint
from forging import all_messages, forgeries
from session_driver import identities
from session_stage import SIZE, STATEMENTS, GroupStage, SessionStage, Stage

from p2pfl_crypto.audit.shortness import prove
from p2pfl_gossip.actions import Disconnect, RemoteProtocolError, Send, SendBulk, Work
from p2pfl_gossip.masked_sum.audit_jobs import Sketched, SketchRound
from p2pfl_gossip.masked_sum.blame import verify_blame
from p2pfl_gossip.masked_sum.machine import Aborted
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    Ack,
    Advert,
    AdvertList,
    AuditProof,
    Ballot,
    ChunkHeader,
    Coin,
    CoinShares,
    CoinSum,
    DisputeStatement,
    Fetch,
    Header,
    Held,
    Manifest,
    MeanSignature,
    MeanSignatures,
    PairShown,
    Proposal,
    Receipt,
    Reveal,
    SessionMessage,
    Share,
    StatementsHeld,
    SumDigest,
    SumHeader,
    SumsSeen,
    Vote,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import AUDITED_WINDOWS, NAMED_WINDOWS, WINDOWS, Phase
from p2pfl_gossip.opening import Begun

LEADER = 3
MANY, MANY_FETCHES = 40, 400
"""More than any limit on what one member may send of one kind."""

PROVEN_BY_NO_MESSAGE = ("false_sum", "corrupt_reveal", "corrupt_coin", "bad_dealing")


@dataclass(frozen=True)
class Place:
    """Where a message of a kind is caught.

    Attributes:
        phase: of the member that it is about to reach.
        varied: a field of which there are many values, to say many things at once.
        receiver: that member.
        of: the message on whose arrival the session stops, where none of the kind comes by itself.
        make: makes one of that message then.
    """

    phase: Phase
    varied: str
    receiver: int = 0
    of: type[SessionMessage] | None = None
    make: Callable[[Any], Any] = lambda it: it


PLACES: dict[type[SessionMessage], Place] = {
    Advert: Place(Phase.ADVERTISE, "mask_key"),
    AdvertList: Place(Phase.ADVERTISE, "digests"),
    Share: Place(Phase.AGREE, "sealed"),
    Header: Place(Phase.AGREE, "commitments", of=Share, make=lambda it: it.header),
    Held: Place(Phase.AGREE, "dealers", receiver=LEADER),
    Proposal: Place(Phase.AGREE, "header_digests"),
    Ack: Place(Phase.AGREE, "tau2"),
    ChunkHeader: Place(Phase.CHUNK, "digest"),
    Manifest: Place(Phase.CHUNK, "chunk_digests"),
    Receipt: Place(Phase.VOTE, "bitmaps"),
    Ballot: Place(Phase.VOTE, "manifest_digests"),
    Vote: Place(Phase.VOTE, "ballot"),
    Reveal: Place(Phase.REVEAL, "shares"),
    SumHeader: Place(Phase.REVEAL, "digest"),
    SumDigest: Place(Phase.REVEAL, "digest"),
    MeanSignature: Place(Phase.DONE, "digest", receiver=LEADER),
    MeanSignatures: Place(Phase.DONE, "digest"),
    SumsSeen: Place(Phase.AUDIT, "sums"),
    Coin: Place(Phase.AUDIT, "share"),
    CoinShares: Place(
        Phase.AUDIT,
        "shares",
        of=Coin,
        make=lambda it: CoinShares(it.session, it.sums, it.share * SIZE),
    ),
    CoinSum: Place(
        Phase.AUDIT, "coin", of=Coin, make=lambda it: CoinSum(it.session, it.sums, it.share)
    ),
    AuditProof: Place(Phase.AUDIT, "commitment"),
    DisputeStatement: Place(Phase.AUDIT, "sketch"),
    PairShown: Place(
        Phase.AUDIT,
        "opened",
        of=DisputeStatement,
        make=lambda it: PairShown(it.session, it.member, LYING, bytes(96)),
    ),
    Accusation: Place(Phase.AUDIT, "chunk"),
    StatementsHeld: Place(
        Phase.AUDIT,
        "digests",
        of=DisputeStatement,
        make=lambda it: StatementsHeld(it.session, bytes(32 * SIZE)),
    ),
    Fetch: Place(
        Phase.AGREE,
        "second",
        of=Share,
        make=lambda it: Fetch(it.session, Wanted.ADVERT, it.header.dealer),
    ),
}

LISTED: dict[type[SessionMessage], str] = {
    AdvertList: "digests",
    Proposal: "header_digests",
    Ballot: "manifest_digests",
}
"""What a leader says of some members: the field with their digests."""

HAS_BODY = (ChunkHeader, SumHeader)
PASSED_ON = (Ack, Header, Manifest, Receipt, Vote)
"""Of these a signature is not checked where the author itself sends them."""
STRANGER = identities(1, seed=99)[0].peer_id


@dataclass
class Case:
    """One thing that is done: the last of `said` is looked at.

    Attributes:
        said: sender (a peer's id), message, body.
        is_before: whether the member has not reached the phase; `is_idle`: it was not started.
        is_after: whether it has left the last phase in which it takes the message.
    """

    said: list[tuple[Any, Any, Any]]
    is_before: bool = False
    is_idle: bool = False
    is_after: bool = False
    is_left_out: bool = False

    @classmethod
    def of_the_left_out(cls, _stage: Stage) -> "Case":
        """What a member says that is not in the list which the others follow."""
        return cls([], is_left_out=True)


def _with_left_out(stage: Stage, message: Any) -> Any:
    """Have a leader name a member that is left out, beside those of its list."""
    members, field = stage.cohort.unpack(message.members), LISTED[type(message)]
    assert members is not None
    place = sum(rank < ABSENT for rank in members)
    digests = getattr(message, field)
    changes = {
        "members": stage.cohort.pack((*members, ABSENT)),
        field: digests[: 32 * place] + bytes(32) + digests[32 * place :],
    }
    return stage.signed(msgspec.structs.replace(message, **changes), stage.sender)


def _by_left_out(field: str) -> Callable[[Stage, Any], Any]:
    def make(stage: Stage, message: Any) -> Any:
        return stage.signed(msgspec.structs.replace(message, **{field: ABSENT}), ABSENT)

    return make


def _share_of_left_out(stage: Stage, message: Any) -> Any:
    header = msgspec.structs.replace(message.header, dealer=ABSENT)
    return stage.signed(msgspec.structs.replace(message, header=header), ABSENT)


ABSENT = 2
"""Left out of the list, as it was away; it speaks all the same."""

LEFT_OUT: dict[type[SessionMessage], Callable[[Stage, Any], Any]] = {
    Share: _share_of_left_out,
    Header: _by_left_out("dealer"),
    Held: lambda _stage, message: message,
    Proposal: _with_left_out,
    ChunkHeader: _by_left_out("member"),
    Manifest: _by_left_out("member"),
    Receipt: _by_left_out("owner"),
    Ballot: _with_left_out,
    Reveal: lambda _stage, message: message,
    SumHeader: _by_left_out("member"),
    SumDigest: _by_left_out("member"),
}
"""What such a member says, or what is said of it."""


LYING = 2
"""Makes the total false where a dispute is wanted."""


def _commit_otherwise(job: Any, result: Any) -> Any:
    if not isinstance(job, SketchRound) or job.own is None:
        return result
    context = job.audited.context(job.seed, job.own.rank)
    shown = prove(context, job.own.bound, [1] * 256, 7, job.own.entropy)
    return Sketched(result.sum_sketch, result.sum_norm, *shown)


def stage_at(
    kind: type[SessionMessage], absent: tuple[int, ...] = (), *, of_group: bool = False
) -> Stage:
    """Run a session until a message of a kind is about to arrive."""
    place = PLACES[kind]
    where = (place.of or kind, place.phase, place.receiver)
    stage: Stage
    if of_group:
        listed = tuple(rank for rank in range(SIZE) if rank not in absent)
        lies = {LYING: _commit_otherwise} if is_of_dispute(kind) else {}
        audited = is_of_audit(kind)
        stage = GroupStage(*where, listed=listed, audit=audited, names=bool(lies), lies=lies)
        stage.stop_at()
    else:
        stage = SessionStage(*where).stop_at(absent)
    stage.message = place.make(stage.message)
    return stage


@cache
def cases(
    kind: type[SessionMessage], *, of_group: bool = False
) -> dict[str, Callable[[Stage], Case]]:
    """Everything that is done to a message of a kind, by name."""
    stage = pristine(kind, of_group=of_group)
    return dict(_cases(kind, stage.message, stage))


def _cases(
    kind: type[SessionMessage], message: Any, stage: Stage
) -> Iterator[tuple[str, Callable[[Stage], Case]]]:
    peers, sender, body = stage.cohort.members, stage.sender, stage.body
    author = peers[sender]
    others = [rank for rank in range(SIZE) if rank not in (sender, stage.receiver)]
    is_signed = kind in STATEMENTS or kind is Share

    def say(*said: Any, **where: bool) -> Callable[[Stage], Case]:
        return lambda _stage: Case(
            [one if isinstance(one, tuple) else (author, one, body) for one in said], **where
        )

    many = MANY_FETCHES if kind is Fetch else MANY

    def say_many(**where: bool) -> Callable[[Stage], Case]:
        return lambda _stage: Case(
            [(author, vary(stage, kind, message, number), body) for number in range(many)], **where
        )

    yield "as it is", say(message)
    for name, changed in forgeries(message, but=("session",)):
        yield name, say(changed)
        if is_signed and not name.startswith("signature") and ".signature" not in name:
            yield f"{name}, signed", say(stage.signed(changed, sender))
    other_session = msgspec.structs.replace(message, session=bytes(32))
    yield "session another", say(other_session)
    if is_signed:
        yield "signer another", say(stage.signed(message, others[0]))
    yield "sender a stranger", say((STRANGER, message, body))
    yield "sender ourselves", say((peers[stage.receiver], message, body))
    yield "sender another member", say((peers[others[0]], message, body))
    if kind in PASSED_ON:
        falsely = msgspec.structs.replace(message, signature=bytes(64))
        yield "signature zero", say((author, falsely, body))
        yield "signature zero, sender another member", say((peers[others[0]], falsely, body))
        yield "signature zero, then passed on", say(falsely, (peers[others[0]], message, body))
        other = vary(stage, kind, message, 1)
        yield "signature zero, then another version", say(falsely, other)
        yield (
            "another version, signature zero",
            say(message, msgspec.structs.replace(other, signature=bytes(64))),
        )
    yield "replayed", say(message, message)
    yield "another version", say(message, vary(stage, kind, message, 1))
    if kind in HAS_BODY:
        yield "without a body", say((author, message, None))
    else:
        yield "with a body", say((author, message, np.zeros(4, np.uint32)))
    if kind in LEFT_OUT:
        yield "of a member that is left out", Case.of_the_left_out
    if stage.machine.windows[kind][0] > Phase.ADVERTISE:
        yield "too early", say(message, is_before=True)
        yield "too early, too many", say_many(is_before=True)
    else:
        yield "too early", say(message, is_idle=True)
    yield "too late", say(message, is_after=True)
    yield "too many", say_many()
    if kind in LISTED:
        next_leader = stage.cohort.leader(message.turn + 1)
        early = msgspec.structs.replace(message, turn=message.turn + 1)
        yield "of the next turn", say((peers[next_leader], stage.signed(early, next_leader), None))
        members = stage.cohort.unpack(message.members)
        assert members is not None
        few = members[: stage.cohort.threshold - 1]
        digests = getattr(message, LISTED[kind])[: 32 * len(few)]
        changes = {"members": stage.cohort.pack(few), LISTED[kind]: digests}
        yield (
            "too few members",
            say(stage.signed(msgspec.structs.replace(message, **changes), sender)),
        )
    if kind in HAS_BODY:
        flipped = np.array(body)
        flipped[0] ^= 1
        yield "body changed", say((author, message, flipped))
        yield "body short", say((author, message, body[:-1]))


def vary(stage: Stage, kind: type[SessionMessage], message: Any, number: int) -> Any:
    """Say another thing than `message`, well signed; all differ where the field has room."""
    field = PLACES[kind].varied
    value = getattr(message, field)
    if isinstance(value, bytes):
        if field in ("dealers", "bitmaps"):
            changed: Any = bytes([value[0] ^ number % 16, *value[1:]])
        else:
            changed = bytes([value[0] ^ number % 256, value[1] ^ number // 256, *value[2:]])
    else:
        changed = number
    varied = msgspec.structs.replace(message, **{field: changed})
    return stage.signed(varied, stage.sender) if kind in STATEMENTS or kind is Share else varied


@cache
def pristine(kind: type[SessionMessage], *, of_group: bool = False) -> Stage:
    """A stage of a kind to read messages from; nothing is done to it."""
    return stage_at(kind, of_group=of_group)


_UNTOUCHED: dict[tuple[type[SessionMessage], bool], tuple[Stage, str]] = {}
"""Stages where nothing has changed, and what their member remembers."""


def what_comes_of(kind: type[SessionMessage], case: Case, *, of_group: bool = False) -> str:
    """Do it to a real member, and say in a few words what it made of it.

    A stage where nothing changed serves the next case too.
    """
    if case.is_left_out:
        return _what_comes_of_the_left_out(kind, of_group=of_group)
    is_at_place = not (case.is_before or case.is_idle or case.is_after)
    kept = _UNTOUCHED.pop((kind, of_group), None) if is_at_place else None
    stage = kept[0] if kept else _stage_for(kind, case, of_group=of_group)
    machine = stage.machine
    for peer, message, body in case.said[:-1]:
        with suppress(RemoteProtocolError):
            _give(stage, machine, peer, message, body)
    is_alone = len(case.said) == 1
    before = kept[1] if kept and is_alone else _state(stage)
    word = _tell(stage, before, *case.said[-1])
    if is_at_place and is_alone and (word == "ignored" or word.startswith("refused")):
        _UNTOUCHED[kind, of_group] = stage, before
    return word


def _what_comes_of_the_left_out(kind: type[SessionMessage], *, of_group: bool) -> str:
    stage = stage_at(kind, absent=(ABSENT,), of_group=of_group)
    message = LEFT_OUT[kind](stage, stage.message)
    sender = stage.sender if kind in LISTED else ABSENT
    return _tell(stage, _state(stage), stage.cohort.members[sender], message, stage.body)


def _stage_for(kind: type[SessionMessage], case: Case, *, of_group: bool) -> Stage:
    receiver = PLACES[kind].receiver
    stage: Stage
    if case.is_before:
        if of_group:
            stage = GroupStage(None, receiver=receiver, audit=is_of_audit(kind))
            stage.start(receiver)  # It deals, and waits for that.
        else:
            stage = SessionStage(Advert, Phase.ADVERTISE, receiver).stop_at()
        return stage
    stage = stage_at(kind, of_group=of_group)
    if case.is_idle:
        stage.machines[receiver] = stage.make_machine(receiver)
    if case.is_after:
        stage.is_stopped = True  # At no message any more.
        last = stage.machine.windows[kind][1]
        stage.go_on(lambda: last < stage.machine.phase)
    return stage


def _tell(stage: Stage, before: str, peer: Any, message: Any, body: Any) -> str:
    machine = stage.machine
    blames = len(_blames(machine))
    actions, reason = [], ""
    try:
        actions = _give(stage, machine, peer, message, body)
    except RemoteProtocolError as error:
        reason = error.reason
    if reason:
        assert _state(stage) == before, f"refused as {reason}, yet something changed"
        return f"refused: {reason}"
    return _word(stage, machine, before, blames, actions)


def _give(stage: Stage, machine: Any, peer: Any, message: Any, body: Any) -> list[Any]:
    """Give a member a message, and the results of the jobs that it asks for at that."""
    actions: list[Any] = []
    if body is not None:
        size = machine.body_bytes(stage.now_s, peer, message)
        actions += _nothing(stage)  # Gives what the header led to.
        if size is not None and size == body.nbytes:
            actions += machine.on_body(stage.now_s, peer, message, body)
    else:
        actions += machine.on_message(stage.now_s, peer, message)
    for action in actions:
        if isinstance(action, Work):
            desk = stage.desks[stage.receiver]
            actions += desk.on_work_done(stage.now_s, action.ticket, perform_once(action.job))
    return actions


def _word(stage: Stage, machine: Any, before: str, blames: int, actions: list[Any]) -> str:
    ended = [action.reason for action in actions if isinstance(action, Disconnect)]
    if ended:
        return f"disconnects: {ended[0]}"
    if len(_blames(machine)) > blames:
        blame = _blames(machine)[-1]
        if blame.fault not in PROVEN_BY_NO_MESSAGE:
            verify_blame(stage.cohort, blame)
        return f"blames: {blame.fault}"
    if isinstance(machine.outcome, Aborted):
        return f"aborts: {machine.outcome.reason}"
    fetched = [
        Wanted(action.message.what).name
        for action in actions
        if isinstance(action, Send) and isinstance(action.message, Fetch)
    ]
    is_changed = _state(stage) != before
    if not is_changed and not actions:
        return "ignored"
    said = [
        type(action.message).__name__
        for action in actions
        if isinstance(action, Send) and not isinstance(action.message, Fetch)
    ]
    said += [type(action.header).__name__ for action in actions if isinstance(action, SendBulk)]
    words = "taken" if is_changed else "not taken"
    for verb, what in (("asks", fetched), ("says", said)):
        words += f", {verb}: {' '.join(sorted(dict.fromkeys(what)))}" if what else ""
    return words


def _state(stage: Stage) -> str:
    _nothing(stage)  # Empties what belongs to one input alone.
    return fingerprint(stage.machine)


def _nothing(stage: Stage) -> list[Any]:
    """Give a member an input that leads to nothing: a body of no kind that it knows."""
    other = stage.cohort.members[LEADER if stage.receiver != LEADER else 0]
    actions: list[Any] = stage.machine.on_body(
        stage.now_s, other, Begun(bytes(32)), np.zeros(0, np.uint32)
    )
    return actions


def _blames(machine: Any) -> list[Any]:
    return list(machine._core.blames)


def is_of_group(kind: type[SessionMessage]) -> bool:
    """Whether a group's session takes it."""
    return kind in NAMED_WINDOWS


def is_of_audit(kind: type[SessionMessage]) -> bool:
    """Whether only a session takes it whose sum is audited."""
    return kind in NAMED_WINDOWS and kind not in WINDOWS


def is_of_dispute(kind: type[SessionMessage]) -> bool:
    """Whether only a session takes it in which members find out who made a total false."""
    return is_of_audit(kind) and kind not in AUDITED_WINDOWS


def main() -> None:
    of_group = sys.argv[1:] == ["group"]
    for name, kind in all_messages(SessionMessage).items():
        if (of_group and not is_of_group(kind)) or (not of_group and is_of_audit(kind)):
            continue
        print(f"[{name}]")
        for case_name, make in cases(kind, of_group=of_group).items():
            word = what_comes_of(kind, make(pristine(kind, of_group=of_group)), of_group=of_group)
            print(f'"{case_name}" = "{word}"')
        print()


if __name__ == "__main__":
    main()
