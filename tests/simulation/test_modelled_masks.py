"""Modelled masks: the run that real ones give, without their cryptography, and never outside."""

from dataclasses import asdict
from typing import Any

import numpy as np

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


LOSSY: dict[str, Any] = {"faults": FAULTS, "seed": 2, "network": {"loss": 0.02}}


def test_models_and_figures_are_those_of_real_masks() -> None:
    """Without faults; what a session costs in time is modelled, see test_whole_sums.py."""
    real, modelled = simulate("real"), simulate("modelled")
    assert np.array_equal(real.require_model(), modelled.require_model())
    figures = [[(row.own_mean, row.own_worst) for row in it.rounds] for it in (real, modelled)]
    assert figures[0] == figures[1]
    assert real.masked_sums is not None
    assert modelled.masked_sums is not None
    assert real.masked_sums.summed == modelled.masked_sums.summed == 8
    assert not (modelled.masked_sums.left)
    assert not (modelled.masked_sums.aborted)
    assert modelled.counters["sums_whole"] == 8
    assert real.digest != modelled.digest  # What travels is not the same.


def test_events_and_bytes_are_those_of_real_masks_where_links_lose() -> None:
    """Then each message is said."""
    real, modelled = simulate("real", **LOSSY), simulate("modelled", **LOSSY)
    assert np.array_equal(real.require_model(), modelled.require_model())
    assert real.rounds == modelled.rounds
    assert real.peers == modelled.peers  # With the bytes that each has sent.
    assert real.events == modelled.events
    assert real.virtual_s == modelled.virtual_s
    assert real.masked_sums is not None
    assert real.masked_sums == modelled.masked_sums
    assert real.masked_sums.left or real.masked_sums.aborted
    assert real.digest != modelled.digest


def test_faults_strike_modelled_sums_too() -> None:
    """They need not fall at the same moment of a session as with real masks."""
    modelled = simulate("modelled", faults=FAULTS)
    assert modelled.counters["sums_one_by_one"] > 0
    assert modelled.masked_sums is not None
    assert modelled.masked_sums.summed > 0
    assert modelled.masked_sums.left or modelled.masked_sums.aborted
    assert simulate("modelled", faults=FAULTS).digest == modelled.digest


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
