"""What is done to each message beside masked sums, and what a real peer makes of it.

As `session_forgeries.py`, for the opening of a group, for who was away, for averaging in the open,
and for states that are given and fetched. The table is `peer_forgeries.toml`:

    PYTHONPATH=tests:tests/masked_sum python tests/checks/peer_forgeries.py > /tmp/now.toml
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import numpy as np
from fingerprints import fingerprint
from forging import all_messages, forgeries
from one_keeper import HELD_STATE, WANTED, WANTED_STATE, OneKeeper
from one_opening import (
    OURS,
    SAYS_BEGUN,
    OneOpening,
    description_of,
    ready_message,
)
from one_peer import DEADLINE_S, OnePeer

from p2pfl_gossip.actions import (
    Action,
    Command,
    Disconnect,
    PeerId,
    RemoteProtocolError,
    Send,
    SendBulk,
)
from p2pfl_gossip.averaging.age_gossip import AgedModelHeader, AgeGossip
from p2pfl_gossip.averaging.base import LOOKAHEAD_ROUNDS, Averaging
from p2pfl_gossip.averaging.cohort_averaging import CohortAveraging, MeanHeader, PartHeader
from p2pfl_gossip.averaging.dsgd import Dsgd
from p2pfl_gossip.averaging.fedavg import FedAvgClient, GlobalModelHeader
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import PushSum, RunningSumHeader
from p2pfl_gossip.catch_up import (
    ModelHeader,
    ModelRequest,
    NoUpdate,
    Status,
    StatusRequest,
    Wait,
)
from p2pfl_gossip.comparison import DescriptionRequest, Present
from p2pfl_gossip.description import DescriptionPage
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.messages import LedgerMessage
from p2pfl_gossip.ledger.state_messages import (
    ChunksCancel,
    ChunksRequest,
    StateChunkDigests,
    StateChunks,
    StateRefusal,
    StateRequest,
)
from p2pfl_gossip.masked_sum.messages import SessionMessage
from p2pfl_gossip.opening import Begun, Opening, Ready
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Message
from p2pfl_gossip.topology import Ring

PEERS, LENGTH = 4, 8
SENDER, OTHER = 1, 2
"""On the ring of four, member 2 is no neighbour of ours."""

MANY = 100
STRANGER = PeerId("stranger")


class AnyPeer(OnePeer):
    """A peer of any place, that averages in any way."""

    def __init__(self, kind: type[Averaging], index: int = 0, **options: Any) -> None:
        self.kind, self.index, self.options = kind, index, options
        super().__init__(peers=PEERS, length=LENGTH)

    def make_peer(self, desk: Desk) -> Peer:
        initial = np.zeros(self.length, np.float32)
        initial.flags.writeable = False

        def make_averaging(inner: Desk) -> Averaging:
            common: dict[str, Any] = {
                "index": self.index,
                "roster": self.roster,
                "length": self.length,
                "dtype": np.float32,
            }
            if self.kind is not AgeGossip:
                common |= {"deadline_s": DEADLINE_S, "desk": inner}
            return self.kind(**common, **self.options)

        self.peer = Peer(
            index=self.index,
            roster=self.roster,
            settings=self.settings,
            initial=initial,
            make_averaging=make_averaging,
            seed="test",
            desk=desk,
        )
        return self.peer

    def in_round(self, round_: int) -> "AnyPeer":
        """Do the rounds before, then train for this one."""
        self.start()
        for _ in range(round_):
            self.train()
            if self.kind is CohortAveraging:
                self.exchange()
            while self.peer.state is State.AVERAGING:
                self.timer()
        self.train()
        return self


@dataclass
class Rig:
    """A peer at the point where a message is about to reach it.

    Attributes:
        one: the peer.
        message: what is about to come.
        sender: from whom.
        body: what follows it, if it is a header.
    """

    one: OnePeer
    message: Message
    sender: int = SENDER
    body: Any = None


def _in_cohort() -> AnyPeer:
    everybody = tuple(range(PEERS))
    return AnyPeer(CohortAveraging, members_of=lambda _round: everybody).in_round(1)


def _fetching() -> OnePeer:
    one = _in_cohort()
    one.begin(SENDER, PartHeader(2 + LOOKAHEAD_ROUNDS, 1.0))
    return one


def _opening() -> OnePeer:
    one = OneOpening(peers=PEERS)
    one.start()
    return one


THEIRS = description_of(20)
"""A wider model than ours."""


def _other_model() -> OnePeer:
    one = _opening()
    one.message(SENDER, Present(THEIRS.digest))
    return one


HELD_DIGEST, WANTED_DIGEST = HELD_STATE.item.digest, WANTED_STATE.item.digest
WANTED_LIST = StateChunkDigests(WANTED_DIGEST, 0, WANTED_STATE.chunk_digests)


def _keeping() -> OnePeer:
    return OneKeeper(peers=PEERS).start()


def _giving_chunks() -> OnePeer:
    one = _keeping()
    one.message(SENDER, ChunksRequest(HELD_DIGEST, 0, 1))
    return one


def _fetching_chunks() -> OnePeer:
    one = _keeping()
    one.message(SENDER, WANTED_LIST)
    one.message(OTHER, StateRefusal(WANTED_DIGEST))
    return one


MODEL = np.full(LENGTH, 2, np.float32)
CHUNK = np.full(LENGTH // PEERS, 2, np.float32)

RIGS: dict[type[Message], Callable[[], Rig]] = {
    Status: lambda: Rig(_in_cohort(), Status(3)),
    StatusRequest: lambda: Rig(_in_cohort(), StatusRequest()),
    ModelRequest: lambda: Rig(_fetching(), ModelRequest(0)),
    ModelHeader: lambda: Rig(_fetching(), ModelHeader(2 + LOOKAHEAD_ROUNDS), body=MODEL),
    # Where models are seen, nobody says so: tests/unit/gossip/test_certified_catch_up.py.
    Wait: lambda: Rig(_in_cohort(), Wait(1)),
    NoUpdate: lambda: Rig(_in_cohort(), NoUpdate(1)),
    PartHeader: lambda: Rig(_in_cohort(), PartHeader(1, 1.0), body=CHUNK),
    MeanHeader: lambda: Rig(_in_cohort(), MeanHeader(1, b"\x0f"), body=CHUNK),
    VectorHeader: lambda: Rig(
        AnyPeer(Dsgd, topology=Ring(PEERS)).in_round(1), VectorHeader(1, 1.0), body=MODEL
    ),
    RunningSumHeader: lambda: Rig(
        AnyPeer(PushSum, topology=Ring(PEERS)).in_round(1),
        RunningSumHeader(1, 1, 1.0),
        body=MODEL.astype(np.float64),
    ),
    AgedModelHeader: lambda: Rig(
        AnyPeer(AgeGossip, fanout=1, seed=b"").in_round(1), AgedModelHeader(2.0), body=MODEL
    ),
    GlobalModelHeader: lambda: Rig(
        AnyPeer(FedAvgClient, index=3).in_round(1), GlobalModelHeader(1), sender=0, body=MODEL
    ),
    Ready: lambda: Rig(_opening(), ready_message(asks=True)),
    Begun: lambda: Rig(_opening(), SAYS_BEGUN),
    Present: lambda: Rig(_opening(), Present(OURS.digest)),
    DescriptionRequest: lambda: Rig(_opening(), DescriptionRequest(0)),
    DescriptionPage: lambda: Rig(_other_model(), THEIRS.page(0)),
    StateRequest: lambda: Rig(_keeping(), StateRequest(HELD_DIGEST, 0)),
    StateChunkDigests: lambda: Rig(_keeping(), WANTED_LIST),
    StateRefusal: lambda: Rig(_keeping(), StateRefusal(WANTED_DIGEST)),
    ChunksRequest: lambda: Rig(_keeping(), ChunksRequest(HELD_DIGEST, 0, 1)),
    StateChunks: lambda: Rig(_fetching_chunks(), StateChunks(WANTED_DIGEST, 0, 1), body=WANTED),
    ChunksCancel: lambda: Rig(_giving_chunks(), ChunksCancel(HELD_DIGEST, 0)),
}


@dataclass(frozen=True)
class Case:
    """One thing that is done: the last of `said` is looked at."""

    said: list[tuple[PeerId, Message, Any]]
    has_left: bool = False


@cache
def cases(kind: type[Message]) -> dict[str, Case]:
    """Everything that is done to a message of a kind, by name."""
    return dict(_cases(RIGS[kind]()))


def _cases(rig: Rig) -> Iterator[tuple[str, Case]]:
    one, message, body = rig.one, rig.message, rig.body
    peers = one.roster.peers
    author, index = peers[rig.sender], getattr(one, "index", 0)

    def say(*said: Any, **where: bool) -> Case:
        return Case([it if isinstance(it, tuple) else (author, it, body) for it in said], **where)

    yield "as it is", say(message)
    for name, changed in forgeries(message):
        yield name, say(changed)
    if hasattr(message, "round"):
        for name, round_ in (
            ("round ahead", 1 + LOOKAHEAD_ROUNDS),
            ("round far ahead", 2 + LOOKAHEAD_ROUNDS),
            ("round the last", one.rounds - 1),
            ("round the end", one.rounds),
            ("round after the end", one.rounds + 1),
        ):
            yield name, say(msgspec.structs.replace(message, round=round_))
    yield "sender a stranger", say((STRANGER, message, body))
    yield "sender ourselves", say((peers[index], message, body))
    yield "sender another member", say((peers[OTHER], message, body))
    yield "replayed", say(message, message)
    yield "too late", say(message, has_left=True)
    yield "too many", say(*[message] * MANY)
    if body is not None:
        for name, entry in (("a NaN", np.nan), ("infinite", np.inf), ("huge", 2e30)):
            changed = body.copy()
            changed[1] = entry
            yield f"body has {name}", say((author, message, changed))
        yield "body short", say((author, message, body[:-1]))
        yield "body long", say((author, message, np.append(body, body[:1])))
        yield "no body", say((author, message, None))
    else:
        yield "a body", say((author, message, MODEL))


def what_comes_of(kind: type[Message], case: Case) -> str:
    """Do it to a real peer, and say in a few words what it made of it."""
    one = RIGS[kind]().one
    if case.has_left:
        one.command(Command.LEAVE)
    for peer, message, body in case.said[:-1]:
        _give(one, peer, message, body)
    before, state = fingerprint(one.machine), _state_of(one)
    actions, reason, is_begun = _give(one, *case.said[-1])
    is_changed = fingerprint(one.machine) != before
    if reason:
        # A body that was begun is forgotten, and its room with it.
        assert is_begun or not is_changed, f"refused as {reason}, yet something changed"
        return f"refused: {reason}"
    words = "taken" if is_changed else "ignored" if not actions else "not taken"
    ended = [action.reason for action in actions if isinstance(action, Disconnect)]
    said = [type(it.message).__name__ for it in actions if isinstance(it, Send)]
    said += [type(it.header).__name__ for it in actions if isinstance(it, SendBulk)]
    goes = [] if _state_of(one) == state else [_state_of(one)]
    for verb, what in (("disconnects", ended), ("goes", goes), ("says", said)):
        words += f", {verb}: {' '.join(sorted(dict.fromkeys(what)))}" if what else ""
    return words


def _state_of(one: OnePeer) -> str:
    machine = one.machine
    if isinstance(machine, Opening):
        return "opening" if machine.peer is None else str(machine.peer.state)
    return str(one.peer.state)


def _give(
    one: OnePeer, peer: PeerId, message: Message, body: Any
) -> tuple[list[Action], str, bool]:
    """Tell a peer of a message: what it asks for, why it refuses, whether a body was begun."""
    machine, now_s, actions, is_begun = one.machine, one.now_s, [], False
    try:
        if body is None:
            actions = machine.on_message(now_s, peer, message)
        else:
            bulk = next(one._bulks)
            is_begun, actions = machine.on_bulk_begin(now_s, peer, bulk, message)
            if is_begun:
                actions += machine.on_bulk_chunk(now_s, peer, bulk, body.tobytes())
                actions += machine.on_bulk_end(now_s, peer, bulk, None)
    except RemoteProtocolError as error:
        return [], error.reason, is_begun
    one.do(actions)
    return actions, "", is_begun


def kinds() -> dict[str, type[Message]]:
    """The messages that this is about, by name."""
    return {
        name: kind
        for name, kind in all_messages().items()
        if not issubclass(kind, SessionMessage | LedgerMessage)
    }


def main() -> None:
    for name, kind in kinds().items():
        print(f"[{name}]")
        for case_name, case in cases(kind).items():
            print(f'"{case_name}" = "{what_comes_of(kind, case)}"')
        print()


if __name__ == "__main__":
    main()
