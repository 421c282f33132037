"""The live display of a run: a few lines on a terminal, a line now and then elsewhere."""

import time
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from p2pfl.cli.figures import told_figure
from p2pfl.cli.quantities import data_size, duration, plural
from p2pfl_simulations.results.run import SIMULATED, time_name
from p2pfl_simulations.results.summary import method_name
from p2pfl_simulations.scenario import Scenario

if TYPE_CHECKING:
    from p2pfl_simulations.progress import RunProgress

LINE_EVERY_S = 5.0  # Where there is no terminal.
REWRITE_EVERY_S = 0.25  # In a notebook: each goes through its server to the browser.
SPARK_WIDTH = 32


class Display(Protocol):
    """Shows how far a run is."""

    def __enter__(self) -> "Display":
        """Begin to show."""

    def __exit__(self, *error: object) -> None:
        """Stop, and leave the terminal as it was."""

    def show(self, progress: "RunProgress") -> None:
        """Take the latest news."""


def make_display(scenario: Scenario, *, quiet: bool, world: str = SIMULATED) -> Display:
    """Choose the display for where standard error goes; `world` is that of the run."""
    console = Console(stderr=True)
    if quiet:
        return NoDisplay()
    return (
        TerminalDisplay(scenario, console, world)
        if console.is_terminal
        else LineDisplay(scenario, console, world)
    )


class NoDisplay:
    """Shows nothing."""

    def __enter__(self) -> "NoDisplay":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, progress: "RunProgress") -> None:
        """Take no notice."""


class LineDisplay:
    """Prints a line at the start of each stage, then every few seconds."""

    def __init__(self, scenario: Scenario, console: Console, world: str = SIMULATED) -> None:
        self._scenario, self._console, self._world = scenario, console, world
        self._stage, self._due_s = "", 0.0

    def __enter__(self) -> "LineDisplay":
        self._print(_what(self._scenario))
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, progress: "RunProgress") -> None:
        """Print a line if one is due."""
        now_s = time.monotonic()
        last = progress.round >= progress.rounds
        if progress.stage == self._stage and now_s < self._due_s and not last:
            return
        self._stage, self._due_s = progress.stage, now_s + LINE_EVERY_S
        self._print(describe(progress, self._world))

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)


class InPlaceDisplay:
    """Writes one line over and over, where nothing but a carriage return is understood.

    That is so in a notebook: rich needs widgets there.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._shown, self._due_s = stream, "", 0.0

    def __enter__(self) -> "InPlaceDisplay":
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            self._stream.write("\n")
            self._stream.flush()

    def show(self, progress: "RunProgress") -> None:
        """Write over the line, a few times a second at most, and when a stage is at its end."""
        now_s = time.monotonic()
        if now_s < self._due_s and progress.round < progress.rounds:
            return
        self._due_s = now_s + REWRITE_EVERY_S
        line = describe(progress)
        # What a longer line left is written over by spaces.
        self._stream.write(f"\r{line:<{len(self._shown)}}")
        self._stream.flush()
        self._shown = line


class TerminalDisplay:
    """Keeps a few lines of a terminal up to date."""

    def __init__(self, scenario: Scenario, console: Console, world: str = SIMULATED) -> None:
        self._scenario, self._world = scenario, world
        self._unicode = console.encoding.lower().startswith("utf")
        self._latest: dict[str, RunProgress] = {}
        self._means: list[float] = []
        self._start_s = time.monotonic()
        # Last: it renders at once.
        self._live = Live(
            console=console, transient=True, get_renderable=self._render, refresh_per_second=8
        )

    def __enter__(self) -> "TerminalDisplay":
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, progress: "RunProgress") -> None:
        """Remember what the next refresh shows."""
        self._latest[progress.stage] = progress
        if progress.stage == "gossip" and progress.mean is not None:
            self._means.append(progress.mean)

    def _render(self) -> Group:
        elapsed = duration(int(time.monotonic() - self._start_s))
        bars = Table.grid(padding=(0, 2))
        for stage in ("gossip", *self._scenario_stages()):
            progress = self._latest.get(stage)
            done, of = (progress.round, progress.rounds) if progress else (0, self._scenario.rounds)
            style = "bold" if progress and done < of else "default" if progress else "dim"
            bars.add_row(
                Text(stage, style=style),
                ProgressBar(total=of, completed=done, width=36, finished_style="green"),
                Text(f"round {done} of {of}" if progress else "waits", style=style),
            )
        parts: list[RenderableType] = [
            Text.assemble((_what(self._scenario), "bold"), (f"   {elapsed}", "dim")),
            bars,
        ]
        if gossip := self._latest.get("gossip"):
            parts.append(self._figures(gossip))
        return Group(*parts)

    def _figures(self, progress: "RunProgress") -> Table:
        grid, primary = Table.grid(padding=(0, 2)), progress.primary
        grid.add_row(
            Text(primary.title, style="dim"),
            f"[bold]{told_figure(primary, progress.mean)}[/] mean",
            f"[bold]{told_figure(primary, progress.worst)}[/] worst",
            Text(sparkline(self._means, SPARK_WIDTH, unicode=self._unicode), style="cyan"),
            Text(_so_far(progress).strip(), style="dim"),
        )
        grid.add_row(
            Text("network", style="dim"),
            f"[bold]{progress.online}[/] of {progress.peers} online",
            f"[bold]{data_size(progress.bytes_sent)}[/] sent",
            Text(f"{duration(progress.virtual_s)} of {time_name(self._world)}", style="dim"),
        )
        return grid

    def _scenario_stages(self) -> list[str]:
        names = {"local": "local only", "pooled": "pooled"}
        asked = [names[baseline] for baseline in self._scenario.evaluation.baselines]
        privacy = self._scenario.privacy
        if asked and privacy is not None and privacy.unit == "record":
            asked += ["without noise", "without privacy"]
        return asked


def describe(progress: "RunProgress", world: str = SIMULATED) -> str:
    """Say how far a run is, in one line."""
    line = f"{progress.stage}: round {progress.round} of {progress.rounds}"
    if progress.stage != "gossip":
        return line
    primary = progress.primary
    figures = [f"{progress.online} of {progress.peers} peers online"]
    if progress.mean is not None:
        figures.append(
            f"{primary.title} {told_figure(primary, progress.mean)} mean,"
            f" {told_figure(primary, progress.worst)} worst{_so_far(progress)}"
        )
    figures.append(f"{data_size(progress.bytes_sent)} sent")
    figures.append(f"{duration(progress.virtual_s)} of {time_name(world)}")
    return f"{line}; {'; '.join(figures)}"


def _so_far(progress: "RunProgress") -> str:
    """Say of whom the figures are where they are not of all: a round goes on while others train."""
    some = progress.mean is not None and progress.measured < progress.peers
    return f" of {progress.measured} peers so far" if some else ""


def sparkline(values: list[float], width: int, *, unicode: bool = True) -> str:
    """Draw values as a line of bars from the lowest to the highest, the newest on the right."""
    bars = "▁▂▃▄▅▆▇█" if unicode else "_.-=*#"
    if len(values) > width:
        values = [values[(index + 1) * len(values) // width - 1] for index in range(width)]
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(bars) - 1) / (high - low) if high > low else 0
    return "".join(bars[round((value - low) * scale)] for value in values)


def _what(scenario: Scenario) -> str:
    return (
        f"{scenario.name}: {plural(scenario.peers, 'peer')}, {plural(scenario.rounds, 'round')},"
        f" task {scenario.learning.task}, {method_name(scenario)}, seed {scenario.seed}"
    )
