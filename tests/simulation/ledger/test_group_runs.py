"""Groups in whole simulated runs: the same bits with modelled masks, tables, the record."""

from pathlib import Path
from typing import Any

import numpy as np

from p2pfl_gossip.ledger.record import read_record
from p2pfl_simulations import Run, make_scenario, run
from p2pfl_simulations.report.run_report import render_report
from p2pfl_simulations.results.folder import LEDGER, read_run, write_run
from p2pfl_simulations.results.summary import summarise

FAULTS: dict[str, Any] = {
    "dropout": {"probability": 0.15, "offline_s": {"kind": "exponential", "mean_s": 0.4}},
    "crash": {"probability": 0.05, "restart_s": {"mean_s": 0.3}},
}


def simulate(masking: str = "real", **settings: Any) -> Run:
    document = {
        "peers": 6,
        "rounds": 3,
        "learning": {"task": "digits", "training": {"steps": 2, "learning_rate": 0.2}},
        "averaging": {"masking": masking, "deadline_s": 1.0, "weights": "samples"},
        "evaluation": {"every": 1, "peers": 2, "baselines": []},
        **settings,
    }
    return run(make_scenario(document), is_checked=True)


def test_modelled_masks_give_the_models_and_events_of_real_ones() -> None:
    real, modelled = simulate(), simulate("modelled")
    assert real.scenario.averaging.algorithm == "group"  # Nobody named one.
    assert np.array_equal(real.require_model(), modelled.require_model())
    told = [sorted((row.kind, row.peer, row.round) for row in it.events) for it in (real, modelled)]
    assert told[0] == told[1]
    assert real.participation == modelled.participation
    assert real.digest != modelled.digest


def test_modelled_groups_come_to_the_end_under_faults() -> None:
    """What they hold is in order; test_whole_sums.py looks at single faults."""
    modelled = simulate("modelled", faults=FAULTS, seed=2)
    assert modelled.ledger is not None
    assert read_record(modelled.ledger).head.entry.height == 3


def test_a_run_tells_who_took_part_and_leaves_a_record_that_can_be_checked(tmp_path: Path) -> None:
    result = simulate(compute={"step_s": 0.1})
    rows = result.participation
    assert rows is not None
    assert [row.share for row in rows] == [1.0] * 6
    assert [row.weight for row in rows] == [float(count) for count in result.sample_counts]
    folder = write_run(result, tmp_path / "run", page=render_report(result))
    history = read_record((folder / LEDGER).read_bytes())
    assert history.head.entry.height == 3
    again = read_run(folder)
    assert again.participation == rows
    assert again.ledger == result.ledger
    summary = summarise(again)
    assert (summary.method, summary.claim) == ("group of 6", "against malicious members")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Who took part" in page
    assert "3 of 3" in page


def test_a_member_that_is_away_for_long_is_named() -> None:
    away = {"partitions": [{"start_s": 0.0, "duration_s": 1e4, "shares": [1, 5]}]}
    result = simulate(rounds=6, faults=away, time_limit_s=200.0)
    assert result.participation is not None
    absent = [row for row in result.participation if not row.heights_in]
    assert len(absent) == 1
    assert absent[0].last_height == 0
    assert f"In none of the last 5 models: {absent[0].name}." in render_report(result)
