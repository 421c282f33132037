"""What a peer is sent in bad faith, by mistake or too late changes nothing of what it computes."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfl_gossip import wire
from p2pfl_gossip.actions import Action, PeerId, RemoteProtocolError, Work
from p2pfl_gossip.averaging.base import Averaging
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.averaging.dsgd import Dsgd
from p2pfl_gossip.averaging.epidemic import EpidemicLearning
from p2pfl_gossip.averaging.fedavg import GlobalModelHeader, make_fedavg
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import PushSum, RunningSumHeader
from p2pfl_gossip.catch_up import ModelHeader
from p2pfl_gossip.events import RoundEnded
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.records import MalformedFrame, Message
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Ring

ROSTER = Roster(PeerId(f"peer-{index}") for index in range(3))
LENGTH, ROUNDS = 4, 4
KINDS: dict[str, Callable[..., Averaging]] = {
    "dsgd": partial(Dsgd, topology=Ring(3)),
    "push-sum": partial(PushSum, topology=Ring(3)),
    "epidemic": partial(EpidemicLearning, fanout=2, seed=b"s"),
    "fedavg server": make_fedavg,
}


class Conversation:
    """One peer and its driver; the two others' words are made up."""

    def __init__(self, kind: str) -> None:
        self.peer = Peer(
            index=0,
            roster=ROSTER,
            settings=PeerSettings(rounds=ROUNDS, deadline_s=1.0, evaluate_every=0),
            initial=np.arange(LENGTH, dtype=np.float32),
            make_averaging=lambda desk: KINDS[kind](
                index=0,
                roster=ROSTER,
                length=LENGTH,
                dtype=np.float32,
                deadline_s=1.0,
                desk=desk,
            ),
            seed="0",
        )
        self.ended: list[Any] = []
        self.bulks = count()
        self.job: Work | None = None
        self.take(self.peer.on_start(0.0, {}))

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Work):
                self.job = action
            event = getattr(action, "event", None)
            if isinstance(event, RoundEnded):
                self.ended.append(event)

    def train(self) -> None:
        assert self.job is not None
        assert isinstance(self.job.job, Train)
        vector = self.job.job.vector * np.float32(0.5)
        self.take(self.peer.on_work_done(0.0, self.job.ticket, Trained(vector, 1, 0.0)))

    def send(self, sender: str, header: Message, body: bytes) -> None:
        message = wire.decode_untrusted(wire.encode(header))
        bulk = next(self.bulks)
        wanted, actions = self.peer.on_bulk_begin(0.0, PeerId(sender), bulk, message)
        self.take(actions)
        if wanted:
            self.take(self.peer.on_bulk_chunk(0.0, PeerId(sender), bulk, body))
            self.take(self.peer.on_bulk_end(0.0, PeerId(sender), bulk, None))


def good(kind: str, sender: int, round: int) -> tuple[str, Message, bytes]:
    values = np.linspace(sender, round, LENGTH)
    if kind == "push-sum":
        header = RunningSumHeader(round, 0, (round + 1) / 3)
        return f"peer-{sender}", header, (values * (round + 1)).tobytes()
    return f"peer-{sender}", VectorHeader(round, 1.0), values.astype(np.float32).tobytes()


lengths = st.sampled_from([0, 1, LENGTH * 4 - 1, LENGTH * 4, LENGTH * 4 + 1, LENGTH * 8 + 4, 999])
rounds_of_lies = st.integers(0, ROUNDS - 1)


@st.composite
def lies(draw: st.DrawFn) -> tuple[str, Message, bytes]:
    """Draw a frame and body that a peer must not heed."""
    round = draw(rounds_of_lies)
    header: Message = draw(
        st.sampled_from(
            [
                VectorHeader(round, 1.0),
                VectorHeader(round, -1.0),
                VectorHeader(round, float("nan")),
                VectorHeader(ROUNDS + 5, 1.0),
                RunningSumHeader(round, 0, 0.5),
                RunningSumHeader(round, round + 1, 0.5),
                GlobalModelHeader(round),
                PartHeader(round, 1.0),
                MeanHeader(round, b"\x03"),
                ModelHeader(round),
            ]
        )
    )
    sender = draw(st.sampled_from(["peer-0", "peer-1", "peer-2", "stranger"]))
    body = draw(
        st.one_of(
            st.builds(bytes, lengths.filter(lambda size: size not in (16, 32))),
            st.sampled_from([np.full(LENGTH, v, np.float32).tobytes() for v in (np.nan, np.inf)]),
            st.sampled_from([np.full(LENGTH, v).tobytes() for v in (np.nan, 1e300)]),
        )
    )
    return sender, header, body


@pytest.mark.parametrize("kind", KINDS)
@given(told=st.lists(st.lists(lies(), max_size=4), min_size=ROUNDS * 4, max_size=ROUNDS * 4))
@settings(max_examples=8, deadline=None)
def test_lies_change_nothing(kind: str, told: list[list[tuple[str, Message, bytes]]]) -> None:
    honest, pestered = Conversation(kind), Conversation(kind)
    batches = iter(told)

    def pester() -> None:
        for sender, header, body in next(batches):
            try:
                pestered.send(sender, header, body)
            except (RemoteProtocolError, MalformedFrame):
                continue

    for round in range(ROUNDS):
        pester()
        for talk in (honest, pestered):
            talk.train()
        for sender in (2, 1):
            pester()
            for talk in (honest, pestered):
                talk.send(*good(kind, sender, round))
        pester()
        # Late and double, in good faith.
        pestered.send(*good(kind, 1, round))
    assert len(honest.ended) == ROUNDS
    assert [_told_of(event) for event in pestered.ended] == [_told_of(e) for e in honest.ended]


def _told_of(event: RoundEnded) -> tuple[Any, ...]:
    return event.round, event.vector.tobytes(), event.contributors, event.complete
