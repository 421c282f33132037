"""A newcomer's way from own tables to a verdict and a group, as docs/tasks.md has it."""

import re
import shlex
import tomllib
from pathlib import Path
from random import Random

import pytest
from calling import P2pfl
from consortium import founded

from p2pfl.charter.settled import settled
from p2pfl.learner.learner import make_learner

PAGE = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")
SITES = ("berlin", "lyon", "oslo", "rome", "turin")


@pytest.fixture(autouse=True)
def tables(p2pfl: P2pfl) -> None:
    """Write five hospitals' tables, as hospitals have them."""
    del p2pfl  # It has made the folder the present one.
    Path("sites").mkdir()
    for name in SITES:
        draw = Random(name)
        lines = ["patient,age,ward,smoker,admitted,died"]
        for number in range(70):
            age, smokes = draw.randint(20, 95), draw.random() < 0.4
            died = age + 25 * smokes + draw.gauss(0, 8) > 80
            lines.append(
                f"{name}-{number},{age if draw.random() < 0.95 else ''},"
                f"{draw.choice(['surgery', 'medicine', 'oncology'])},{'yes' if smokes else 'no'},"
                f"202{draw.randint(1, 5)}-0{draw.randint(1, 9)}-{draw.randint(10, 28)},{int(died)}"
            )
        Path("sites", f"{name}.csv").write_text("\n".join(lines) + "\n")


def page_blocks(kind: str) -> list[str]:
    """Return the blocks of the section, taken out of their list."""
    section = PAGE.partition("## Own tables, without Python")[2].partition("\n## ")[0]
    found = re.findall(rf"^ *```{kind}\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in found]


def test_the_steps_of_the_page_lead_from_tables_to_a_verdict(p2pfl: P2pfl) -> None:
    described = p2pfl("task", "describe", "sites", "--target", "died")
    assert described.code == 0, described.err
    Path("patients.toml").write_text(described.out)
    tried = p2pfl("task", "try", "patients.toml")
    assert tried.code == 0, tried.err
    assert "made-up rows" in tried.out
    (scenario,) = (block for block in page_blocks("toml") if "peers = 5" in block)
    Path("scenario.toml").write_text(scenario)
    ended = p2pfl("simulate", "scenario.toml", "--rounds", "6", "--quiet", "--out", "run")
    assert ended.code == 0, ended.err
    assert "together" in ended.out
    assert Path("run", "report.html").exists()


def test_the_charter_of_the_page_gives_a_member_its_own_rows(p2pfl: P2pfl) -> None:
    described = p2pfl("task", "describe", "sites", "--target", "died")
    Path("schema/mock").mkdir(parents=True)
    for folder in (Path(), Path("schema")):
        (folder / "patients.toml").write_text(described.out)
    (commands,) = (block for block in page_blocks("") if "p2pfl task pack" in block)
    for line in commands.splitlines()[1:]:
        ended = p2pfl(*shlex.split(line)[1:])
        assert ended.code == 0, ended.err
    (form,) = (block for block in page_blocks("toml") if "first_state" in block)
    agreed = settled(founded(Path(), **tomllib.loads(form)))
    learner = make_learner(
        agreed.learning.of_member(Path("sites/berlin.csv").resolve()),
        peer_count=1,
        seed=agreed.seed,
        folder=Path("schema"),
        threads=1,
    )
    assert 40 <= learner.sample_count(0) < 70
    assert [it.name for it in learner.description.sources] == ["p2pfl-peer", "patients.toml"]


def test_the_schema_and_the_site_file_of_the_page_are_ones() -> None:
    from p2pfl.learner.tabular.schema import make_schema
    from p2pfl.learner.tabular.sites import SiteFile

    blocks = page_blocks("toml")
    (schema,) = (block for block in blocks if block.startswith("target"))
    assert make_schema(tomllib.loads(schema), source="page").target == "died"
    words = [
        SiteFile.model_validate(tomllib.loads(it))
        for it in blocks
        if '= "' in it and (it.startswith(("file", "query")))
    ]
    assert len(words) == 2
