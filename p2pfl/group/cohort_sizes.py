"""How large cohorts are whose size is left open."""

from functools import lru_cache
from typing import TypeVar

from p2pfl.group.settings import AveragingSettings, CohortSettings
from p2pfl_gossip.draw_risk import MALICIOUS, draw_risk
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MAX, COHORT_SIZE_MIN

PLAIN_SIZE = 8
"""Of cohorts without masks, which hide nothing: they mix well, and lose little to one that is
silent."""


Settings = TypeVar("Settings", bound=AveragingSettings)


def with_cohort_size(averaging: Settings, peers: int, rounds: int) -> Settings:
    """Return the settings with a cohort size in place of `"auto"`."""
    if not isinstance(averaging, CohortSettings) or averaging.cohort_size != "auto":
        return averaging
    if averaging.is_masked:
        size = auto_size(peers, rounds, averaging.assumed_liars)
    else:
        size = min(PLAIN_SIZE, max(2, peers))
    return averaging.model_copy(update={"cohort_size": size})


@lru_cache(maxsize=64)
def auto_size(peers: int, rounds: int, liar_share: float) -> int:
    """Return how large masked cohorts are.

    All peers together, up to 128. Of more, the smallest size with which protection against
    malicious members may be claimed; the largest where no size is enough.
    """
    if peers <= COHORT_SIZE_MAX:
        return max(COHORT_SIZE_MIN, peers)
    for size in range(COHORT_SIZE_MIN, COHORT_SIZE_MAX):
        if draw_risk(peers, size, rounds, liar_share).claim == MALICIOUS:
            return size
    return COHORT_SIZE_MAX
