"""What a reporter writes: a link's end once, names for people, and nothing that is secret."""

import base64
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from consortium import founded
from scripted import IDS

from p2pfl.charter.settled import settled
from p2pfl.daemon.logs import close_log, open_log
from p2pfl.daemon.reporter import Reporter
from p2pfl.daemon.sentences import NAMED_MAX
from p2pfl.daemon.starting import tell_full_batch
from p2pfl.group.lossy import Counted, Lossy
from p2pfl.group.settings import CohortSettings
from p2pfl.learner.learner import make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.tensor_parts import Beyond
from p2pfl.store.keys import read_keys
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event
from p2pfl_simulations.launch.folders import make_folders
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.launch.testbed import ProcessTestbed
from p2pfl_simulations.scenario import make_scenario


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    log = open_log(tmp_path / "peer.log", level="debug")
    yield log
    close_log(log)


def lines(folder: Path) -> list[tuple[str, str]]:
    entries = map(json.loads, (folder / "peer.log").read_text().splitlines())
    return [(entry["level"], entry["message"]) for entry in entries]


def test_a_link_that_ends_is_told_once_until_it_is_back(
    log: logging.Logger, tmp_path: Path
) -> None:
    reporter = Reporter(log, {IDS[1]: "oslo"})
    for reason in ("unreachable", "dial_rate", "dial_timeout"):
        reporter.on_link(IDS[1], up=False, reason=reason)
    reporter.on_link(IDS[1], up=True, reason="")
    reporter.on_link(IDS[1], up=True, reason="")
    for reason in ("gone_away", "unreachable", "dial_rate"):
        reporter.on_link(IDS[1], up=False, reason=reason)
    assert lines(tmp_path) == [
        ("warning", "oslo cannot be reached: nobody answers at its addresses"),
        ("info", "oslo is connected"),
        ("warning", "oslo is gone: it has ended the link"),
    ]


def test_a_member_of_another_group_is_told_even_after_a_failed_dial(
    log: logging.Logger, tmp_path: Path
) -> None:
    reporter = Reporter(log, {IDS[1]: "oslo"})
    reporter.on_link(IDS[1], up=False, reason="unreachable")
    for _ in range(3):
        reporter.on_link(IDS[1], up=False, reason="other_group_or_version")
    told = lines(tmp_path)
    assert len(told) == 2
    assert told[1][1].startswith("oslo is of another group, or has another version of p2pfl")


def test_who_had_no_update_is_named(log: logging.Logger, tmp_path: Path) -> None:
    reporter = Reporter(log, {IDS[1]: "m2"})
    vector = np.zeros(3, np.float32)
    reporter.on_event(0.0, events.RoundEnded(7, vector, 3, 2, True, (IDS[1],)))
    many = tuple(str(number) for number in range(NAMED_MAX + 2))
    reporter.on_event(0.0, events.RoundEnded(8, vector, 3, 2, False, many))
    told = [message for _, message in lines(tmp_path)]
    assert told[0] == "round 7 ended: 2 of 3 models, m2: no update"
    assert told[1].endswith("6, 7 and 2 more: no update, not complete")


def test_rounds_that_nothing_of_ours_went_into_are_told_apart(log: logging.Logger) -> None:
    reporter = Reporter(log, {})
    vector = np.zeros(3, np.float32)

    def ended(round_: int) -> bool:
        reporter.on_event(0.0, events.RoundEnded(round_, vector, 3, 2, True))
        return bool(reporter.latest["own_update"])

    def summed(round_: int, result: str) -> None:
        told = events.MaskedSumEnded(round_, b"s", result, 3, 2, 0, 0, False)
        reporter.on_event(0.0, told)

    summed(0, "summed")
    assert ended(0)
    reporter.on_event(0.0, events.TrainingFailed(1, "no rows"))
    assert not ended(1)
    summed(2, "aborted: no_sum")  # It took what the others' sum had given.
    assert not ended(2)
    summed(3, "aborted: no_sum")
    summed(3, "summed")  # At the second attempt.
    assert ended(3)
    assert reporter.counts["rounds_with_own_update"] == 2
    assert reporter.latest["training_failure"] == "round 1: training failed: no rows"


