"""Reports: one file that needs nothing else, whose labels can be read."""

import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from example_runs import RunMaker
from rich.console import Console

from p2pfl.group.settings import CohortSettings
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.commands.screens import show_result
from p2pfl_simulations.report import render_comparison, render_report
from p2pfl_simulations.report.graph import cohorts_of, exchange_picture
from p2pfl_simulations.report.heatmap import columns_of
from p2pfl_simulations.report.svg import text_width
from p2pfl_simulations.report.timeline import Absence, absences, online_over_time, partitions
from p2pfl_simulations.results.cautions import FALL_MIN, REASON_CHARACTERS_MAX, RISE_MIN, cautions
from p2pfl_simulations.results.run import PROCESSES, EventRow, LossRow, MeanGain, RunResult
from p2pfl_simulations.results.selecting import Selected
from p2pfl_simulations.results.summary import summarise

SIZES = {"title": 12.5, "label": 12.5, "small": 10.5}


def drawings(page: str) -> Iterator[ElementTree.Element]:
    """Parse every drawing of a page: each is well-formed XML by itself."""
    for drawing in re.findall(r"<svg .*?</svg>", page, re.DOTALL):
        yield ElementTree.fromstring(drawing)


def text_boxes(drawing: ElementTree.Element) -> Iterator[tuple[str, float, float, float, float]]:
    """Return what is always shown in a drawing: text, left, right, top, bottom."""
    hidden = {id(child) for spot in drawing.iter("g") for child in spot.iter()}
    for element in drawing.iter("text"):
        if id(element) in hidden:
            continue
        content = "".join(element.itertext())
        classes = str(element.get("class")).split()
        size = next((SIZES[name] for name in classes if name in SIZES), 12)
        x, y = float(str(element.get("x"))), float(str(element.get("y")))
        width = text_width(content, size)
        left = x - width if "end" in classes else x - width / 2 if "mid" in classes else x
        # A line of text is taken as high as its small letters: lines may stand close.
        yield content, left, left + width, y - 0.62 * size, y


def assert_readable(page: str) -> None:
    """No two texts of a drawing overlap, and none leaves it."""
    for drawing in drawings(page):
        _, _, width, height = map(float, str(drawing.get("viewBox")).split())
        boxes = list(text_boxes(drawing))
        for content, left, right, top, bottom in boxes:
            assert left >= -14, content
            assert right <= width + 14, content
            assert top >= -4, content
            assert bottom <= height + 4, content
        for (one, l1, r1, t1, b1), (two, l2, r2, t2, b2) in combinations(boxes, 2):
            assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1, (
                one,
                two,
                drawing.get("aria-label"),
            )


@pytest.mark.parametrize(
    ("peers", "rounds", "cohort_size"),
    [(2, 1, 2), (4, 2, 2), (8, 3, 4), (33, 30, 8), (100, 60, 8), (300, 150, 16)],
)
@pytest.mark.parametrize("faults", [True, False])
def test_labels_never_overlap(
    make_run: RunMaker, peers: int, rounds: int, cohort_size: int, faults: bool
) -> None:
    for seed in range(3 if peers < 100 else 1):
        assert_readable(
            render_report(
                make_run(
                    peers=peers, rounds=rounds, cohort_size=cohort_size, seed=seed, faults=faults
                )
            )
        )


def test_peers_of_one_accuracy_that_was_taken_once_can_be_drawn(make_run: RunMaker) -> None:
    """Their mean is off by a rounding error, and so is no second value."""
    run = make_run(peers=6, rounds=1, cohort_size=6, faults=False)
    (row,) = run.rounds
    value = 0.05234115459651734
    row.own_mean = row.common_averaged = math.nextafter(value, 1)
    row.own_worst = row.own_local_mean = row.own_local_worst = row.own_pooled_mean = value
    for peer in run.peers:
        peer.own = {"accuracy": value}
    assert_readable(render_report(run))


