"""Commands of other packages, and the product without any."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from peer_groups import make_group, running

ROOT = Path(__file__).parents[3]
ALONE = (ROOT, ROOT / "gossip", ROOT / "crypto", Path(sysconfig.get_path("purelib")))
"""All but the simulations; -S leaves what is installed in place unseen."""
PLUGIN = '''
import typer
app = typer.Typer()

@app.command()
def dance(steps: int = 2) -> None:
    """Dance with all peers."""
    print("danced", steps)

@app.command()
def tasks() -> None:
    """A name that p2pfl has already."""
    print("not to be seen")
'''
TIMEOUT_S = 60.0


def install(folder: Path, source: str, value: str) -> None:
    """Lay a package with a plug-in where the path finds it, as pip would."""
    (folder / "dances.py").write_text(source)
    told = folder / "dances-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: dances\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(f"[p2pfl.commands]\ndances = {value}\n")


def call(*arguments: str, path: tuple[Path, ...] = (), alone: bool = False) -> tuple[int, str, str]:
    """Call `p2pfl` in a process; `alone` leaves the simulations off the path."""
    ended = subprocess.run(
        [sys.executable, *(["-S"] if alone else []), "-m", "p2pfl.cli.main", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, ALONE if alone else path)),
            "COLUMNS": "200",
            "TERM": "dumb",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_plug_in_adds_commands_and_takes_none_away(tmp_path: Path) -> None:
    install(tmp_path, PLUGIN, "dances:app")
    assert call("dance", "--steps", "3", path=(tmp_path,)) == (0, "danced 3\n", "")
    code, out, err = call("--help", path=(tmp_path,))
    assert (code, err) == (0, "")
    assert "Dance with all peers." in out
    assert "A name that p2pfl has already." not in out
    assert "integers" in call("tasks", path=(tmp_path,))[1]


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [
        ("raise RuntimeError('no floor')", "dances:app", "no floor"),
        ("", "dances:app", "module 'dances' has no attribute 'app'"),
        ("app = 7", "dances:app", "dances:app is no typer.Typer"),
        ("", "gone:app", "No module named 'gone'"),
    ],
)
def test_a_broken_plug_in_is_one_line_and_breaks_nothing_else(
    tmp_path: Path, source: str, value: str, reason: str
) -> None:
    install(tmp_path, source, value)
    told = (
        f"the plug-in 'dances' of dances cannot be loaded: {reason}; install dances again, or"
        " remove it\n"
    )
    code, out, err = call("--help", path=(tmp_path,))
    assert (code, err) == (0, f"p2pfl: {told}")
    assert "simulate" in out
    code, out, err = call("dance", path=(tmp_path,))
    assert (code, out, err) == (2, "", f"p2pfl: no command 'dance' here; {told}")


def test_what_the_product_has_itself_loads_no_plug_in(tmp_path: Path) -> None:
    install(tmp_path, "print('loaded')", "dances:app")
    assert "loaded" in call("--help", path=(tmp_path,))[1]
    assert "loaded" not in call("peer", "--help", path=(tmp_path,))[1]


def test_the_product_needs_no_simulations(tmp_path: Path) -> None:
    code, out, err = call("simulate", "quick", alone=True)
    assert (code, out) == (2, "")
    assert "no command 'simulate' here" in err
    assert err.count("\n") == 1
    start = str(tmp_path / "start.safetensors")
    assert call("task", "begin", "integers", start, alone=True)[0] == 0


def test_peers_run_without_the_simulations(tmp_path: Path) -> None:
    with running(*make_group(tmp_path), alone_on=ALONE) as peers:
        for peer in peers:
            peer.until("finished")
        for peer in peers:
            peer.stop()
            assert peer.end() == 0
            assert peer.plain_lines() == []
