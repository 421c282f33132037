"""Fixtures of the command line's tests; and no test depends on how long it takes."""

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer.main
from calling import Ended, P2pfl
from hypothesis import settings

from p2pfl.cli.main import main

if TYPE_CHECKING:
    from example_runs import RunMaker

command_of = cache(typer.main.get_command)
"""Typer reads all commands' signatures for each call: most of the time that a short one takes."""

settings.register_profile("p2pfl", deadline=None)
settings.load_profile("p2pfl")


@pytest.fixture
def p2pfl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> P2pfl:
    """Call `p2pfl` with arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("typer.main.get_command", command_of)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["p2pfl", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, printed.out, printed.err)

    return call


@pytest.fixture
def forked_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launched runs in this process have peers that fork, which takes a third of the time."""
    from forked_peers import LAUNCHING

    monkeypatch.setattr("p2pfl_simulations.launch.processes.subprocess", LAUNCHING)


@pytest.fixture(scope="session")
def make_run() -> "RunMaker":
    """Make runs by hand."""
    from example_runs import make_example  # The simulator: others need not wait for it.

    return make_example
