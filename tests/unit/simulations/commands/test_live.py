"""The live display, as a terminal gets it."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from p2pfl_simulations.commands.live import sparkline


def test_a_terminal_shows_the_run_as_it_goes(tmp_path: Path) -> None:
    # Without torch, whose import takes seconds.
    own = ("--rounds", "30", "--set", "learning={task='integers'}")
    command = [sys.executable, "-m", "p2pfl.cli.main", "simulate", "quick", *own]
    terminal, inner = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", "LANG": "C.UTF-8"}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, **settings},
        stdin=inner,
        stdout=inner,
        stderr=inner,
    ) as process:
        os.close(inner)
        shown = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # The other end closed.
                break
            if not part:
                break
            shown += part
    os.close(terminal)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "quick: 8 peers, 30 rounds, task integers, plain cohorts of 4, seed 1" in text
    for stage in ("gossip", "local only", "pooled"):
        assert re.search(rf"{stage} +\S+ +(round \d+ of 30|waits)", text)
    assert re.search(r"accuracy +\d+\.\d % mean +\d+\.\d % worst +[▁-█]+", text)
    assert re.search(r"network +\d of 8 online +\S+ KB sent", text)
    assert "Of 8 peers" in text
    # The cursor is shown again.
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")


def test_a_sparkline_goes_from_lowest_to_highest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0, 5.0], 8) == "▁▁"
    assert sparkline([], 8) == ""
    assert sparkline([0, 1], 8, unicode=False) == "_#"
    long = sparkline([float(n) for n in range(1000)], 8)
    assert (len(long), long[-1]) == (8, "█")
