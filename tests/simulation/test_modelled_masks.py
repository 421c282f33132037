"""Modelled masks: the run that real ones give, without their cryptography, and never outside."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from p2pfl_simulations import Run, make_scenario, run
from p2pfl_simulations.results.summary import summarise

FAULTS: dict[str, Any] = {
    "dropout": {"probability": 0.15, "offline_s": {"kind": "exponential", "mean_s": 0.4}},
    "crash": {"probability": 0.03, "restart_s": {"mean_s": 0.3}},
}


def simulate(masking: str, **settings: Any) -> Run:
    document = {
        "peers": 14,
        "rounds": 4,
        "learning": {"task": "digits", "training": {"steps": 2, "learning_rate": 0.2}},
        "averaging": {
            "algorithm": "cohorts",
            "cohort_size": 7,
            "masking": masking,
            "deadline_s": 0.5,
            "weights": "samples",
        },
        "evaluation": {"every": 2, "peers": 2, "baselines": []},
        **settings,
    }
    return run(make_scenario(document))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"faults": FAULTS},
        {"faults": FAULTS, "seed": 2, "network": {"loss": 0.02}},
    ],
    ids=["without faults", "with dropouts and crashes", "with loss"],
)
def test_models_events_and_bytes_are_those_of_real_masks(settings: dict[str, Any]) -> None:
    real, modelled = simulate("real", **settings), simulate("modelled", **settings)
    assert np.array_equal(real.require_model(), modelled.require_model())
    assert real.rounds == modelled.rounds
    assert real.peers == modelled.peers  # With the bytes that each has sent.
    assert real.events == modelled.events
    assert real.virtual_s == modelled.virtual_s
    assert real.masked_sums is not None
    assert real.masked_sums == modelled.masked_sums
    assert bool(settings) == bool(real.masked_sums.left or real.masked_sums.aborted)
    assert real.digest != modelled.digest  # What travels is not the same.


def test_a_modelled_run_is_named_in_its_figures() -> None:
    modelled = summarise(simulate("modelled", rounds=1))
    assert modelled.method == "modelled masked cohorts of 7"
    assert "for simulations only" in modelled.seen
    real = summarise(simulate("real", rounds=1))
    assert real.method == "masked cohorts of 7"
    assert real.seen == "sums of cohorts, and no single model"
    assert real.draw is not None
    # Two of 14 are assumed to lie, and each cohort of seven bears two.
    assert (real.draw.liars, real.draw.liars_borne) == (2, 2)
    assert asdict(real)["claim"] == real.draw.claim == "against malicious members"
    plain = summarise(simulate("none", rounds=1))
    assert (plain.masked_sums, plain.draw, plain.claim) == (None, None, None)
    assert plain.seen == "the models of their partners, in the clear"
