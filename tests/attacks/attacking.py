"""A simulated group with one liar in it: its real machine, wrapped.

The others run as they are. What they trained is noted for scoring only: no liar sees it.
"""

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from p2pfl.learner.learner import make_learner
from p2pfl_gossip.actions import Action, Event, PeerId, Report, Send
from p2pfl_gossip.catch_up import ModelHeader, ModelRequest
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.peer import Peer
from p2pfl_simulations import make_scenario
from p2pfl_simulations.simulation import Simulation

Model = npt.NDArray[Any]
CLIP = 8.0


class Attack:
    """A group of one cohort, and its liar.

    Attributes:
        trained: what each peer trained, by peer and round.
        events: what the honest reported, by peer.
    """

    def __init__(
        self,
        *,
        peers: int = 8,
        rounds: int = 4,
        liar: type["Liar"] | None = None,
        at: int = 0,
        **averaging: Any,
    ) -> None:
        self.scenario = make_scenario(
            {
                "peers": peers,
                "rounds": rounds,
                "learning": {"task": "digits", "training": {"steps": 2, "learning_rate": 0.2}},
                "averaging": {
                    "algorithm": "cohorts",
                    "cohort_size": peers,
                    "deadline_s": 0.5,
                    "clip": CLIP,
                    **averaging,
                },
                "evaluation": {"every": rounds, "peers": 2, "baselines": []},
                "time_limit_s": 300.0,
            }
        )
        self.learner = make_learner(self.scenario.learning, peer_count=peers, seed=1, folder=None)
        self.initial: Model = self.learner.initial_vector()
        self.trained: dict[tuple[int, int], Model] = {}
        self.events: dict[int, list[Event]] = {peer: [] for peer in range(peers)}
        self._work = self.learner.run
        self.learner.run = self._spy  # type: ignore[method-assign]
        self.simulation = Simulation(self.scenario, self.learner, lambda _: None)
        self.world = self.simulation.world
        self._make = self.world._make_machine
        self.liar: Liar | None = None
        self._liar_type, self._at = liar, at
        self.world._make_machine = self._make_machine

    def run(self) -> "Attack":
        self.simulation.run()
        return self

    @property
    def hosts(self) -> Any:
        return self.world.hosts

    def peer(self, index: int) -> Peer:
        machine = self.hosts[index].machine
        assert isinstance(machine, Peer)
        return machine

    def reported(self, index: int, kind: type[Event]) -> list[Any]:
        return [event for event in self.events[index] if type(event) is kind]

    def refused(self, reason: str) -> int:
        return self.world.counters[f"protocol_error_{reason}"]

    def cosine(self, found: npt.NDArray[np.float64], peer: int, round_: int) -> float:
        """How near a guess of a peer's trained model is to its real change in a round."""
        change = (self.trained[peer, round_] - self.initial).astype(np.float64)
        guess = found - self.initial
        return float(np.dot(guess, change) / np.linalg.norm(guess) / np.linalg.norm(change))

    def _spy(self, jobs: Any) -> Any:
        results = self._work(jobs)
        for (peer, job), result in zip(jobs, results, strict=True):
            if isinstance(job, Train) and isinstance(result, Trained):
                self.trained[peer, job.round] = result.vector.copy()
        return results

    def _make_machine(self, index: int) -> Any:
        machine = self._make(index)
        if index == self._at and self._liar_type is not None:
            self.liar = self._liar_type(cast("Peer", machine), self)
            return self.liar
        return Watched(machine, self.events[index])


class Watched:
    """An honest machine; what it reports is noted."""

    def __init__(self, machine: Any, events: list[Event]) -> None:
        self._machine, self._events = machine, events

    @property  # type: ignore[misc]  # They ask for a `Peer`.
    def __class__(self) -> type:
        return Peer

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._machine, name)
        if not name.startswith("on_") or not callable(value):
            return value

        def told(*given: Any) -> Any:
            answer = value(*given)
            actions = answer[1] if isinstance(answer, tuple) else answer
            self._events += [it.event for it in actions if isinstance(it, Report)]
            return answer

        return told


class Liar:
    """The liar's own machine, which it may tell what it likes; subclasses replace what goes out."""

    def __init__(self, peer: Peer, attack: Attack) -> None:
        self.peer, self.attack = peer, attack
        self.bodies: dict[int, tuple[ModelHeader, list[bytes]]] = {}
        self.models: list[tuple[PeerId, ModelHeader, Model]] = []
        """What it got of others by asking."""

    @property  # type: ignore[misc]  # They ask for a `Peer`.
    def __class__(self) -> type:
        return Peer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.peer, name)

    def others(self) -> list[PeerId]:
        return [host.peer_id for host in self.attack.hosts if host.index != self.attack._at]

    def ask_all(self, round_: int) -> list[Action]:
        return [Send(other, ModelRequest(round_)) for other in self.others()]

    # It takes every model, whatever its machine wants.

    def on_bulk_begin(self, now_s: float, sender: PeerId, bulk: int, header: Any) -> Any:
        if isinstance(header, ModelHeader):
            self.bodies[bulk] = (header, [])
            return True, []
        return self.peer.on_bulk_begin(now_s, sender, bulk, header)

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Any) -> Any:
        if bulk in self.bodies:
            self.bodies[bulk][1].append(bytes(chunk))
            return []
        return self.peer.on_bulk_chunk(now_s, sender, bulk, chunk)

    def on_bulk_end(self, now_s: float, sender: PeerId, bulk: int, trailer: Any) -> Any:
        if bulk in self.bodies:
            header, parts = self.bodies.pop(bulk)
            self.models.append((sender, header, np.frombuffer(b"".join(parts), "<f4")))
            return []
        return self.peer.on_bulk_end(now_s, sender, bulk, trailer)
