"""Own parts by name: found, tried and refused at the door; those of the examples work."""

import json
import math
import re
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from calling import P2pfl

from p2pfl.group.averaging import AveragingError, require_possible
from p2pfl.group.settings import OwnRuleSettings
from p2pfl.learner.errors import LearningError
from p2pfl.plugins import PluginError, finding
from p2pfl.plugins.parts import GRAPHS
from p2pfl_simulations import make_scenario, run
from p2pfl_simulations.fault_settings import FaultSettings
from p2pfl_simulations.plugins import KINDS
from p2pfl_simulations.results.run import EndedEarly, RunResult
from p2pfl_simulations.scenario import ScenarioError, load_scenario

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "plugins"
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")

SMALL: dict[str, Any] = {
    "peers": 6,
    "rounds": 2,
    "learning": {"task": "integers"},
    "averaging": {"algorithm": "cohorts", "masking": "none", "cohort_size": 3},
    "evaluation": {"baselines": []},
}
BAD = """
import msgspec
import numpy as np
from p2pfl_gossip.actions import SendBulk
from p2pfl_simulations.plugins import *

class Short(AveragingRule):
    def average(self, round, own, heard):
        return own.vector[:3]

class Raises(AveragingRule):
    def average(self, round, own, heard):
        return heard["first"]

class Nan(AveragingRule):
    def average(self, round, own, heard):
        return own.vector * float("nan")

class Late(AveragingRule):
    def average(self, round, own, heard):
        if round == 1:
            raise RuntimeError("no more")
        return own.vector

class Unfinished(AveragingRule):
    pass

class Count(AveragingRule):
    count: int = 3
    def average(self, round, own, heard):
        return own.vector

class Loops(Graph):
    def edges(self, peers, round, rng):
        return [(peer, peer) for peer in range(peers)]

class Beyond(Graph):
    def edges(self, peers, round, rng):
        return [(0, peers)]

class Empty(Split):
    def split(self, targets, columns, peers, rng):
        return [[0]] * (peers - 1) + [[]]

class Pair(Metric):
    def measure(self, outputs, targets):
        return [1.0, 2.0]

class Negative(Latency):
    def latency_s(self, sender, receiver, rng):
        return -1.0

class Backwards(Availability):
    def online(self, peer, rng):
        return [(5, 4)]

class NoStart(Fault):
    def start(self):
        self.world.stop_everything()

class LateLiar(Liar):
    def __init__(self, where, found=None, raises=True):
        self.where, self.found, self.raises = where, found, raises
    def _do(self, where, honest):
        if self.me.round == 0 or self.where != where:
            return honest
        if self.raises:
            raise KeyError("lied")  # LINE
        return self.found
    def on_round(self, now_s):
        if self.me.round == 1 and self.where == "later":
            self.me.later(*self.found)
        return self._do("on_round", [])
    def say(self, now_s, action):
        if isinstance(action, SendBulk):
            return self.tell(now_s, action)
        return self._do("say", super().say(now_s, action))
    def tell(self, now_s, send):
        if self.where == "lazy":
            return (self._do("lazy", it) for it in [send])
        if self.where == "stranger":
            return [msgspec.structs.replace(send, receiver=bytes(32))]
        return self._do("tell", (send,))
    def hear(self, now_s, sender, message):
        if self.where == "hear garbage" and self.me.round:
            return type(message)(*[object()] * len(message.__struct_fields__))
        return self._do("hear", message)
    def learn(self, now_s, job, result):
        return self._do("learn", result)

class AlterLiar(Liar):
    alters_rows = True
    def alter(self, data):
        raise KeyError("altered")

class StartLiar(Liar):
    def on_start(self, now_s):
        return None

class LateGraph(Graph):
    lazy: bool = False
    edge: bool = False
    def period(self):
        return None
    def edges(self, peers, round, rng):
        pairs = [(peer, (peer + 1) % peers) for peer in range(peers)]
        if round < 3:
            return pairs
        return [(0, peers)] if self.edge else self._late(pairs)
    def _late(self, pairs):
        if not self.lazy:
            raise KeyError("late")  # LINE
        def walk():
            yield from pairs
            raise KeyError("late")  # LINE
        return walk()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bad_parts.py").write_text(BAD)
    return tmp_path


def small(**tables: Any) -> dict[str, Any]:
    return {**SMALL, **tables}


def simulate(document: dict[str, Any], folder: Path) -> RunResult:
    return run(make_scenario(document), folder=folder)


OWN = "bad_parts:"
DIGITS = {"task": "digits", "training": {"steps": 1}}


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"averaging": {"algorithm": OWN + "Short"}}, r"returned \[3\], and a model is \[5\].*"),
        ({"averaging": {"algorithm": OWN + "Raises"}}, r"TypeError: .*bad_parts.py, line 13\)"),
        ({"averaging": {"algorithm": OWN + "Nan"}}, "not finite"),
        ({"averaging": {"algorithm": OWN + "Unfinished"}}, "does not define average"),
        ({"averaging": {"algorithm": OWN + "Missing"}}, "Missing is not there"),
        ({"averaging": {"algorithm": OWN + "Loops"}}, "is no subclass of AveragingRule"),
        ({"averaging": {"algorithm": "not_here:It"}}, "cannot be imported.*not_here"),
        (
            {"averaging": {"algorithm": OWN + "Count", "options": {"counts": 1}}},
            "counts is not a known key; did you mean 'count'",
        ),
        (
            {"averaging": {"algorithm": OWN + "Count", "options": {"count": "x"}}},
            "count: Input should be a valid integer",
        ),
        (
            {"averaging": {"algorithm": "own", "plugin": "trimed-mean"}},
            "there is no averaging rule 'trimed-mean'",
        ),
        (
            {"averaging": {"algorithm": "dsgd", "topology": {"kind": OWN + "Loops"}}},
            "no path leads from peer 0 to peer 1",
        ),
        (
            {"averaging": {"algorithm": "dsgd", "topology": {"kind": OWN + "Beyond"}}},
            "the edge 0 - 6: there are peers 0 to 5",
        ),
        (
            {"averaging": {"algorithm": "dsgd", "topology": {"kind": "ring", "options": {}}}},
            None,
        ),
        (
            {"averaging": {"algorithm": "dsgd", "topology": {"kind": "ring", "options": {"a": 1}}}},
            "takes no options",
        ),
        (
            {"averaging": {"algorithm": "dsgd", "topology": {"kind": OWN + "Loops", "k": 1}}},
            "takes no k",
        ),
        (
            {
                "averaging": {
                    "algorithm": "dsgd",
                    "topology": {"kind": "file", "options": {"files": ["none.graphml"]}},
                }
            },
            "there is no file .*none.graphml",
        ),
        ({"learning": {"task": "integers", "partition": {"kind": OWN + "Empty"}}}, "peer 5 has no"),
        ({"learning": {"task": "integers", "metrics": [OWN + "Pair"]}}, "gives no outputs"),
        ({"learning": {**DIGITS, "metrics": [OWN + "Pair"]}}, "a figure is one"),
        ({"network": {"latency_model": OWN + "Negative"}}, "-1.0 s from peer 0 to peer 5"),
        ({"faults": {"availability": OWN + "Backwards"}}, "from 5 to 4 s.*times ascend"),
        ({"faults": {"own": [OWN + "NoStart"]}}, "AttributeError.*stop_everything"),
        ({"faults": {"liars": {"strategy": "silense", "peers": [1]}}}, "did you mean 'silence'"),
        (
            {"faults": {"availability": "trace", "churn": {"session_s": {"mean_s": 1},
             "offline_s": {"mean_s": 1}}}},
            "availability says who is there, and so does churn",
        ),
    ],
)  # fmt: skip
def test_a_wrong_part_is_told_at_the_door_in_one_line(
    folder: Path, tables: dict[str, Any], told: str | None
) -> None:
    if told is None:
        simulate(small(**tables), folder)
        return
    with pytest.raises((PluginError, ScenarioError, LearningError)) as raised:
        simulate(small(**tables), folder)
    assert re.search(told, str(raised.value)), str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_rule_that_fails_later_keeps_the_rounds_before(p2pfl: P2pfl) -> None:
    Path("bad_parts.py").write_text(BAD)
    Path("late.toml").write_text(
        'peers = 4\nrounds = 3\nevaluation.baselines = []\nlearning.task = "integers"\n'
        'averaging.algorithm = "bad_parts:Late"\n'
    )
    ended = p2pfl("simulate", "late.toml", "--out", "late", "-q")
    assert ended.code == 2
    assert "averaging rule 'bad_parts:Late': RuntimeError: no more" in ended.err
    assert "Traceback" not in ended.err
    assert (Path("late") / "summary.json").exists()


TOLD_AT_ITS_LINE = r"KeyError: '(lied|late)' \(.*bad_parts\.py, line (\d+)\)"


def _liar(**arguments: Any) -> dict[str, Any]:
    liar = {"strategy": OWN + "LateLiar", "peers": [2], "arguments": arguments}
    return {"faults": {"liars": liar}}


def _graph(**options: Any) -> dict[str, Any]:
    topology = {"kind": OWN + "LateGraph", "options": options}
    return {"averaging": {"algorithm": "dsgd", "topology": topology}}


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        *(
            (_liar(where=where), TOLD_AT_ITS_LINE)
            for where in ("on_round", "say", "tell", "lazy", "hear", "learn")
        ),
        (_liar(where="on_round", raises=False), r"its on_round returned None.*bad_parts\.py, line"),
        (_liar(where="say", raises=False, found=[3]), "its say returned a int among actions"),
        (_liar(where="hear", raises=False, found="x"), "its hear returned a str; give a message"),
        (_liar(where="learn", raises=False), "its learn returned None; give a result"),
        (_liar(where="later", found=["soon", []]), r"TypeError: .*bad_parts\.py, line"),
        (_liar(where="later", found=[-1, []]), r"later\(-1, .*bad_parts\.py, line"),
        (_liar(where="later", found=[1, [3]]), r"later\(\) got a int.*bad_parts\.py, line"),
        (_liar(where="hear garbage"), "Error: "),
        (_graph(), TOLD_AT_ITS_LINE),
        (_graph(lazy=True), TOLD_AT_ITS_LINE),
        (_graph(edge=True), "round 3: the edge 0 - 6: there are peers 0 to 5"),
    ],
)
def test_a_liar_or_a_graph_that_fails_later_keeps_the_rounds_before(
    folder: Path, tables: dict[str, Any], told: str
) -> None:
    with pytest.raises(EndedEarly) as raised:
        simulate(small(**tables, rounds=5), folder)
    failure = raised.value.run.failure
    found = re.search(told, failure)
    assert found, failure
    assert re.match(r"(liar 'bad_parts:LateLiar'|topology 'bad_parts:LateGraph'): ", failure)
    assert "\n" not in failure
    assert len(raised.value.run.rounds) >= 1
    if told == TOLD_AT_ITS_LINE:
        assert BAD.splitlines()[int(found[2]) - 1].endswith("# LINE")


@pytest.mark.parametrize(
    ("liar", "told"),
    [
        ({"strategy": OWN + "AlterLiar"}, r"KeyError: 'altered' \(.*bad_parts.py, line"),
        ({"strategy": OWN + "StartLiar"}, "its on_start returned None; give a list of actions"),
        ({"strategy": OWN + "LateLiar", "arguments": {"where": "stranger"}}, "is no peer; use"),
    ],
)
def test_a_liar_that_fails_at_once_is_told_in_one_line(
    folder: Path, liar: dict[str, Any], told: str
) -> None:
    tables = {"faults": {"liars": {**liar, "peers": [2]}}}
    with pytest.raises(PluginError, match=told):
        simulate(small(**tables), folder)


def test_a_misspelt_setting_ends_with_code_2(p2pfl: P2pfl) -> None:
    ended = p2pfl(
        "simulate", str(EXAMPLES / "scenario.toml"), "--set", "averaging.options.trimm=1", "-q"
    )
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "trimm is not a known key; did you mean 'trim'?" in ended.err


@pytest.fixture(scope="module")
def example() -> RunResult:
    return run(load_scenario(str(EXAMPLES / "scenario.toml")), folder=EXAMPLES)


def test_the_examples_run_together_and_are_named_by_digest(example: RunResult) -> None:
    assert example.scenario.averaging.algorithm == "own"
    assert [row.round for row in example.rounds] == list(range(6))
    figures = example.peers[-1].own
    assert figures["top_two"] >= figures["accuracy"]
    assert example.neighbours[0] == (1, 2, 6, 7)  # As sites.graphml has it.
    assert example.sample_counts[0] > 2 * example.sample_counts[1]  # As shares.txt has it.
    away = [(row.peer, row.kind) for row in example.events if row.detail == "availability"]
    assert {(6, "offline"), (6, "online"), (3, "offline")} <= set(away)  # As online.csv has it.
    code = example.environment
    assert re.fullmatch(r"trimmed.py [0-9a-f]{16}", code["averaging rule trimmed:TrimmedMean"])
    assert re.search(r"shares.txt [0-9a-f]{16}", code["partition parts:SharesFromFile"])


def test_the_example_rule_leaves_the_outliers_out() -> None:
    from p2pfl_gossip.averaging.own_rule import RuleModel

    rule = _part("trimmed", "TrimmedMean")(trim=1)
    models = [
        RuleModel(peer, np.full(2, value, np.float32), 1.0, 0.25)
        for peer, value in enumerate((1.0, 2.0, 3.0, 1e9))
    ]
    assert rule.average(0, models[0], models[1:]).tolist() == [2.5, 2.5]
    assert rule.average(0, models[0], []).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "tables",
    [
        {"averaging": {"algorithm": "dsgd", "topology": {"kind": "parts:Alternating"}}},
        {"averaging": {"algorithm": "push-sum", "topology": {"kind": "parts:SmallWorld"}}},
        {"faults": {"availability": {"plugin": "parts:NightOff", "options": {"day_s": 0.2}}}},
        {"faults": {"own": {"plugin": "parts:Maintenance", "options": {"every": 2}}}},
        {"learning": {"task": "integers", "partition": {"kind": "parts:ByFirstLabel"}}},
    ],
)
def test_each_other_example_runs_and_repeats(tables: dict[str, Any]) -> None:
    if "partition" in tables.get("learning", {}):
        tables = {"learning": {**DIGITS, "partition": {"kind": "parts:ByFirstLabel"}}}
    document = small(**tables, rounds=4) if "rounds" not in tables else tables
    one, two = (simulate(document, EXAMPLES) for _ in range(2))
    assert one.digest == two.digest
    assert one.rounds[-1].ended >= 3
    if "own" in tables.get("faults", {}):
        assert any(row.detail == "maintenance" for row in one.events)
    if "availability" in tables.get("faults", {}):
        away = {row.peer for row in one.events if row.kind == "offline"}
        assert away
        assert all(peer % 2 for peer in away)  # Those whose numbers are even stay.


def test_the_example_liar_changes_the_model() -> None:
    liar = {"strategy": "parts:SignFlip", "peers": [5], "arguments": {"factor": 5}}
    honest, lied = (
        simulate(small(faults={"liars": liars}), EXAMPLES).model for liars in ([], [liar])
    )
    assert honest is not None
    assert lied is not None
    assert not np.array_equal(honest, lied)


def test_latencies_go_by_the_pair() -> None:
    model = _part("parts", "TwoSites")(far_s=1.0)
    rng = Random(1)
    assert model.latency_s(0, 2, rng) < 0.01 < model.latency_s(0, 1, rng)
    near = simulate(small(network={"latency_model": "parts:TwoSites"}), EXAMPLES)
    far = {"plugin": "parts:TwoSites", "options": {"far_s": 1.0}}
    assert simulate(small(network={"latency_model": far}), EXAMPLES).virtual_s > near.virtual_s


def test_graphs_of_files_take_turns(tmp_path: Path) -> None:
    (tmp_path / "a.edgelist").write_text("0 1\n1 2\n2 3\n3 4\n4 5\n")
    (tmp_path / "b.edgelist").write_text("5 0\n0 2\n1 3\n4 0\n")
    files = {"files": ["a.edgelist", "b.edgelist"], "rounds_each": 2}
    topology = {"kind": "file", "options": files}
    found = simulate(
        small(rounds=3, averaging={"algorithm": "dsgd", "topology": topology}), tmp_path
    )
    assert found.neighbours[0] == (2, 4, 5)  # Of round 2, which is the second file's.
    (tmp_path / "c.graphml").write_text("no graph")
    topology = {"kind": "file", "options": {"files": ["c.graphml"]}}
    with pytest.raises(PluginError, match=r"c\.graphml is no such graph"):
        simulate(small(averaging={"algorithm": "dsgd", "topology": topology}), tmp_path)


def test_a_group_of_real_peers_takes_no_own_rule() -> None:
    settings = OwnRuleSettings(algorithm="own", plugin="trimmed:TrimmedMean")
    with pytest.raises(AveragingError, match="for simulations only"):
        require_possible(settings, 8, 2, bytes(32))


def test_an_installed_part_goes_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, p2pfl: P2pfl
) -> None:
    (tmp_path / "rules_of_a_package.py").write_text((EXAMPLES / "trimmed.py").read_text())
    told = tmp_path / "rules-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: rules\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(
        "[p2pfl.averaging]\ntrimmed-mean = rules_of_a_package:TrimmedMean\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = simulate(small(averaging={"algorithm": "trimmed-mean", "options": {"trim": 2}}), Path())
    assert found.scenario.averaging.plugin == "trimmed-mean"  # type: ignore[union-attr]
    listed = p2pfl("list", "averaging", "--json").out
    assert re.search(r'"name": "trimmed-mean",\s+"from": "rules",\s+"options": "trim"', listed)


def test_installed_packages_are_read_once_for_places_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    finding._installed.cache_clear()
    for _ in range(2):
        assert dict(finding.installed(GRAPHS)) == {}
    assert finding._installed.cache_info().misses == 1
    told = tmp_path / "later-1.0.dist-info"
    told.mkdir()
    (told / "entry_points.txt").write_text(f"[{GRAPHS.group}]\nlater = later:Later\n")
    assert finding.installed(GRAPHS)["later"].value == "later:Later"  # Put there meanwhile.
    for place in range(finding.GROUPS_MAX + 1):
        monkeypatch.setattr(sys, "path", [str(tmp_path / str(place))])
        finding.installed(GRAPHS)
    assert finding._installed.cache_info().currsize == finding.GROUPS_MAX


def test_the_list_has_every_kind_and_refuses_others(p2pfl: P2pfl) -> None:
    listed = p2pfl("list", "--json").out
    for name in ("dsgd", "erdos-renyi", "file", "trace", "silence", "digits"):
        assert f'"name": "{name}"' in listed
    for kind, names in (
        ("partitions", ["iid", "dirichlet", "shards", "quantity", "groups", "sites"]),
        ("faults", [*FaultSettings.model_fields][:8]),
        ("latencies", ["constant", "uniform", "exponential", "lognormal"]),
    ):
        rows = json.loads(p2pfl("list", kind, "--json").out)
        assert [row["name"] for row in rows] == names
        assert all(row["description"] for row in rows)
    refused = p2pfl("list", "liers")
    assert (refused.code, "did you mean 'liars'?" in refused.err) == (2, True)
    assert "None ships or is installed" in p2pfl("list", "metrics").out


def test_the_page_shows_the_examples_and_names_every_kind() -> None:
    sources = "".join(path.read_text() for path in sorted(EXAMPLES.glob("*.py")))
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    assert [block for block in blocks if block not in sources] == []
    assert len(blocks[0].splitlines()) < 30
    for kind in KINDS.values():
        assert f"| {kind.name} |" in PAGE
        assert f"`{kind.group}`" in PAGE


def _part(module: str, name: str) -> Any:
    from p2pfl.plugins.importing import import_own

    return getattr(import_own(module, EXAMPLES), name)


def test_a_trace_may_repeat_and_must_be_numbers(tmp_path: Path) -> None:
    from p2pfl_simulations.availability import AvailabilityTrace

    path = tmp_path / "trace.csv"
    path.write_text("peer,from_s,to_s\n1,0,2\n1,3,4\n")
    times = AvailabilityTrace(file=path, repeat_s=10.0).online(1, Random(0))
    assert [next(times) for _ in range(3)] == [(0, 2), (3, 4), (10, 12)]
    assert list(AvailabilityTrace(file=path).online(0, Random(0))) == [(0, math.inf)]
    for text, told in (
        ("peer,from_s\n", "no column 'to_s'"),
        ("peer,from_s,to_s\n1,0,x\n", "line 2"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=told):
            next(AvailabilityTrace(file=path).online(0, Random(0)))
