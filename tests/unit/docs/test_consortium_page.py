"""docs/consortium.md: its commands and its charter are ones that there are."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from calling import P2pfl

from p2pfl.charter.form import make_form, read_form

PAGE = (Path(__file__).parents[3] / "docs/consortium.md").read_text()
COMMANDS = sorted(
    {
        line
        for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("p2pfl ")
    }
)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_takes_what_the_page_gives_it(p2pfl: P2pfl, line: str) -> None:
    _, group, name, *rest = shlex.split(line)
    told = p2pfl(group, name, "--help")
    assert told.code == 0, told.err
    for word in rest:
        if word.startswith("--"):
            assert re.search(rf"{word}\b", told.out), word


@pytest.fixture(scope="module")
def said() -> str:
    """All that the product can say: its texts on one line each, values as dots."""
    sources = "".join(
        path.read_text() for folder in ("p2pfl", "gossip", "crypto") for path in sources_of(folder)
    )
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)
    return re.sub(r"\{[^{}]*\}", "...", joined)


def sources_of(folder: str) -> list[Path]:
    return sorted((Path(__file__).parents[3] / folder).rglob("*.py"))


FAULTS = re.findall(
    r"^\| (?!fault|-)(.*?) \| (.*) \|$", PAGE.partition("## What goes wrong")[2], re.MULTILINE
)


@pytest.mark.parametrize("fault", [fault for fault, _ in FAULTS])
def test_what_the_page_says_of_a_fault_is_what_is_said(said: str, fault: str) -> None:
    (line,) = [told for name, told in FAULTS if name == fault]
    phrases = [it for it in re.findall(r"`([^`]+)`", line) if it != "verify"]
    assert phrases
    assert [it for it in phrases if it not in said] == []


def test_the_charter_of_the_page_is_one() -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    form = make_form(tomllib.loads(toml), source="page")
    assert form.bounds.settings == {"training.learning_rate": (0.01, 1.0)}
    assert form.averaging.weights == "samples"


def test_the_charter_of_the_example_is_one() -> None:
    form = read_form(Path(__file__).parents[3] / "examples/consortium/group.toml")
    assert (form.name, form.task.name) == ("readmissions", "readmissions:Readmissions")
    assert form.training.learning_rate == 0.3


def test_each_command_that_a_table_names_is_there(p2pfl: P2pfl) -> None:
    named = sorted(set(re.findall(r"`p2pfl ([a-z]+) ([a-z]+)", PAGE)))
    assert len(named) > 8
    for group, name in named:
        assert p2pfl(group, name, "--help").code == 0, (group, name)
