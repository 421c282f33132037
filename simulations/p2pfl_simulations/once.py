"""Pure work that is the same for all members of a group, done once for all of them.

All members of a group work the same next model out, and hash it; those of a robust cohort make the
same of the same models. Each does so by its own inputs;
where these are equal bit by bit, so is what comes of them. In one process it need not be done
again.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from p2pfl_gossip.actions import Job
from p2pfl_gossip.averaging.robust.combining import Combine
from p2pfl_gossip.ledger.jobs import MakeModel
from p2pfl_gossip.ledger.private_jobs import MakePrivateModel
from p2pfl_gossip.ledger.states import DigestState
from p2pfl_gossip.masked_sum.audit_jobs import CheckProofs
from p2pfl_gossip.records import Record
from p2pfl_simulations.checkers.base import fingerprint

KEPT_MAX = 8
"""Results kept: of the round under way and of the one before, with a few that lost members ask
for. Each holds a model."""


class Once:
    """Does jobs, those that all members of a group have in common once.

    Args:
        perform: does one job.

    Attributes:
        repeated: jobs whose results were there already.
    """

    def __init__(self, perform: Callable[[Job], Record]) -> None:
        self._perform = perform
        self._known: OrderedDict[Hashable, Record] = OrderedDict()
        self.repeated = 0

    def __call__(self, job: Job) -> Record:
        """Do a job, or return what came of an equal one."""
        key = _key_of(job)
        if key is None:
            return self._perform(job)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            self.repeated += 1
            return known
        result = self._known[key] = self._perform(job)
        if len(self._known) > KEPT_MAX:
            self._known.popitem(last=False)
        return result


def _key_of(job: Job) -> Hashable | None:
    """Name all that a result depends on; None for a job that members have for themselves."""
    match job:
        case DigestState():
            return ("digest", job.name, len(job.vector), fingerprint(job.vector))
        case MakePrivateModel():
            return (
                "private model",
                job.encoding,
                job.descent,
                job.rate,
                fingerprint(job.base),
                None if job.momentum is None else fingerprint(job.momentum),
                tuple(None if total is None else fingerprint(total) for total in job.sums),
                job.member_count,
            )
        case MakeModel():
            return (
                "model",
                job.encoding,
                fingerprint(job.base),
                tuple((where.start, where.stop) for where in job.slices),
                tuple(None if total is None else fingerprint(total) for total in job.sums),
                job.weight,
                job.members_weight,
                job.member_count,
            )
        case CheckProofs():
            # The random weights of a member let a false proof pass with 2^-128 at most.
            return ("proofs", job.audited, job.seed, job.shown, job.sum_sketch)
        case Combine(own=None):
            return ("combine", job.rule, job.round, tuple(map(fingerprint, job.vectors)))
    return None
