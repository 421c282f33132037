"""docs/studies.md says what is so, and the study that ships can be run."""

import re
import tomllib
from pathlib import Path

import pytest
from calling import P2pfl

from p2pfl_simulations.studies.plan import conditions, plan
from p2pfl_simulations.studies.settings import Study, load_study

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_are_studies() -> None:
    whole, listed, drawn = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    study = Study.model_validate(tomllib.loads(whole))
    assert len(conditions(study)) * len(study.seeds) == 30
    assert [it.name for it in Study.model_validate(tomllib.loads(listed)).list] == [
        "slow links",
        "as it is",
    ]
    assert len(conditions(Study.model_validate(tomllib.loads(drawn)))) == 40


@pytest.mark.parametrize(("name", "cells"), [("topologies", 75), ("who_gains", 42)])
def test_the_studies_that_ship_are_in_order(name: str, cells: int) -> None:
    study, base, folder = load_study(ROOT / "examples" / "studies" / f"{name}.toml")
    assert len(plan(study, base, folder)) == cells


def test_every_option_of_the_command_that_the_page_shows_is_there(p2pfl: P2pfl) -> None:
    told = p2pfl("sweep", "--help").out
    assert all(option in told for option in set(re.findall(r"--[a-z]+", PAGE)))
