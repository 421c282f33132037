"""The plan of a private scenario: made before anything runs, and what a run did of it."""

from collections.abc import Callable, Sequence

from p2pfl.group.privacy_settings import plan_for, privacy_of
from p2pfl.learner.learner import Learner
from p2pfl.privacy.claims import in_words
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.planner import Plan
from p2pfl_gossip.ledger.privacy import Privacy
from p2pfl_simulations.results.privacy import ClaimRow, PrivacyRow
from p2pfl_simulations.scenario import Scenario, ScenarioError


def plan_of(
    scenario: Scenario,
    learner: Learner,
    peers: Sequence[int] | None = None,
    rounds: int | None = None,
) -> Plan | None:
    """Work out the plan of a scenario; None if it asks for no privacy.

    Args:
        scenario: of a group.
        learner: knows its rows.
        peers: the members, by index; the founders if not given.
        rounds: models that are to come; all of the scenario's if not given.

    Raises:
        ScenarioError: no plan fits; the message names the figure and a remedy.
        LearningError: the task's model cannot be trained in lots.
    """
    settings = scenario.privacy
    if settings is None:
        return None
    if settings.unit == "record":
        learner.lots.require(scenario.peers, float(settings.lot_rate))
    dropout = scenario.faults.dropout
    members = scenario.founders if peers is None else peers
    try:
        return plan_for(
            settings,
            members=len(members),
            rows=sum(learner.lots.units(peer).count for peer in members),
            rounds=scenario.rounds if rounds is None else rounds,
            entries=learner.vector_length,
            drops=dropout.probability if dropout else 0.0,
        )
    except PrivacyError as error:
        raise ScenarioError(f"privacy: {error}") from None


def privacy_for(
    scenario: Scenario, learner: Learner
) -> Callable[[Sequence[int], int], Privacy | None]:
    """Return what says to a charter how its sums are private: by its members and rounds to come."""

    def plan(peers: Sequence[int], rounds: int) -> Privacy | None:
        found = plan_of(scenario, learner, peers, rounds)
        return (
            None
            if found is None or scenario.privacy is None
            else privacy_of(scenario.privacy, found)
        )

    return plan


def row_of(plan: Plan, learner: Learner, spent: int, *, is_seeded: bool = True) -> PrivacyRow:
    """Write down a plan for a run's results, with what was spent of it.

    Args:
        plan: the plan.
        learner: knows what a unit is.
        spent: vectors that a member gave, of all members the most.
        is_seeded: as in `PrivacyRow`.
    """
    mechanism, question = plan.mechanism, plan.question
    unit = "member" if question.rows is None else "person" if learner.lots.is_by_unit else "row"
    claim = next(claim for claim in plan.claims if claim.is_the_claim)
    assert question.delta is not None
    return PrivacyRow(
        unit=unit,
        trust=mechanism.trust.value,
        epsilon=plan.epsilon,
        renyi_epsilon=plan.renyi_epsilon,
        delta=question.delta,
        rounds=plan.rounds,
        spent=spent,
        members=mechanism.members,
        least=mechanism.least,
        colluding=mechanism.colluding,
        noise=mechanism.noise,
        share=mechanism.share,
        rate=mechanism.releases(1).rate,
        units=question.rows or mechanism.members,
        refused=plan.refused,
        replaced=plan.kin.replaced,
        with_two_rows=plan.kin.with_two_rows,
        noise_to_signal=plan.noise_to_signal,
        claims=[
            ClaimRow(
                it.adversary,
                it.is_the_claim,
                it.shares,
                it.epsilon if it.epsilon < float("inf") else None,
                it.found,
            )
            for it in plan.claims
        ],
        words=in_words(claim, unit),
        training=learner.lots.summer.told if unit != "member" else "any",
        is_seeded=is_seeded,
    )
