"""How long a masked session takes in virtual time where nothing goes wrong in it.

Phase by phase, for all members at once: when each has dealt, agreed, masked, voted and revealed,
from when it began, how long its jobs take, and a latency drawn for each message. Bodies have an
uplink and a downlink of their own. Not modelled: frames of one member that overtake each other, and
other bodies that share its links meanwhile.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.encoding import Encoding
from p2pfl_gossip.masked_sum.cohort import SessionMembers
from p2pfl_gossip.masked_sum.masking import MASK_JOBS_MAX, SECOND_JOB_ENTRIES
from p2pfl_simulations import costs as job_costs
from p2pfl_simulations.world_settings import MaskingCosts

Times = npt.NDArray[np.float64]


def session_end_s(
    cohort: SessionMembers,
    dealers: tuple[int, ...],
    *,
    turn: int,
    asked_s: Times,
    slowness: Times,
    costs: MaskingCosts,
    draw_latencies: Callable[[int], Times],
    bytes_per_s: float,
) -> float | None:
    """Return when the last member has all sums; None if a phase lasts longer than others wait.

    Args:
        cohort: of the session.
        dealers: U1, ascending; all of them take part to the end.
        turn: of the leader.
        asked_s: when each came to the end of the list, in order.
        slowness: how much longer jobs take each than a peer of speed 1.
        costs: how long they take that one.
        draw_latencies: draws so many latencies.
        bytes_per_s: of each uplink and downlink.
    """
    n, patience, threshold = len(dealers), cohort.patience, cohort.threshold
    place_of = {rank: place for place, rank in enumerate(dealers)}
    leader = place_of[leader_of(cohort, dealers, turn)]

    def to_all(said_s: Times) -> Times:
        """When what each says is at each: [sender, receiver]."""
        arrive = said_s[:, None] + draw_latencies(n * n).reshape(n, n)
        np.fill_diagonal(arrive, said_s)
        return arrive

    def of_one(said_s: float) -> Times:
        """When what the leader says is at each."""
        arrive = said_s + draw_latencies(n)
        arrive[leader] = said_s
        return arrive

    def enough(arrive: Times) -> Times:
        """When each has it of t members."""
        at_s: Times = np.partition(arrive, threshold - 1, axis=0)[threshold - 1]
        return at_s

    # Shares, what each holds, U2, acknowledgements.
    dealt_s = asked_s + slowness * job_costs.deal_s(n, threshold, costs)
    held_s = to_all(dealt_s).max(axis=0)
    proposed_s = to_all(held_s)[:, leader].max()
    acked_s = np.maximum(of_one(proposed_s), held_s)
    agreed_s = np.maximum(enough(to_all(acked_s)), acked_s)

    # Chunks and their digests.
    entries, count = cohort.vector_entries, cohort.chunk_count
    chunk_entries = -(-entries // count)
    chunk_s, vector_s = 4 * chunk_entries / bytes_per_s, 4 * entries / bytes_per_s
    jobs = MASK_JOBS_MAX if entries >= SECOND_JOB_ENTRIES else 1
    masking_s = slowness * job_costs.mask_s(entries, n, costs) / jobs
    copies = min(cohort.owner_count, n)
    masked_s = agreed_s + masking_s
    left_s = np.maximum(
        masked_s + copies * chunk_s, agreed_s + masking_s / count + copies * vector_s
    )
    owned = [
        place_of[owner] for chunk in range(count) for owner in cohort.owners_of(chunk, dealers)
    ]
    owners, chunks_each = np.unique(owned, return_counts=True)
    brought_s = to_all(left_s).max(axis=0)[owners]
    full_s = agreed_s.min() + (n - 1) * chunk_s * chunks_each
    digest_s = slowness * job_costs.digest_s(chunk_entries, costs)
    checked_s = np.maximum(brought_s, full_s) + digest_s[owners]

    # Receipts, the ballot, votes.
    receipted_s = masked_s.copy()
    receipted_s[owners] = np.maximum(checked_s, masked_s[owners])
    heard_s = to_all(receipted_s).max(axis=0)
    voted_s = np.maximum(of_one(heard_s[leader]), heard_s)
    certified_s = np.maximum(enough(to_all(voted_s)), voted_s)

    # Shares revealed to owners; what they sum, to all.
    revealed_s = np.maximum(enough(to_all(certified_s)), certified_s)[owners]
    rebuild_s = slowness[owners] * job_costs.rebuild_s(n * threshold, 0, costs)
    unmask_s = slowness[owners] * job_costs.unmask_s(chunk_entries, n, n, costs)
    summed_s = revealed_s + rebuild_s + unmask_s
    firsts = np.unique(owned[::copies])
    out_s = np.full(n, -np.inf)
    out_s[owners] = summed_s
    out_s[firsts] += (cohort.size - 1) * chunk_s * -(-count // len(firsts))
    all_s = to_all(out_s).max(axis=0)
    last_s = np.maximum(all_s, summed_s.min() + vector_s) + digest_s
    if isinstance(cohort.encoding, Encoding):  # A group decodes later.
        last_s += slowness * job_costs.decode_s(chunk_entries, costs)

    waits = (
        (agreed_s.max() - dealt_s.min(), patience.gather_s),
        (checked_s.max() - agreed_s.min(), patience.chunks_s),
        (certified_s.max() - receipted_s.max(), patience.gather_s),
        (last_s.max() - certified_s.min(), patience.sums_s),
        (last_s.max() - asked_s.min(), patience.session_s),
    )
    if any(lasts_s > waited_s for lasts_s, waited_s in waits):
        return None
    return float(last_s.max())


def leader_of(cohort: SessionMembers, dealers: tuple[int, ...], turn: int) -> int:
    """Return who leads a session whose list is of a turn: the next one that is on the list."""
    turns = range(turn, cohort.leader_turns_max)
    return next((cohort.leader(it) for it in turns if cohort.leader(it) in dealers), dealers[0])
