"""Masked sums in the simulator: entropy by the seed, jobs done, and signatures checked once."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import shake_256

from p2pfl_crypto.identity import InvalidIdentity
from p2pfl_crypto.statements import verify_statement
from p2pfl_gossip.actions import Job, RemoteProtocolError
from p2pfl_gossip.averaging.masked_cohorts import MaskedCohorts
from p2pfl_gossip.learning import LearningJob
from p2pfl_gossip.masked_sum.cohort import SessionMembers
from p2pfl_gossip.masked_sum.core import Core, Entropy
from p2pfl_gossip.masked_sum.group_sum import GroupSum
from p2pfl_gossip.masked_sum.machine import MaskedSum
from p2pfl_gossip.records import Record
from p2pfl_simulations.batch import Worker

CHECKED_MAX = 2**14
"""Signatures remembered as good: more than are on their way at once between 1,000 peers."""


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
            place = f"p2pfl/sim-secret/{self._seed}/{index}/{life}/{drawn}"
            drawn += 1
            return shake_256(place.encode()).digest(count)

        return draw


class MaskingWorker:
    """Does the jobs of protocols itself, and leaves those of learning to the learner.

    Args:
        learner: does the others.
        perform: does one job of a masked sum, a state or a ledger.
    """

    def __init__(self, learner: Worker, perform: Callable[[Job], Record]) -> None:
        self._learner, self._perform = learner, perform

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        """Do jobs of peers, named by index; results in the same order."""
        places = [place for place, (_, job) in enumerate(jobs) if isinstance(job, LearningJob)]
        results: list[Record | None] = [None] * len(jobs)
        learned = self._learner.run([jobs[place] for place in places]) if places else []
        for place, result in zip(places, learned, strict=True):
            results[place] = result
        for place, (_, job) in enumerate(jobs):
            if results[place] is None:
                results[place] = self._perform(job)
        return [result for result in results if result is not None]


class SimulatedCore(Core):
    """Checks each signature once for all simulated members: they share a process.

    Whether a signature is good depends on nothing but what was signed and by whom, so that each
    member comes to the same end as by checking it itself.
    """

    @staticmethod
    def verify_of(
        cohort: SessionMembers, rank: int, kind: bytes, signature: bytes, *body: bytes
    ) -> None:
        """Check a member's signature, or raise RemoteProtocolError."""
        try:
            _verify_once(cohort.public_keys[rank], kind, rank, signature, cohort.session, *body)
        except InvalidIdentity:
            raise RemoteProtocolError("bad_signature") from None


@lru_cache(maxsize=CHECKED_MAX)
def _verify_once(key: bytes, kind: bytes, rank: int, signature: bytes, *body: bytes) -> None:
    verify_statement(key, kind, rank, signature, *body)  # What raises is not remembered.


class SimulatedSum(MaskedSum):
    """A masked sum in full, with signatures checked once."""

    core_type = SimulatedCore


class SimulatedGroupSum(GroupSum):
    """A group's masked sum in full, with signatures checked once."""

    core_type = SimulatedCore


class SimulatedCohorts(MaskedCohorts):
    """Masked cohorts in full, with signatures checked once."""

    session_type = SimulatedSum