def test_labels_never_overlap_where_all_lines_end_together(make_run: RunMaker) -> None:
    run = make_run(rounds=5)
    for row in run.rounds:
        row.own_mean = row.own_worst = row.common_averaged = 0.9
        row.own_local_mean = row.own_local_worst = row.own_pooled_mean = 0.9
        row.consensus_distance = 0.0
    assert_readable(render_report(run))
    for row in run.rounds:
        row.own_mean = row.own_worst = row.common_averaged = 1e-9
    assert_readable(render_report(run))


def test_a_report_needs_nothing_else(make_run: RunMaker) -> None:
    for page in (
        render_report(make_run()),
        render_comparison({"a": make_run(), "b": make_run(seed=4)}),
    ):
        assert len(list(drawings(page))) >= 5
        for outside in ("<script", "http:", "https:", "src=", "url(", "@import", "<link"):
            assert outside not in page


def test_every_figure_is_there(make_run: RunMaker) -> None:
    page = render_report(make_run(peers=16))
    for heading in (
        "Accuracy over rounds",
        "Accuracy over bytes",
        "Agreement",
        "Peers online",
        "Rounds lost",
        "Fault timeline",
        "Cohorts of the last round",
        "Every peer at the end",
        "Whose data is whose",
        "What plain averaging protects",
        "Settings",
        "Run it again",
    ):
        assert f">{heading}" in page
    assert "Gossip mean" in page
    assert "Local only worst" in page
    assert "5f3a" * 16 in page


def test_a_quiet_run_says_so_and_leaves_out_what_there_is_not(make_run: RunMaker) -> None:
    run = make_run(faults=False)
    run.label_counts, run.neighbours = None, []
    page = render_report(run)
    assert "No peer went offline and no round was lost" in page
    for absent in (
        "Fault timeline",
        "Peers online",
        "Rounds lost</h3>",
        "Whose data",
        "Cohorts of",
    ):
        assert absent not in page


def test_nothing_measured_at_all(make_run: RunMaker) -> None:
    run = make_run(rounds=2)
    run.rounds, run.peers, run.events, run.virtual_s = [], [], [], 0.0
    run.interrupted = True
    page = render_report(run)
    assert "no figure was measured" in page
    assert "Ended early, after 0 of 2 rounds." in page


def test_text_of_the_user_is_escaped(make_run: RunMaker) -> None:
    run = make_run(name="<b>&", description="<script>alert(1)</script>")
    page = render_report(run)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<script" not in render_comparison({"<script>": run, "b": make_run()})


def test_failed_training_names_the_peers(make_run: RunMaker) -> None:
    run = make_run()
    run.rounds[3].failed = 1
    run.events.append(EventRow(9.0, "training_failed", 7, 3, "loss is not finite"))
    run.events.append(EventRow(9.5, "evaluation_failed", 5, 3, "no class 2"))
    page = render_report(run)
    assert (
        "Training gave no usable model 1 time (peer 7), and the rounds went on without these"
        " updates. First: loss is not finite."
    ) in page
    assert "A model could not be measured 1 time (peer 5)" in page


def test_a_reason_is_told_whole_up_to_its_limit_and_cut_beyond(make_run: RunMaker) -> None:
    whole = ("ab " * REASON_CHARACTERS_MAX)[: REASON_CHARACTERS_MAX - 1] + "c"
    for reason, told in ((whole, whole), (whole + "c", whole.rsplit(" ", 2)[0] + " ...")):
        run = make_run(faults=False)
        run.events = [EventRow(9.0, "training_failed", 7, 3, reason)]
        (sentence,) = cautions(run, summarise(run))
        assert sentence.endswith(f" First: {told}.")


