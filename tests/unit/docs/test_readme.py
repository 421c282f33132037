"""The README's own task runs as it stands there."""

import re
from pathlib import Path

import pytest

from p2pfl_simulations import load_scenario, run

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_own_task_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (task,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (scenario,) = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert sum(bool(line) for line in task.splitlines()) <= 10
    (tmp_path / "my_task.py").write_text(task)
    assert "\nrounds = 20\n" in scenario
    (tmp_path / "mine.toml").write_text(scenario.replace("rounds = 20", "rounds = 4"))
    monkeypatch.syspath_prepend(tmp_path)
    result = run(load_scenario(str(tmp_path / "mine.toml")), folder=tmp_path)
    assert len(result.rounds) == result.scenario.rounds == 4
    last = result.rounds[-1].own_mean
    assert last is not None
    assert last > 0.7


PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{it.name}" for it in (ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_every_file_that_the_architecture_page_names_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    sources = [
        path.as_posix()
        for top in ("crypto", "gossip", "p2pfl", "simulations")
        for path in (ROOT / top).rglob("*.py")
    ]
    named = set(re.findall(r"[\w/]+\.py\b", page))
    assert len(named) > 20
    for name in named:
        assert any(source.endswith(f"/{name}") for source in sources), name
