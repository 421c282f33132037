"""What a group's way of averaging protects, and what may be claimed of it, in sentences.

The claims and their limits are those of docs/threats.md.
"""

from p2pfl.group.roster_file import RosterFile
from p2pfl.group.settings import CohortSettings
from p2pfl_gossip.masked_sum.cohort import liars_max_of, threshold_of


def describe_protection(roster: RosterFile) -> list[str]:
    """Say who may see what, and what is not claimed."""
    lines = []
    averaging = roster.averaging
    if isinstance(averaging, CohortSettings) and roster.hides_models:
        n = averaging.cohort_size
        threshold, liars = threshold_of(n), liars_max_of(n)
        lines.append(
            f"Masked: of a cohort of {n}, up to {liars} members that conspire learn no more of a"
            f" round than the sum of {threshold - liars} others' models or more."
        )
        lines.append(
            "Claimed against curious members; against malicious ones only where the share of them"
            " that you assume makes a bad cohort improbable. Many rounds leak (docs/threats.md)."
        )
    else:
        lines.append(
            "Not masked: members see each other's models, whole or in part, and a model can tell"
            " of its data. Links are encrypted, so nobody else does."
        )
    if roster.draw_seed is not None:
        lines.append(
            "For trials: the draw seed is in the roster, so whoever wrote it could choose who"
            " meets whom."
        )
    return lines
