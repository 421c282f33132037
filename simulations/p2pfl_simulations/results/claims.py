"""What may be said of a run's protection: who sees what, and what the draw of cohorts may spoil."""

from p2pfl.group import protection
from p2pfl.group.settings import RobustSettings
from p2pfl_gossip.draw_risk import DrawRisk
from p2pfl_simulations.scenario import Scenario, masking_of

SEEN = {
    "real": "sums of cohorts, and no single model",
    "modelled": "every model: masks are modelled, for simulations only",
    "none": "the models of their partners, in the clear",
}


def robust_of(scenario: Scenario) -> RobustSettings | None:
    """Return the rule that takes the mean's place, if any does."""
    found = getattr(scenario.averaging, "robust", None)
    return found if isinstance(found, RobustSettings) else None


def robust_name(robust: RobustSettings) -> str:
    """Name a rule, with what is done before it."""
    return robust.rule if robust.first == "none" else f"{robust.first} + {robust.rule}"


def seen(scenario: Scenario) -> str:
    """Say in a few words what others saw of a peer's model."""
    if scenario.averaging.algorithm == "group" and masking_of(scenario) == "real":
        return "one sum of all updates a round, and no single update"
    if scenario.averaging.algorithm == "none":
        return "nothing: every peer trained alone"
    if scenario.averaging.algorithm == "fedavg":
        return "nothing but the server, which saw all models in the clear"
    return SEEN[masking_of(scenario)]


def draw_of(scenario: Scenario) -> DrawRisk | None:
    """Work out what the draw of a scenario's masked cohorts leaves to chance."""
    return protection.draw_of(scenario.averaging, scenario.peers, scenario.rounds)


def claim_sentence(scenario: Scenario) -> str:
    """Say against whom masked sums protect, by what odds, and what bounds a lie in them.

    Empty where averaging is plain.
    """
    claim = protection.claim_sentence(scenario.averaging, scenario.peers, scenario.rounds)
    if masking_of(scenario) == "none":
        return claim
    return f"{claim} {protection.bound_sentence(is_audited=scenario.is_audited)}".lstrip()
