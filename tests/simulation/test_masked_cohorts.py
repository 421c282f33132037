# mypy: disable-error-code="arg-type"
"""Masked cohorts in the simulated world: the same means as plain ones, and no model in the open."""

import gc
from typing import Any

import numpy as np
import pytest
from sampled import sampled

from p2pfl.learner.learner import make_learner
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.masked_sum.machine import MaskedSum
from p2pfl_simulations import Run, ScenarioError, make_scenario, run
from p2pfl_simulations.progress import RunProgress
from p2pfl_simulations.simulation import Simulation
from p2pfl_simulations.trace import Body

CLIP = 4.0


def scenario(**averaging: Any) -> dict[str, Any]:
    return {
        "peers": 12,
        "rounds": 3,
        "learning": {"task": "digits", "training": {"steps": 2, "learning_rate": 0.2}},
        "averaging": {
            "algorithm": "cohorts",
            "cohort_size": 6,
            "deadline_s": 0.5,
            "clip": CLIP,
            **averaging,
        },
        "evaluation": {"every": 3, "peers": 2, "baselines": []},
    }


def simulate(**settings: Any) -> Run:
    return run(make_scenario({**scenario(), **settings}))  # Masked by default.


def test_masked_cohorts_end_with_the_means_of_plain_ones() -> None:
    masked, plain = simulate(), run(make_scenario(scenario(masking="none")))
    assert [row.incomplete for row in masked.rounds] == [0, 0, 0]
    assert not [event for event in masked.events if event.kind.startswith("m")]
    # The mean's error of each round is at most 1.5 n C / sum(q_w), with q_w = Q = (2^31 - 1) / n
    # each; training in between may stretch what went before, here by less than 2 a round.
    bound = 1.5 * 6 * CLIP / (2**31 - 1)
    assert np.abs(masked.require_model() - plain.require_model()).max() <= bound * (1 + 2 + 4)


def test_weights_are_private_and_count() -> None:
    skewed = {"kind": "quantity", "alpha": 0.5, "minimum_rows": 4}
    learning = {**scenario()["learning"], "partition": skewed}
    weights = {"weights": "samples", "weight_max": 2000.0}
    masked = run(make_scenario({**scenario(masking="real", **weights), "learning": learning}))
    plain = run(make_scenario({**scenario(masking="none", **weights), "learning": learning}))
    alike = run(make_scenario({**scenario(masking="none"), "learning": learning}))
    assert np.abs(masked.require_model() - plain.require_model()).max() < 1e-4
    assert np.abs(masked.require_model() - alike.require_model()).max() > 1e-3


