"""The life of a consortium with real peers, in short: what examples/consortium/life.py plays."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from forked_peers import LAUNCHING

EXAMPLE = Path(__file__).parents[3] / "examples/consortium"


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(EXAMPLE), *sys.path])
    example = importlib.import_module("life")
    monkeypatch.setattr(example, "subprocess", LAUNCHING)
    playing = example.Life(tmp_path, rounds=1000, shows=False, sealed="")
    yield playing
    playing.close()


def test_five_found_a_group_admit_a_sixth_and_one_leaves(
    life: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    life.found()
    life.admit_a_sixth()
    life.leave()
    life.export()
    told = capsys.readouterr().out
    assert "this member has left the group, as its own governance keys say" in told
    assert "lyon's papers: york leaves the group and asks that later models are not built" in told
    assert "all in order: 6 members, 2 charters" in told  # Lyon's peer has written the second.
    assert "internal: no charter of the group releases it" in told