def test_peers_whose_rows_do_not_tell_the_figure_are_named(make_run: RunMaker) -> None:
    """Such as a hospital where all are healthy, by the area under the ROC curve."""
    run = make_run(faults=False)

    def told() -> list[str]:
        return [it for it in cautions(run, summarise(run)) if "is not defined on" in it]

    assert not told()
    for row, joint in zip(run.gains[:2], (None, math.nan), strict=True):
        row.joint, row.gain, row.gain_low, row.gain_high = joint, None, None, None
    (sentence,) = told()
    assert f"own test rows of {run.gains[0].name}, {run.gains[1].name}, such as" in sentence
    run.events = [EventRow(9.0, "evaluation_failed", run.gains[0].peer, 3, "no")]
    (sentence,) = told()
    assert f"own test rows of {run.gains[1].name}, such as" in sentence
    for row in run.gains:
        row.joint = None
    run.events = []
    assert not told()


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ([0.5] * 8 + [0.5 + RISE_MIN] * 2, "accuracy +2.0 points over the last 2 rounds"),
        ([0.5] * 8 + [0.499 + RISE_MIN] * 2, ""),
        ([0.5] * 6 + [0.6, 0.6, 0.5, 0.5], ""),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], ""),  # Too few to tell.
    ],
)
def test_a_run_that_ended_while_models_got_better_says_so(
    make_run: RunMaker, figures: list[float], told: str
) -> None:
    run = make_run(faults=False, rounds=len(figures))
    run.rounds = [
        replace(row, own_mean=figure) for row, figure in zip(run.rounds, figures, strict=True)
    ]
    assert not [it for it in cautions(run, summarise(run)) if "still getting better" in it]
    run.mean_gain = None  # With a clear gain more rounds matter less.
    found = [it for it in cautions(run, summarise(run)) if "still getting better" in it]
    assert bool(found) == bool(told)
    assert all(told in it for it in found)
    assert len(found) <= 1
    run.interrupted = True
    assert not [it for it in cautions(run, summarise(run)) if "still getting better" in it]


@pytest.mark.parametrize(
    ("local", "told"),
    [
        ([0.5, 0.5, 0.7, 0.7, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5], "local only (accuracy 70.0 %, then"),
        ([0.5] * 4 + [0.499 + FALL_MIN] * 2 + [0.5] * 4, ""),
        ([0.7, 0.7, 0.5, 0.5], ""),  # Too few to tell.
    ],
)
def test_a_run_that_ended_when_models_had_been_better_says_which(
    make_run: RunMaker, local: list[float], told: str
) -> None:
    run = make_run(faults=False, rounds=len(local))
    run.rounds = [
        replace(row, own_mean=0.5, own_pooled_mean=0.5, own_local_mean=figure)
        for row, figure in zip(run.rounds, local, strict=True)
    ]
    found = [it for it in cautions(run, summarise(run)) if it.startswith("Better before")]
    assert bool(found) == bool(told)
    assert all(told in it and "joint" not in it and "pooled" not in it for it in found)
    # Where rows are held out to choose by, the best model counts as it is.
    run.selected = Selected(0, 0.5, 16)
    assert not [it for it in cautions(run, summarise(run)) if it.startswith("Better before")]


def test_a_run_in_which_no_peer_draws_what_it_trains_on_warns_of_it(make_run: RunMaker) -> None:
    run = make_run(faults=False)
    most = max(run.sample_counts)
    for masking, batch_size, told in (
        ("real", most, True),
        ("real", most - 1, False),
        ("none", most, False),
    ):
        training = run.scenario.learning.training.model_copy(update={"batch_size": batch_size})
        learning = run.scenario.learning.model_copy(update={"training": training})
        averaging = CohortSettings(masking=masking, cohort_size=5)  # type: ignore[arg-type]
        run.scenario = run.scenario.model_copy(
            update={"learning": learning, "averaging": averaging}
        )
        found = [it for it in cautions(run, summarise(run)) if "took all of its rows" in it]
        assert bool(found) is told


def test_models_that_are_the_one_before_are_told_and_who_rests_for_it(make_run: RunMaker) -> None:
    run = make_run(faults=False, rounds=4)
    assert not [it for it in cautions(run, summarise(run)) if "the one before" in it]
    run.idle_models = 3
    run.events += [EventRow(9.0, "updates_spent", peer, 3, "") for peer in (4, 4, 2)]
    (told,) = [it for it in cautions(run, summarise(run)) if "the one before" in it]
    assert told.startswith("3 models of 4 are the one before: each part of the sum was out of")
    assert "2 peers gave as many updates from one model as they may" in told
    assert summarise(run).idle_models == 3