def test_figures_of_a_task_do_not_hide_what_the_daemon_tells(
    log: logging.Logger, tmp_path: Path
) -> None:
    reporter = Reporter(log, {})
    reporter.on_event(0.0, events.RoundStarted(5))
    reporter.on_event(0.0, events.PeerEvaluated(4, {"round": 0.5, "accuracy": 0.25}))
    assert reporter.latest == {"round": 5, "evaluated_round": 4}
    assert reporter.figures == {"round": 0.5, "accuracy": 0.25}
    assert lines(tmp_path)[-1] == (
        "info",
        "round 4, on the common test rows: round 0.5, accuracy 0.25",
    )


class UntilFinished:
    def __init__(self, testbed: ProcessTestbed) -> None:
        self._testbed, self._awaited = testbed, len(testbed.hosts)

    def on_report(self, _now_s: float, _host: PeerProcess, event: Event) -> None:
        self._awaited -= isinstance(event, events.Finished)
        self._testbed.is_over = self._awaited == 0

    def on_incident(self, now_s: float, host: PeerProcess, kind: str, detail: str) -> None:
        raise AssertionError((now_s, host, kind, detail))


PUBLIC = {"digest", "group", "session", "addresses", "time"}
LOOKS_SECRET = re.compile(r"[0-9a-fA-F]{16,}|[A-Za-z0-9+/_=-]{30,}|\\\\x")


def spellings(secret: bytes) -> list[str]:
    text = [secret.hex(), secret.hex().upper(), base64.b64encode(secret).decode().rstrip("=")]
    return [*text, base64.urlsafe_b64encode(secret).decode().rstrip("="), repr(secret)[2:-1]]


@pytest.mark.usefixtures("forked_launches")
def test_no_secret_and_no_model_is_logged_at_level_debug(tmp_path: Path) -> None:
    scenario = make_scenario(
        {
            "peers": 5,
            "rounds": 2,
            "learning": {"task": "integers"},
            "averaging": {
                "algorithm": "cohorts",
                "cohort_size": 5,
                "masking": "real",
                "clip": 65536.0,
                "deadline_s": 30.0,
            },
        }
    )
    learner = make_learner(scenario.learning, peer_count=5, seed=1, folder=None)
    folders = make_folders(scenario, tmp_path, None, learner)
    for folder in folders:
        config = folder / "peer.toml"
        config.write_text(config.read_text().replace('"info"', '"debug"'))
    testbed = ProcessTestbed(scenario, [PeerProcess(i, folder) for i, folder in enumerate(folders)])
    try:
        testbed.run([UntilFinished(testbed)])
    finally:
        testbed.end()
    for folder in folders:
        logged = (folder / "peer.log").read_text() + (folder / "stderr.log").read_text()
        kinds = {json.loads(line)["event"] for line in logged.splitlines()}
        assert {"frame", "round_ended", "masked_sum_ended"} <= kinds
        for entry in map(json.loads, logged.splitlines()):
            # Seeds and masks live for a round and cannot be named here: so nothing that looks like
            # them may stand anywhere but where digests and identities belong.
            rest = {key: value for key, value in entry.items() if key not in PUBLIC}
            if entry["event"] != "listening":
                assert not LOOKS_SECRET.search(json.dumps(rest)), rest
        secrets = []
        for each in folders:
            keys = read_keys(each / "key")
            secrets.append(keys.identity.seed)
        for round_ in (0, 1):
            model = np.load(folder / "models" / f"{round_}.npy")
            secrets.append(model.tobytes()[:24])
            assert f"{model[0]!r}, " not in logged
        for secret in secrets:
            for spelling in spellings(secret):
                assert spelling not in logged


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            events.MemberDiffers(IDS[1], "layout", "0.weight", "[20, 8]", "[16, 8]"),
            (
                "oslo has another model than we: 0.weight is [20, 8] there, [16, 8]"
                " here; hand the same"
                " task file to all members, and start again"
            ),
        ),
        (
            events.MemberDiffers(IDS[1], "layout", "tensor 3", "missing", "2.bias [3]"),
            (
                "oslo has another model than we: tensor 3 is missing there, 2.bias [3]"
                " here; hand the"
                " same task file to all members, and start again"
            ),
        ),
        (
            events.MemberDiffers(IDS[1], "start", "", "", ""),
            (
                "oslo has another start than we: its model's initial values are"
                " others; set the same"
                " seed, or load the start from the same file, and start again"
            ),
        ),
        (
            events.MemberDiffers(IDS[1], "frozen", "", "", ""),
            (
                "oslo has other frozen tensors than we, which all must share; hand the"
                " file with their"
                " values to all members, and start again"
            ),
        ),
        (
            events.MemberDiffers(IDS[1], "code", "mine.py", "aa11", "bb22"),
            (
                "oslo has another version of mine.py than we: aa11 there, bb22 here;"
                " hand the same one"
                " to all members, and start again"
            ),
        ),
        (
            events.MemberDiffers(IDS[1], "code", "layers.py", "missing", "bb22"),
            (
                "oslo has another task than we: layers.py is missing there, bb22 here;"
                " hand the same"
                " files to all members, and start again"
            ),
        ),
        (
            events.MemberDiffers(IDS[1], "code", "", "", ""),
            (
                "oslo has other code of the task than we; hand the same files to all"
                " members, and start"
                " again"
            ),
        ),
        (
            events.MemberDiffers(IDS[1], "unsaid", "", "", ""),
            (
                "oslo says that it differs from us, and not in what: compare p2pfl"
                " --version and the"
                " task's files on both sides"
            ),
        ),
    ],
    ids=lambda it: f"{it.what} {it.name}" if isinstance(it, events.MemberDiffers) else "",
)
def test_a_member_that_differs_is_told_with_a_remedy(
    log: logging.Logger, tmp_path: Path, event: Event, told: str
) -> None:
    reporter = Reporter(log, {IDS[1]: "oslo"})
    reporter.on_event(0.0, event)
    assert lines(tmp_path) == [("error", told)]
    assert reporter.differing == {"oslo": told}
    reporter.on_event(0.0, events.MemberAgrees(IDS[1]))
    assert lines(tmp_path)[1:] == [("info", "oslo has the same as we now")]
    assert reporter.differing == {}


