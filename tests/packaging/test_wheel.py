"""The wheel, installed elsewhere, is the whole product."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *build, "--wheel-dir", str(folder), str(ROOT)],
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone in a fresh environment; what it depends on is borrowed."""
    environment = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"),
            *("--no-index", "--disable-pip-version-check", "--quiet", str(wheel)),
        ],
        check=True,
    )
    # A folder named in a .pth file is searched, but .pth files in it are not read: so what is
    # installed in place there, such as this project itself, is not found.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment


def test_what_is_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "p2pfl",
        "p2pfl_crypto",
        "p2pfl_gossip",
        "p2pfl_simulations",
    }
    for package in ("p2pfl", "p2pfl_crypto", "p2pfl_gossip", "p2pfl_simulations"):
        assert f"{package}/py.typed" in names
    assert "p2pfl_simulations/scenarios/hospitals.toml" in names
    assert "p2pfl_simulations/report/style.css" in names


def test_the_command_runs_from_the_wheel_in_another_folder(installed: Path, tmp_path: Path) -> None:
    def p2pfl(*arguments: str) -> str:
        ended = subprocess.run(
            [str(installed / "bin" / "p2pfl"), *arguments],
            cwd=tmp_path,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert "hospitals" in p2pfl("scenarios")
    result = json.loads(p2pfl("simulate", "quick", "--rounds", "2", "--json", "--quiet"))
    assert result["rounds_ended"] == 2
    assert "<svg" in (tmp_path / result["folder"] / "report.html").read_text()
    where = subprocess.run(
        [
            str(installed / "bin" / "python"),
            "-c",
            "import p2pfl_simulations as s; print(s.__file__)",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(installed)
