"""What may be said of a run's protection: who sees what, and what the draw of cohorts may spoil."""

from p2pfl.group.settings import CohortSettings
from p2pfl_gossip.draw_risk import DrawRisk, draw_risk
from p2pfl_simulations.scenario import Scenario, masking_of

SEEN = {
    "real": "sums of cohorts, and no single model",
    "modelled": "every model: masks are modelled, for simulations only",
    "none": "the models of their partners, in the clear",
}


def seen(scenario: Scenario) -> str:
    """Say in a few words what others saw of a peer's model."""
    if scenario.averaging.algorithm == "none":
        return "nothing: every peer trained alone"
    if scenario.averaging.algorithm == "fedavg":
        return "nothing but the server, which saw all models in the clear"
    return SEEN[masking_of(scenario)]


def draw_of(scenario: Scenario) -> DrawRisk | None:
    """Work out what the draw of a scenario's masked cohorts leaves to chance."""
    averaging = scenario.averaging
    if not isinstance(averaging, CohortSettings) or not averaging.is_masked:
        return None
    return draw_risk(
        scenario.peers, averaging.cohort_size, scenario.rounds, averaging.assumed_liars
    )


def claim_sentence(scenario: Scenario) -> str:
    """Say against whom masked sums protect, and by what odds; empty where averaging is plain."""
    averaging, draw = scenario.averaging, draw_of(scenario)
    if draw is None or not isinstance(averaging, CohortSettings):
        return ""
    share = f"{100 * averaging.assumed_liars:g} %"
    is_modelled = averaging.masking == "modelled"
    who = (
        "Masks are modelled here; real ones would protect" if is_modelled else "Masked sums protect"
    )
    return (
        f"{who} {draw.claim}, if {share} of the peers lie or collude: a given peer's cohort has"
        f" more of them than the {draw.liars_borne} that it bears with a chance of"
        f" {chance(draw.peer_exceeded)} in some round, and of all {draw.cohorts:,} cohorts"
        f" {chance_count(draw.cohorts_exceeded)} do."
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
