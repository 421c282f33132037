"""Wrong scenarios: every fault is one line that names the key, and the nearest known one."""

from pathlib import Path
from typing import Any

import pytest

from p2pfl_simulations.scenario import PEERS_MAX, ScenarioError, load_scenario, make_scenario

LEARNING = {"learning": {"task": "digits"}}


def test_peers_of_a_scenario() -> None:
    assert make_scenario(LEARNING | {"peers": PEERS_MAX}).peers == PEERS_MAX
    with pytest.raises(ScenarioError, match=f"less than or equal to {PEERS_MAX}"):
        make_scenario(LEARNING | {"peers": PEERS_MAX + 1})


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"peer": 3}, "peer is not a known key; did you mean 'peers'?"),
        ({"zzz": 3}, "zzz is not a known key"),
        (
            {"peers": "many"},
            (
                "peers: Input should be a valid integer, unable to parse string as an integer,"
                " not 'many'"
            ),
        ),
        ({"peers": 0}, "peers: Input should be greater than or equal to 1, not 0"),
        (
            {"averaging": {"algorithm": "cohorts", "cohort_sise": 4}},
            "averaging.cohort_sise is not a known key; did you mean 'cohort_size'?",
        ),
        (
            {"averaging": {"algorithm": "epidemic", "cohort_size": 4}},
            "averaging.cohort_size is not a key of 'epidemic'",
        ),
        (
            {"averaging": {"algorithm": "epidmic"}},
            "averaging.algorithm: there is no 'epidmic'; did you mean 'epidemic'?",
        ),
        (
            {"averaging": {"algorithm": "zzz"}},
            (
                "averaging.algorithm: there is no 'zzz'; there are age-gossip, cohorts, dsgd,"
                " epidemic, fedavg, group, none, own, push-sum"
            ),
        ),
        (
            {"averaging": {"cohort_size": 4}},
            (
                "averaging.cohorts: masking hides nothing in a cohort of 4: set cohort_size to at"
                " least 5, or masking to 'none'"
            ),
        ),
        (
            {
                "peers": 3,
                "averaging": {"algorithm": "cohorts", "masking": "none", "cohort_size": 8},
            },
            "averaging.cohort_size is 8 but there are only 3 peers; set one of the two",
        ),
        (
            {"peers": 3, "averaging": {"algorithm": "cohorts"}},
            (
                "masking hides nothing among 3 peers: have at least 5, or set averaging.masking to"
                " 'none'"
            ),
        ),
        ({"faults": {"churn": {"offline_s": {"mean_s": 1}}}}, "faults.churn.session_s is missing"),
        (
            {"network": {"latency": {"kind": "uniform", "low_s": 1}}},
            "network.latency: kind = 'uniform' takes high_s and low_s",
        ),
        (
            {"faults": {"partitions": [{"start_s": 1, "duration_s": 0}]}},
            "faults.partitions.0.duration_s: Input should be greater than 0, not 0",
        ),
        (
            {"learning": {"task": "digits", "partition": {"kind": "dirichlet", "alpa": 1}}},
            "learning.partition.alpa is not a known key; did you mean 'alpha'?",
        ),
    ],
)
def test_each_fault_is_one_line(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        make_scenario({**LEARNING, **document}, source="mine.toml")
    assert str(caught.value) == f"mine.toml: {said}"


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ScenarioError) as caught:
        make_scenario({**LEARNING, "peers": 0, "round": 3})
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_names_the_nearest_scenario() -> None:
    with pytest.raises(ScenarioError, match="no file or scenario 'hospitls'; did you mean 'hosp"):
        load_scenario("hospitls")
    with pytest.raises(ScenarioError, match=r"'x\.toml'; shipped are .*quick"):
        load_scenario("x.toml")


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("peers = ")
    with pytest.raises(ScenarioError, match=r"broken\.toml is not TOML"):
        load_scenario(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ScenarioError, match=r"broken\.toml is not TOML: it is no UTF-8 text"):
        load_scenario(str(path))
