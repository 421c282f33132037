"""Masked sums in the simulator: entropy by the seed, and what their jobs cost."""

from collections import Counter
from collections.abc import Sequence

from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip.actions import Job
from p2pfl_gossip.learning import Evaluate, Train
from p2pfl_gossip.masked_sum.core import Entropy
from p2pfl_gossip.masked_sum.jobs import perform
from p2pfl_gossip.records import Record
from p2pfl_simulations.batch import Worker


class SeededEntropy:
    """Secret bytes for simulated peers: by the seed, other ones in each life of each peer.

    A daemon takes them from its operating system; a run that can be repeated must not.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lives: Counter[int] = Counter()

    def of(self, index: int) -> Entropy:
        """Return the entropy of a peer's next life."""
        life = self._lives[index]
        self._lives[index] += 1
        drawn = 0

        def draw(count: int) -> bytes:
            nonlocal drawn
            blocks = []
            for _ in range(-(-count // 32)):
                place = f"{self._seed}/{index}/{life}/{drawn}".encode()
                blocks.append(hash_parts(b"p2pfl/sim-secret", place))
                drawn += 1
            return b"".join(blocks)[:count]

        return draw


class MaskingWorker:
    """Does the jobs of masked sums itself, and leaves those of learning to the learner."""

    def __init__(self, learner: Worker) -> None:
        self._learner = learner

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        """Do jobs of peers, named by index; results in the same order."""
        places = [
            place for place, (_, job) in enumerate(jobs) if isinstance(job, (Train, Evaluate))
        ]
        results: list[Record | None] = [None] * len(jobs)
        learned = self._learner.run([jobs[place] for place in places]) if places else []
        for place, result in zip(places, learned, strict=True):
            results[place] = result
        for place, (_, job) in enumerate(jobs):
            if results[place] is None:
                results[place] = perform(job)
        return [result for result in results if result is not None]