def test_the_page_says_what_was_lost_and_why_it_ended_as_the_screen_does(
    make_run: RunMaker,
) -> None:
    run = make_run(rounds=2)
    run.interrupted, run.failure = True, "task 'm:T': KeyError: 'x' (m.py, line 7)"
    run.losses = [
        LossRow("values_clipped", "fc.weight", 3, 17, 41.5, 8.0),
        LossRow("weight_capped", "", 1, 2, 0.0, 100.0),
    ]
    shown = io.StringIO()
    show_result(Console(file=shown, width=300), run, Path("here"))
    told = cautions(run, summarise(run))
    assert told == [
        "Ended early, after 2 of 2 rounds: task 'm:T': KeyError: 'x' (m.py, line 7)",
        (
            "Values of fc.weight were cut to the clip at 3 peers, 17 times, up to 41.5 where 8"
            " counts: raise averaging.clip, or keep such tensors local."
        ),
        (
            "Rows beyond averaging.weight_max did not count at 1 peer, 2 times: raise"
            " averaging.weight_max if they are to count in full."
        ),
    ]
    for sentence in told:
        assert f'<p class="warning">{escape(sentence)}</p>' in render_report(run)
        assert sentence in shown.getvalue()


@pytest.mark.parametrize(
    ("averaging", "said"),
    [
        (
            {"algorithm": "cohorts", "cohort_size": 4, "masking": "none"},
            "No masking: partners see your model",
        ),
        (
            {"algorithm": "cohorts", "cohort_size": 8, "masking": "modelled"},
            "It is for simulations only",
        ),
        (
            {"algorithm": "cohorts", "cohort_size": 8, "masking": "real"},
            "The members of a cohort learn the weighted mean of their models and no single one",
        ),
        ({"algorithm": "dsgd"}, "No masking: every partner sees your model in the clear."),
        ({"algorithm": "epidemic"}, "No masking: every partner sees your model in the clear."),
        ({"algorithm": "fedavg"}, "No masking: the server sees the model of every peer"),
        ({"algorithm": "none"}, "Nothing travels"),
    ],
)
def test_what_is_not_protected_is_said(
    make_run: RunMaker, averaging: dict[str, object], said: str
) -> None:
    assert said in render_report(make_run(averaging=averaging))


def test_many_peers_and_many_rounds_stay_small(make_run: RunMaker) -> None:
    run = make_run(peers=100, rounds=300, cohort_size=8)
    page = render_report(run)
    assert len(page) < 4_000_000
    assert_readable(page)
    page = render_report(make_run(peers=5000, rounds=3, cohort_size=8))
    assert "160 of 625 cohorts" in page
    assert len(page) < 6_000_000
    assert_readable(page)


def test_very_many_absences_are_shaded(make_run: RunMaker) -> None:
    run = make_run(peers=20, rounds=100, faults=False)
    for number in range(10_000):
        at = number * run.virtual_s / 10_000
        run.events += [
            EventRow(at, "offline", number % 20, 0, "churn"),
            EventRow(at + 0.1, "online", number % 20, 0, "churn"),
        ]
    page = render_report(run)
    assert "Fault timeline" in page
    assert len(page) < 1_500_000


def test_absences_pair_and_close(make_run: RunMaker) -> None:
    run = make_run(peers=4, rounds=4, faults=False)
    run.events = [
        EventRow(1.0, "offline", 2, 0, "dropout"),
        EventRow(1.5, "offline", 2, 0, "crash"),  # Dropped out, then crashed: one absence.
        EventRow(2.0, "partition", -1, 0, ""),
        EventRow(3.0, "online", 2, 0, ""),
        EventRow(4.0, "offline", 0, 0, "churn"),
    ]
    assert absences(run) == [Absence(2, 1.0, 3.0, "dropout"), Absence(0, 4.0, 10.0, "churn")]
    assert partitions(run) == [(2.0, 10.0)]
    assert online_over_time(run) == [(0.0, 4.0), (1.0, 3.0), (3.0, 4.0), (4.0, 3.0), (10.0, 3.0)]


def test_cohorts_are_told_from_other_graphs() -> None:
    assert cohorts_of([(1,), (0,), (3,), (2,), ()]) == [[0, 1], [2, 3]]
    assert cohorts_of([(1, 3), (0, 2), (1, 3), (0, 2)]) is None
    assert cohorts_of([(1,), (), ()]) is None
    assert cohorts_of([(), ()]) is None


