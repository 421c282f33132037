"""Runs whole peers in the simulated world without training, to measure averaging alone.

Every frame is encoded, travels, may be lost and is decoded, and the peers' own reports tell what
models they hold: no mixing matrix is multiplied anywhere.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Event, Job, Vector
from p2pfl_gossip.averaging.base import Averaging, Tickets
from p2pfl_gossip.events import RoundEnded
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.peer import Peer, Settings
from p2pfl_gossip.records import Record
from p2pfl_gossip.roster import Roster
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.network import Network
from p2pfl_simulations.scenario import Distribution, NetworkSettings
from p2pfl_simulations.world import Host, World

DEADLINE_S = 5.0

MakeAveraging = Callable[[int, Roster, Tickets], Averaging]
Training = Callable[[int, Train], Vector]


class Learner:
    """Trains by a formula; by default, models stay as they are."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def run(self, jobs: Sequence[tuple[int, Job]]) -> list[Record]:
        return [
            Trained(self._training(peer, job), 1, 0.0)
            for peer, job in jobs
            if isinstance(job, Train)
        ]


class Exchanges:
    """A world of peers that average.

    `ended[r][i]` is the report of peer i on the end of its round r.
    """

    def __init__(
        self,
        models: Sequence[Vector],
        make_averaging: MakeAveraging,
        *,
        rounds: int,
        loss: float = 0.0,
        seed: int = 0,
        training: Training = lambda _peer, job: job.vector,
        training_s: Callable[[int], float] = lambda _peer: 1.0,
    ) -> None:
        self.models = np.asarray(models)
        self.ended: list[dict[int, RoundEnded]] = [{} for _ in range(rounds)]
        self.incidents: list[str] = []
        self.averagings: dict[int, Any] = {}
        keys = (hash_parts(b"test/identity", i.to_bytes(8, "little")) for i in range(len(models)))
        self.roster = Roster(Identity(key).peer_id for key in keys)
        queue = EventQueue()
        self.world = World(
            peer_ids=self.roster.peers,
            make_machine=lambda index: Peer(
                index=index,
                roster=self.roster,
                settings=Settings(rounds=rounds, deadline_s=DEADLINE_S, evaluate_every=0),
                initial=models[index],
                make_averaging=lambda tickets: self._make(make_averaging, index, tickets),
                seed=str(seed),
            ),
            network=Network(
                NetworkSettings(
                    latency=Distribution(kind="uniform", low_s=0.01, high_s=0.05), loss=loss
                ),
                peer_count=len(models),
                seed=seed,
                queue=queue,
            ),
            queue=queue,
            workshop=Workshop(Learner(training)),
            duration_s=lambda index, _job: training_s(index),
            observers=(self,),
        )

    def run(self, time_limit_s: float = 1e6) -> "Exchanges":
        self.world.start()
        self.world.run(time_limit_s)
        return self

    def after(self, round: int) -> "np.ndarray[Any, Any]":
        """Return everybody's model at the end of a round."""
        return np.array([self.ended[round][peer].vector for peer in range(len(self.models))])

    def variances(self) -> list[float]:
        """Return the variance between peers, averaged over entries: at first, after each round."""
        rounds = [self.models, *(self.after(round) for round in range(len(self.ended)))]
        return [float(models.var(axis=0).mean()) for models in rounds]

    def farthest(self, round: int) -> float:
        """Return how far any peer is from the mean of all initial models."""
        return float(np.abs(self.after(round) - self.models.mean(axis=0)).max())

    def _make(self, make: MakeAveraging, index: int, tickets: Tickets) -> Averaging:
        self.averagings[index] = make(index, self.roster, tickets)
        return self.averagings[index]  # type: ignore[no-any-return]

    def on_report(self, now_s: float, host: Host, event: Event) -> None:
        if isinstance(event, RoundEnded):
            self.ended[event.round][host.index] = event

    def on_incident(self, now_s: float, host: Host | None, kind: str, detail: str) -> None:
        self.incidents.append(f"{kind} {detail}")


def normal_models(peers: int, length: int = 256, seed: int = 1) -> list[Vector]:
    """Draw independent float64 models, so that a linear mixing contracts as W's norm says."""
    drawn = np.random.default_rng(seed).normal(size=(peers, length))
    return [np.ascontiguousarray(row) for row in drawn]
