"""What a group's way of averaging protects, and what may be claimed of it, in sentences.

The claims and their limits are those of docs/threats.md.
"""

from p2pfl.group.agreed import Agreed
from p2pfl.group.cohort_sizes import with_cohort_size
from p2pfl.group.settings import MEMBERS_MAX, AveragingSettings, CohortSettings, GroupSettings
from p2pfl_gossip.draw_risk import DrawRisk, draw_risk
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MIN, liars_max_of, threshold_of


def describe_protection(agreed: Agreed) -> list[str]:
    """Say who may see what, and what is not claimed."""
    lines = []
    averaging = with_cohort_size(agreed.averaging, len(agreed.members), agreed.rounds)
    if agreed.keeps_ledger and agreed.hides_models:
        lines += _of_group(agreed)
    elif isinstance(averaging, CohortSettings) and agreed.hides_models:
        n = int(averaging.cohort_size)
        threshold, liars = threshold_of(n), liars_max_of(n)
        lines.append(
            f"Masked: of a cohort of {n}, up to {liars} members that conspire learn no more of a"
            f" round than the sum of {threshold - liars} others' models or more."
        )
        claimed = claim_sentence(averaging, len(agreed.members), agreed.rounds)
        lines.append(f"{claimed} Many rounds leak (docs/threats.md).".lstrip())
        lines.append(bound_sentence(is_audited=False))
        if averaging.weights == "samples":
            lines.append(
                "Not hidden: how many rows each member has. Sums open the total of their members'"
                ' weights, and many of those give each; weights = "equal" tells nothing.'
            )
    else:
        lines.append(
            "Not masked: members see each other's models, whole or in part, and a model can tell"
            " of its data. Links are encrypted, so nobody else does."
        )
    return lines


def _of_group(agreed: Agreed) -> list[str]:
    """Say what a group claims, and what it does not."""
    n = len(agreed.members)
    threshold, liars = threshold_of(n), liars_max_of(n)
    lines = [
        (
            f"Masked: up to {liars} of the {n} members that conspire learn no more of a round than"
            f" the sum of {threshold - liars} others' updates or more. Many rounds leak"
            " (docs/threats.md)."
        ),
        f"Certified: a model counts with {threshold} members' signatures, and with nobody's word.",
        bound_sentence(is_audited=agreed.is_audited),
    ]
    if agreed.averaging.weights == "samples":
        lines.append(
            "Not hidden: how many rows each member has. The group's charter says so;"
            ' weights = "equal" tells nothing.'
        )
    return lines


def bound_sentence(*, is_audited: bool) -> str:
    """Say what bounds the part of a member that lies in a masked sum."""
    if is_audited:
        return (
            "A sum counts once all in it have proved that their updates are no longer than the"
            " clip; that bounds how far a lie moves the model, not where to."
        )
    return "Nothing bounds what a member puts in: one that lies sets the model (docs/liars.md)."


def draw_of(averaging: AveragingSettings, peers: int, rounds: int) -> DrawRisk | None:
    """Work out what the draw of masked cohorts leaves to chance; None where there are none."""
    if not isinstance(averaging, CohortSettings) or not averaging.is_masked:
        return None
    size = with_cohort_size(averaging, peers, rounds).cohort_size
    if size == "auto" or peers < size:
        return None  # Too few to draw from.
    return draw_risk(peers, size, rounds, averaging.assumed_liars)


def claim_sentence(averaging: AveragingSettings, peers: int, rounds: int) -> str:
    """Say against whom masked sums protect, and by what odds; empty where there are none."""
    if isinstance(averaging, GroupSettings):
        return _claim_of_group(averaging, peers)
    draw = draw_of(averaging, peers, rounds)
    if draw is None or not isinstance(averaging, CohortSettings):
        return ""
    why = f"{peers:,} peers are too many for one group. " if peers > MEMBERS_MAX else ""
    share = f"{100 * averaging.assumed_liars:g} %"
    is_modelled = averaging.masking == "modelled"
    who = (
        "Masks are modelled here; real ones would protect" if is_modelled else "Masked sums protect"
    )
    return (
        f"{why}{who} {draw.claim}, if {share} of the peers lie or collude: a given peer's cohort"
        f" has more of them than the {draw.liars_borne} that it bears with a chance of"
        f" {chance(draw.peer_exceeded)} in some round, and of all {draw.cohorts:,} cohorts"
        f" {chance_count(draw.cohorts_exceeded)} do."
    )


def _claim_of_group(settings: GroupSettings, members: int) -> str:
    if members < COHORT_SIZE_MIN:
        return ""  # Too few for a group.
    liars, others = liars_max_of(members), threshold_of(members) - liars_max_of(members)
    is_modelled = settings.masking == "modelled"
    who = "Masks are modelled here; with real ones, up" if is_modelled else "Up"
    return (
        f"{who} to {liars} of the {members} members that lie or collude learn no more of a round"
        f" than one sum of {others} others' updates or more, and every model is certified by"
        f" {threshold_of(members)} members. That is claimed of one round: many rounds can be"
        " compared."
    )


def chance(probability: float) -> str:
    """Write a probability: 92 %, 0.9 %, 3e-08."""
    if probability == 0 or probability >= 1e-4:
        return f"{100 * probability:.2g} %" if probability < 0.995 else "over 99 %"
    return f"{probability:.0e}"


def chance_count(expected: float) -> str:
    """Write an expected number: 468, 0.97, 3e-08."""
    if expected >= 100:
        return f"about {expected:,.0f}"
    return f"about {expected:.2g}" if expected else "none"