def test_no_trained_model_travels_in_the_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for eight entries in a row of any trained model in all bodies that travel."""

    def leaks(masking: str) -> int:
        settings = make_scenario(scenario(masking=masking))
        learner = make_learner(settings.learning, peer_count=12, seed=1, folder=None)
        trained: list[bytes] = []
        bodies: list[bytes] = []
        work, content = learner.run, Body.content

        def spy_on_work(jobs: Any) -> Any:
            results = work(jobs)
            for (_, job), result in zip(jobs, results, strict=True):
                if isinstance(job, Train) and isinstance(result, Trained):
                    trained.append(result.vector.tobytes())
            return results

        def spy_on_link(body: Body) -> Any:
            parts, digest = content(body)
            bodies.extend(bytes(memoryview(part).cast("B")) for part in parts)
            return parts, digest

        monkeypatch.setattr(learner, "run", spy_on_work)
        monkeypatch.setattr(Body, "content", spy_on_link)
        Simulation(settings, learner, lambda _: None).run()
        monkeypatch.undo()
        assert len(trained) == 36
        assert len(bodies) > 100
        samples = {model[at : at + 32] for model in trained for at in range(0, len(model), 4096)}
        # A chunk of nothing but zeros (of pixels that are always dark) tells nothing.
        samples = {sample for sample in samples if sample.count(0) < 8}
        return sum(any(sample in body for body in bodies) for sample in samples)

    assert leaks("none") > 10  # The search finds what is there to be found.
    assert leaks("real") == 0


def test_a_sum_is_forgotten_once_all_its_members_are_past_it() -> None:
    """An ended session holds the bodies of its chunks and sums: three vectors of memory."""
    settings = make_scenario({**scenario(masking="real"), "peers": 6, "rounds": 5})
    learner = make_learner(settings.learning, peer_count=6, seed=1, folder=None)
    held: list[int] = []

    def sessions() -> list[object]:
        return [it for it in gc.get_objects() if issubclass(type(it), MaskedSum)]

    gc.collect()
    of_other_tests = sessions()

    def count(_: RunProgress) -> None:
        held.append(len(sessions()) - len(of_other_tests))

    Simulation(settings, learner, count).run()
    assert held == [6] * 5, "that of the round, of each of six peers"


def test_dropouts_cost_a_round_and_never_a_stall() -> None:
    dropout = {"probability": 0.15, "offline_s": {"kind": "exponential", "mean_s": 0.4}}
    result = simulate(rounds=6, faults={"dropout": dropout}, time_limit_s=300.0)
    assert not result.interrupted
    assert len(result.rounds) == 6
    finished = [event.peer for event in result.events if event.kind == "finished"]
    assert len(finished) >= 8
    aborted = [event for event in result.events if event.kind == "masked_sum_aborted"]
    assert aborted, "the faults of this seed abort no session: choose another"
    assert not [event for event in result.events if event.kind == "member_blamed"]
    assert not [event for event in result.events if event.kind == "protocol_error"]


def test_late_members_do_not_make_all_cohorts_late() -> None:
    """Who was away while its cohort summed hears that it is late, and does not wait alone.

    Where it waited for all leaders' turns, it was as late for its next cohort, whose members were
    late for theirs: after ten rounds, most sums came to nothing.
    """
    dropout = {"probability": 0.08, "offline_s": {"kind": "uniform", "low_s": 0.5, "high_s": 4.0}}
    averaging = {**scenario(masking="modelled", deadline_s=3.0)["averaging"]}
    result = simulate(
        peers=24,
        rounds=10,
        averaging=averaging,
        compute={"step_s": 0.3, "speed_spread": 2.0},
        faults={"dropout": dropout},
    )
    sums = result.masked_sums
    assert sums is not None
    assert sums.formed == sums.summed + sum(sums.aborted.values()) == 40
    assert sums.recovered > 5
    assert sums.summed >= 30
    assert [row.cohorts_summed + row.cohorts_aborted for row in result.rounds] == [4] * 10
    assert sum(row.cohorts_recovered for row in result.rounds) == sums.recovered


def test_what_is_cut_to_size_is_counted() -> None:
    skewed = {"kind": "quantity", "alpha": 0.5, "minimum_rows": 4}
    # The start is within the clip, or it would be refused; what such steps make of it is not.
    training = {"steps": 2, "learning_rate": 1.0}
    learning = {**scenario()["learning"], "partition": skewed, "training": training}
    averaging = scenario(masking="modelled", weights="samples", weight_max=50.0, clip=0.18)
    result = simulate(rounds=1, learning=learning, averaging=averaging["averaging"])
    assert result.masked_sums is not None
    assert result.masked_sums.weights_capped == sum(rows > 50 for rows in result.sample_counts)
    assert result.masked_sums.clipped_entries > 100


def test_crashed_members_are_silent_in_their_old_sessions() -> None:
    crash = {"probability": 0.1, "restart_s": {"mean_s": 0.2}}
    result = simulate(rounds=5, faults={"crash": crash}, time_limit_s=300.0)
    assert not result.interrupted
    assert [event for event in result.events if event.kind == "offline"]
    assert not [event for event in result.events if event.kind == "member_blamed"]


@pytest.mark.parametrize("ahead", sampled([3, 4, 5], every=3))
def test_two_parts_of_a_cohort_that_are_a_round_apart_find_together(ahead: int) -> None:
    """Neither part is large enough for a sum, and all lose their rounds at the same pace."""
    settings = make_scenario(
        {
            **scenario(masking="real"),
            "peers": 8,
            "rounds": 8,
            "learning": {"task": "integers", "training": {"steps": 1}},
            "averaging": {**scenario(masking="real")["averaging"], "cohort_size": 8, "clip": 65536},
            "time_limit_s": 300.0,
        }
    )
    learner = make_learner(settings.learning, peer_count=8, seed=1, folder=None)
    simulation = Simulation(settings, learner, lambda _: None)
    for host in simulation.world.hosts[:ahead]:
        host.records = {
            "round": (1).to_bytes(8, "little"),
            "model": learner.initial_vector(),
            "is_trained": b"\0",
        }
    simulation.run()
    aborted = {it.round for it in simulation.result().events if it.kind == "masked_sum_aborted"}
    assert aborted, "the parts are large enough for a sum of their own"
    assert max(aborted) <= 3


def test_a_masked_run_repeats_bit_for_bit() -> None:
    first, second = simulate(), simulate()
    assert first.digest == second.digest
    assert first.digest != simulate(seed=2).digest


@pytest.mark.parametrize(
    ("averaging", "message"),
    [
        ({"cohort_size": 4}, "masking hides nothing in a cohort of 4"),
        ({"masking": "modelled", "cohort_size": 4}, "masking hides nothing in a cohort of 4"),
        ({"grid": True}, "set grid to false, or masking to 'none'"),
    ],
)
def test_what_would_not_hide_is_refused(averaging: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        make_scenario(scenario(**averaging))