TASK = """
import numpy as np
from torch import nn
from p2pfl.learner.tasks import Data, Rows, Task
class Small(Task):
    def data(self, d):
        rows = Rows(np.ones((6, 1), np.float32), np.arange(6) % 3)
        return Data(rows, rows)
    def model(self): return nn.Linear(1, 3)
"""


COHORTS = CohortSettings(algorithm="cohorts", cohort_size=5, weight_max=4.0)


@pytest.fixture
def lossy(tmp_path: Path) -> Lossy:
    """Of a model of two tensors of three values, in cohorts with a clip of 8."""
    (tmp_path / "small_task.py").write_text(TASK)
    sys.modules.pop("small_task", None)
    settings = LearningSettings(task="small_task:Small")
    learner = make_learner(settings, peer_count=1, seed=1, folder=tmp_path, threads=1)
    return Lossy(learner, COHORTS)


def summed(round_: int, *values: float, is_capped: bool = False) -> events.MaskedSumEnded:
    vector = np.array(values, np.float32)
    clipped = int((abs(vector) > 8).sum())
    return events.MaskedSumEnded(
        round_, bytes(32), "summed", 5, 5, 0, clipped, is_capped, vector if clipped else None
    )


def warnings(folder: Path) -> list[str]:
    return [message for level, message in lines(folder) if level == "warning"]


def test_values_that_a_sum_cut_are_told_once_by_tensor_then_counted(
    log: logging.Logger, tmp_path: Path, lossy: Lossy
) -> None:
    reporter = Reporter(log, {}, lossy)
    reporter.on_event(0.0, summed(0, 1, 2, 8, 300, -301, 8))
    reporter.on_event(0.0, summed(1, 1, 2, 8, 300, -302, 9))
    assert lossy.clipped == {"bias": Beyond(3, 3, 302.0)}
    reporter.on_event(0.0, summed(2, 1, 9, 8, 300, 3, 3))
    assert lossy.clipped == {"weight": Beyond(1, 3, 9.0), "bias": Beyond(1, 3, 300.0)}
    reporter.on_event(0.0, summed(3, 1, 2, 3, 4, 5, 6))
    assert lossy.clipped == {}
    assert lossy.counts == {
        ("values_clipped", "bias"): Counted(3, 302.0, 8.0),
        ("values_clipped", "weight"): Counted(1, 9.0, 8.0),
    }
    rest = (
        " were beyond averaging.clip = 8, and cut to it: have the clip raised, or keep"
        " such tensors local (docs/tasks.md); further rounds are counted in status and metrics"
    )
    assert warnings(tmp_path) == [
        f"round 0: 2 of 3 values of bias (up to 301){rest}",
        f"round 2: 1 of 3 values of weight (up to 9), 1 of 3 values of bias (up to 300){rest}",
    ]
    assert "vector" not in (tmp_path / "peer.log").read_text()


