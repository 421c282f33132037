"""One small example of each other kind of plug-in."""

import numpy as np
from pydantic import Field

from p2pfl_gossip.events import RoundStarted
from p2pfl_gossip.learning import Train, Trained
from p2pfl_simulations.plugins import (
    Availability,
    Fault,
    Graph,
    InputFile,
    Latency,
    Liar,
    Metric,
    Split,
)


class Alternating(Graph):
    """A ring in even rounds, and pairs of opposite peers in odd ones."""

    def period(self):
        return 2

    def edges(self, peers, round, rng):
        half = peers // 2
        if round == 1:
            return [(peer, peer + half) for peer in range(half)]
        return [(peer, (peer + 1) % peers) for peer in range(peers)]


class SmallWorld(Graph):
    """A graph of networkx: most neighbours are near, some are far (Watts & Strogatz, 1998)."""

    degree: int = 4
    rewired: float = Field(default=0.2, ge=0, le=1)

    def edges(self, peers, round, rng):
        import networkx

        return networkx.connected_watts_strogatz_graph(
            peers, self.degree, self.rewired, seed=rng.getrandbits(32)
        )


class ByFirstLabel(Split):
    """Rows sorted by label, in equal parts: each peer knows a label or two."""

    def split(self, targets, columns, peers, rng):
        return np.array_split(np.argsort(targets, kind="stable"), peers)


class TopTwo(Metric):
    """Share of rows whose class is among the two likeliest."""

    is_share = True

    def measure(self, outputs, targets):
        best = np.argsort(outputs, axis=1)[:, -2:]
        return (best == targets[:, None]).any(axis=1).mean()


class TwoSites(Latency):
    """Two data centres: quick within, slow between."""

    near_s: float = Field(default=0.001, ge=0)
    far_s: float = Field(default=0.08, ge=0)

    def latency_s(self, sender, receiver, rng):
        mean_s = self.near_s if sender % 2 == receiver % 2 else self.far_s
        return mean_s * rng.uniform(0.9, 1.1)


class NightOff(Availability):
    """Every second peer is away for a part of each day."""

    day_s: float = Field(default=30.0, gt=0)
    night: float = Field(default=0.3, gt=0, lt=1)

    def online(self, peer, rng):
        if peer % 2 == 0:
            yield 0.0, float("inf")
        day = 0
        while peer % 2:
            yield day * self.day_s, (day + 1 - self.night) * self.day_s
            day += 1


class Maintenance(Fault):
    """One peer after the other is restarted, whenever the first one begins so many rounds."""

    every: int = Field(default=5, ge=1)
    down_s: float = Field(default=2.0, gt=0)

    def start(self):
        pass

    def on_report(self, now_s, host, event):
        if isinstance(event, RoundStarted) and host.index == 0 and event.round % self.every == 1:
            victim = self.world.hosts[self.rng.randrange(1, len(self.world.hosts))]
            self.world.take_offline(victim, "maintenance", kills=True)
            at_s = now_s + self.down_s
            self.world.queue.call_at(at_s, self.world.bring_online, victim, "maintenance")


class SignFlip(Liar):
    """Gives its update with the sign turned."""

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor

    def learn(self, now_s, job, result):
        if not isinstance(job, Train) or not isinstance(result, Trained):
            return result
        vector = (job.vector - self._factor * (result.vector - job.vector)).astype(np.float32)
        vector.flags.writeable = False
        return Trained(vector, result.sample_count, result.loss)


class SharesFromFile(Split):
    """Each peer's part of the rows, from a text file with one number a line."""

    file: InputFile

    def split(self, targets, columns, peers, rng):
        shares = np.loadtxt(self.file)[:peers]
        ends = (np.cumsum(shares) / shares.sum() * len(targets)).astype(int)
        return np.split(rng.permutation(len(targets)), ends[:-1])
