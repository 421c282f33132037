"""The drill of a consortium, as it ships: most members have trouble, and nobody steps in."""

import pytest

from p2pfl_simulations import run
from p2pfl_simulations.results.summary import summarise
from p2pfl_simulations.scenario import load_scenario


@pytest.mark.long
def test_whoever_can_be_reached_is_in_nearly_all_models_and_faults_cost_no_accuracy() -> None:
    """It can be in 15 that is away for five rounds, and in 18 that is set up late."""
    drill = load_scenario("consortium")
    result = run(drill)
    could = {3: 15, 6: 18}
    assert result.participation is not None
    for row in result.participation:
        assert row.heights == drill.rounds
        assert row.heights_in >= 0.9 * could.get(row.peer, drill.rounds)
    calm = run(load_scenario("consortium", {"faults": {}}))
    for which in ("own_mean", "common_mean"):
        drilled, undisturbed = (getattr(summarise(it), which) for it in (result, calm))
        assert drilled > undisturbed - 0.005