def test_a_weight_that_is_capped_is_told_once(
    log: logging.Logger, tmp_path: Path, lossy: Lossy
) -> None:
    reporter = Reporter(log, {}, lossy)
    for round_ in range(3):
        reporter.on_event(0.0, summed(round_, 1, 1, 1, 1, 1, 1, is_capped=True))
    (told,) = warnings(tmp_path)
    assert told.startswith("round 0: this peer has more rows than averaging.weight_max = 4, and")
    assert lossy.counts == {("weight_capped", ""): Counted(3, 0.0, 4.0)}


def test_an_update_that_is_shrunk_is_told_once_for_each_tensor_that_most_is_in(
    log: logging.Logger, tmp_path: Path, lossy: Lossy
) -> None:
    reporter = Reporter(log, {}, lossy)
    for round_, update in enumerate(([0, 0, 3, 1, 0, 0], [0, 0, 2, 1, 0, 0], [0, 0, 1, 2, 0, 0])):
        vector = np.array(update, np.float32)
        reporter.on_event(0.0, events.UpdateShrunk(round_, 9.0 + round_, 4.0, vector))
    told = warnings(tmp_path)
    assert told[0].startswith(
        "round 0: our update has the norm 9, most of it in weight, and counts as one of"
    )
    assert told[1].startswith("round 2: our update has the norm 11, most of it in bias, and")
    assert len(told) == 2
    assert lossy.counts[("update_shrunk", "weight")] == Counted(2, 10.0, 4.0)
    assert "vector" not in (tmp_path / "peer.log").read_text()


def test_trainings_that_fail_one_after_the_other_are_told_once(
    log: logging.Logger, tmp_path: Path, lossy: Lossy
) -> None:
    reporter = Reporter(log, {}, lossy)
    for round_ in (0, 1, 2, 5):
        reporter.on_event(0.0, events.TrainingFailed(round_, "the loss became nan"))
    told = [message for level, message in lines(tmp_path) if level == "error"]
    assert told == [f"round {it}: training failed: the loss became nan" for it in (0, 5)]
    assert lossy.counts == {("training_failed", ""): Counted(4, 0.0, 0.0)}
    assert reporter.latest["training_failure"].startswith("round 5")


def test_private_rounds_leave_no_figure_of_own_rows_in_the_log(
    log: logging.Logger, tmp_path: Path
) -> None:
    """Nor for metrics, which others gather; the peer's own status still has them."""
    reporter = Reporter(log, {})
    reporter.is_private = True
    for event in (
        events.AveragingStarted(1, 0.4321),
        events.PeerEvaluated(1, {"accuracy": 0.5}, {"accuracy": 0.8765}, {"accuracy": 0.7654}),
        events.PeerEvaluated(2, {}, {"accuracy": 0.8765}),
    ):
        reporter.on_event(0.0, event)
    written = (tmp_path / "peer.log").read_text()
    for figure in ("4321", "8765", "7654"):
        assert figure not in written
    assert "on the common test rows: accuracy 0.5" in written
    assert "the figures stay with p2pfl peer status" in written
    assert reporter.figures == {"accuracy": 0.8765}
    assert reporter.public_figures == {}
    reporter.is_private = False
    reporter.on_event(0.0, events.PeerEvaluated(3, {}, {"accuracy": 0.8765}))
    assert "8765" in (tmp_path / "peer.log").read_text()
    assert reporter.public_figures == {"accuracy": 0.8765}


def test_an_operator_whose_peer_draws_nothing_is_warned(
    log: logging.Logger, tmp_path: Path
) -> None:
    reporter = Reporter(log, {})
    for batch_size, rows in ((32, 33), (32, 32)):
        agreed = settled(founded(tmp_path, training={"batch_size": batch_size}))
        tell_full_batch(reporter, agreed, rows)
    ((level, told),) = lines(tmp_path)
    assert level == "warning"
    assert told.startswith("each step takes all 32 rows of this peer (batch_size 32): ")