def test_the_picture_of_a_large_graph_shows_the_nearest_peers() -> None:
    ring = [((peer - 1) % 500, (peer + 1) % 500) for peer in range(500)]
    drawing = ElementTree.fromstring(
        exchange_picture(ring, dict.fromkeys(range(500), 0.5), PrimaryMetric()).picture
    )
    titles = [str(element.text) for element in drawing.iter("title")]
    shown = {int(title.split()[1].rstrip(",")) for title in titles if title.startswith("peer ")}
    assert shown == {*range(46), *range(456, 500)} or shown == {*range(45), *range(455, 500)}


def test_many_columns_are_a_fair_sample() -> None:
    counts = [[10 * (peer % 3 == label) for label in range(3)] for peer in range(900)]
    columns = columns_of(counts)
    assert len(columns) == len(set(columns)) == 240
    assert [peer % 3 for peer in columns] == sorted(peer % 3 for peer in columns)
    assert [sum(peer % 3 == label for peer in columns) for label in range(3)] == [80, 80, 80]


def test_comparisons_name_the_winner_or_a_tie(make_run: RunMaker) -> None:
    def ending(mean: float, **scenario: object) -> RunResult:
        run = make_run(rounds=2, **scenario)
        for row in run.peers:
            row.own = {"accuracy": mean}
        return run

    def unmeasured() -> RunResult:
        run = make_run(rounds=1)
        run.rounds[0].own_mean = run.rounds[0].common_mean = None
        run.peers, run.gains = [], []
        return run

    page = render_comparison({"small": ending(0.8), "large": ending(0.9, peers=20)})
    assert "large does best: 90.0 %, 10.0 points better than small." in page
    assert '<span class="key">peers</span>' in page
    assert_readable(page)
    page = render_comparison(
        {
            "a": ending(0.8),
            "b": ending(0.802, cohort_size=8),
            "c": ending(0.5, cohort_size=5),
        }
    )
    assert re.search(r"8 \(b\) and \S+ cohorts of 4 \(a\) lead, at 80.2 % at best", page)
    page = render_comparison({"a": ending(0.8), "b": ending(0.8, cohort_size=8)})
    assert "No run is clearly ahead: 80.0 % at best" in page
    page = render_comparison({"a": ending(0.8), "b": ending(0.9, seed=4)})
    assert "plain cohorts of 4 (2 seeds) reaches 85.0 %, the mean of 2 runs." in page
    assert "repetitions of one scenario" in page
    assert "No accuracy was" in render_comparison({"a": unmeasured(), "b": unmeasured()})
    with pytest.raises(ValueError, match="two runs"):
        render_comparison({"a": ending(0.8)})


def test_a_gain_over_seeds_has_its_interval_in_a_comparison(make_run: RunMaker) -> None:
    runs = {}
    for seed, gain in enumerate((0.05, 0.10, 0.15)):
        run = runs[f"three-{seed}"] = make_run(rounds=2, seed=seed)
        run.mean_gain = MeanGain(gain, gain - 0.3, gain + 0.3)
    page = render_comparison(runs)
    # Student's t of two degrees, 4.303, times the deviation 5 over the root of 3.
    assert "+10.0 points ± 12.4" in page
    assert "± 12.4" not in render_comparison({it: runs[it] for it in list(runs)[:2]})


def test_many_runs_compared_stay_readable(make_run: RunMaker) -> None:
    runs = {
        f"a run with a long name {n}": make_run(rounds=8, gain=n / 50, checkpoint_every=n)
        for n in range(14)
    }
    assert_readable(render_comparison(runs))


def test_a_comparison_names_the_time_of_its_runs(make_run: RunMaker) -> None:
    simulated, launched = make_run(), make_run()
    launched.world = PROCESSES
    for runs, told in (
        ([simulated, simulated], "Mean accuracy over virtual time"),
        ([launched, launched], "Mean accuracy over real time"),
        ([simulated, launched], "Mean accuracy over time"),
    ):
        assert told in render_comparison(dict(zip("ab", runs, strict=True)))
