"""Averaging alone, measured: whole peers exchange in the simulated world, and nothing is learnt.

Every frame is encoded, travels, may be lost and is decoded, and the peers' own reports tell what
models they hold: no mixing matrix is multiplied anywhere.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Event, Job, Vector
from p2pfl_gossip.averaging.base import Averaging
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.events import RoundEnded
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.records import Record
from p2pfl_gossip.roster import Roster
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.network import Network
from p2pfl_simulations.world import World
from p2pfl_simulations.world_settings import Distribution, NetworkSettings

DEADLINE_S = 5.0
"""A hundred times the largest latency: who has not come by then is lost."""

Models: TypeAlias = npt.NDArray[np.float64]

MakeAveraging: TypeAlias = Callable[..., Averaging]
"""Called with index, roster, length, dtype, deadline_s and desk."""

Training: TypeAlias = Callable[[int, Train], Vector]
"""What a peer's training yields."""


class _Learner:
    """Trains by a formula."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def run(self, jobs: Sequence[tuple[int, Job]]) -> list[Record]:
        return [
            Trained(self._training(peer, job), 1, 0.0)
            for peer, job in jobs
            if isinstance(job, Train)
        ]


class Exchanges:
    """A world of peers that average; `run` it, then look at their models.

    Args:
        models: what each peer begins with, float32[d] or float64[d] each.
        make: makes a peer's averaging machine.
        rounds: how many.
        loss: probability that a message is lost.
        seed: of latencies and losses.
        training: by default, models stay as they are.
        training_s: how long each peer trains.
    """

    def __init__(
        self,
        models: Sequence[Vector],
        make: MakeAveraging,
        *,
        rounds: int,
        loss: float = 0.0,
        seed: int = 0,
        training: Training = lambda _peer, job: job.vector,
        training_s: Callable[[int], float] = lambda _peer: 1.0,
    ) -> None:
        self.models: Models = np.asarray(models, np.float64)
        self.ended: list[dict[int, RoundEnded]] = [{} for _ in range(rounds)]
        keys = (hash_parts(b"p2pfl/exchanges", i.to_bytes(8, "little")) for i in range(len(models)))
        roster = Roster(Identity(key).peer_id for key in keys)
        settings = PeerSettings(rounds=rounds, deadline_s=DEADLINE_S, evaluate_every=0)
        queue = EventQueue()

        def make_peer(index: int) -> Peer:
            def make_averaging(desk: Desk) -> Averaging:
                return make(
                    index=index,
                    roster=roster,
                    length=len(models[index]),
                    dtype=models[index].dtype,
                    deadline_s=DEADLINE_S,
                    desk=desk,
                )

            return Peer(
                index=index,
                roster=roster,
                settings=settings,
                initial=models[index],
                make_averaging=make_averaging,
                seed=str(seed),
            )

        latency = Distribution(kind="uniform", low_s=0.01, high_s=0.05)
        self._world = World(
            peer_ids=roster.peers,
            make_machine=make_peer,
            network=Network(
                NetworkSettings(latency=latency, loss=loss),
                peer_count=len(models),
                seed=seed,
                queue=queue,
            ),
            queue=queue,
            workshop=Workshop(_Learner(training)),
            duration_s=lambda index, _job: training_s(index),
            observers=(self,),
        )

    def run(self, time_limit_s: float = 1e6) -> "Exchanges":
        """Run to the end, or for so long in virtual time; return itself."""
        self._world.start()
        self._world.run(time_limit_s)
        return self

    def after(self, round: int) -> Models:
        """Return everybody's model at the end of a round, float64[n, d].

        Raises:
            KeyError: a peer did not end it.
        """
        ended = self.ended[round]
        return np.array([ended[peer].vector for peer in range(len(self.models))], np.float64)

    def variances(self) -> list[float]:
        """Return the variance between peers, averaged over entries: at first, after each round."""
        rounds = [self.models, *(self.after(round) for round in range(len(self.ended)))]
        return [float(models.var(axis=0).mean()) for models in rounds]

    def farthest(self, round: int) -> float:
        """Return how far an entry of any peer is from the mean of all initial models, at most."""
        return float(np.abs(self.after(round) - self.models.mean(axis=0)).max())

    def on_report(self, now_s: float, host: SimulatedHost, event: Event) -> None:
        """Note the end of a round."""
        if isinstance(event, RoundEnded):
            self.ended[event.round][host.index] = event

    def on_incident(self, now_s: float, host: SimulatedHost | None, kind: str, detail: str) -> None:
        """Refuse: nothing is to go wrong here but the loss of messages."""
        raise AssertionError(f"{kind} {detail}")


def normal_models(peers: int, length: int, seed: int = 1) -> list[Vector]:
    """Draw independent standard normal models, float64[length] each."""
    drawn = np.random.default_rng(seed).normal(size=(peers, length))
    return [np.ascontiguousarray(row) for row in drawn]


def contraction(peers: int, length: int, rounds: int, make: MakeAveraging) -> float:
    """Give every peer an independent model in every round; return what a round leaves of it.

    That is the mean square distance from the mean *before* the round, over their variance then: an
    algorithm that does not keep the mean, as EL-Local, has its drift counted. Mean over the rounds.
    """

    def fresh(peer: int, round: int) -> Vector:
        return np.random.default_rng([peer, round]).normal(size=length)

    run = Exchanges(
        normal_models(peers, length),
        make,
        rounds=rounds,
        training=lambda peer, job: fresh(peer, job.round),
    ).run()
    left = []
    for round in range(rounds):
        before = np.array([fresh(peer, round) for peer in range(peers)])
        distance = run.after(round) - before.mean(axis=0)
        left.append(np.square(distance).mean() / before.var(axis=0).mean())
    return float(np.mean(left))
