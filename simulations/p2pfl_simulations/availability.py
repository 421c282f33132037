"""Peers that are there when a model or a trace says so."""

import csv
import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from random import Random

from p2pfl.plugins import InputFile, make_plugin, plugin_faults
from p2pfl_simulations.draws import stream
from p2pfl_simulations.fault_settings import AvailabilitySettings
from p2pfl_simulations.plugins import AVAILABILITIES, Availability
from p2pfl_simulations.testbed import PeerHandle, Testbed

TRIED = 8
"""Times of a peer that are looked at before a run begins."""


class AvailabilityTrace(Availability):
    """Times from a CSV file with columns peer, from_s and to_s; a peer without any is always there.

    With `repeat_s` the trace comes again and again.
    """

    file: InputFile
    repeat_s: float | None = None
    """Length of the trace in seconds, after which it begins again."""

    def online(self, peer: int, rng: Random) -> Iterator[tuple[float, float]]:
        """Return a peer's rows, in order of time."""
        times = self._times.get(peer, [(0.0, math.inf)])
        shift = 0.0
        while True:
            for from_s, to_s in times:
                yield from_s + shift, to_s + shift
            if self.repeat_s is None or math.isinf(times[-1][1]):
                return
            shift += self.repeat_s

    @cached_property
    def _times(self) -> dict[int, list[tuple[float, float]]]:
        found: dict[int, list[tuple[float, float]]] = {}
        with self.file.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = {"peer", "from_s", "to_s"}.difference(rows.fieldnames or ())
            if missing:
                raise ValueError(f"{self.file} has no column {min(missing)!r}")
            for row in rows:
                try:
                    times = found.setdefault(int(row["peer"]), [])
                    times.append((float(row["from_s"]), float(row["to_s"])))
                except (TypeError, ValueError):
                    raise ValueError(
                        f"{self.file}, line {rows.line_num}: peer, from_s and to_s are numbers"
                    ) from None
        ends = [it[-1][1] for it in map(sorted, found.values())]
        if self.repeat_s is not None and self.repeat_s < max(ends, default=0.0):
            raise ValueError(f"repeat_s = {self.repeat_s:g} is before the end of {self.file}")
        return {peer: sorted(times) for peer, times in found.items()}


class Attendance:
    """Takes peers offline and brings them back, as an availability model says.

    Args:
        settings: which model.
        peers: how many there are.
        seed: of the scenario.
        folder: where an own model is imported from.

    Raises:
        PluginError: the model cannot be used, or its times are none.
    """

    def __init__(
        self, settings: AvailabilitySettings, *, peers: int, seed: int, folder: Path | None
    ) -> None:
        self._settings = settings
        self._model: Availability = make_plugin(
            AVAILABILITIES, settings.plugin, settings.options, folder
        )
        self._seed, self._peers = seed, peers
        self._world: Testbed
        for peer in range(peers):
            times = self._times(peer)
            for _ in range(TRIED):
                if next(times, None) is None:
                    break

    def start(self, world: Testbed) -> None:
        """Plan each peer's first going and coming."""
        self._world = world
        for host in world.hosts:
            times = self._times(host.index)
            from_s, to_s = next(times, (math.inf, math.inf))
            if from_s > 0:
                world.queue.call_at(0.0, self._go, host)
            self._plan(host, times, from_s, to_s)

    def _plan(
        self, host: PeerHandle, times: Iterator[tuple[float, float]], from_s: float, to_s: float
    ) -> None:
        if from_s > 0 and math.isfinite(from_s):
            self._world.queue.call_at(from_s, self._come, host)
        if math.isfinite(to_s):
            self._world.queue.call_at(to_s, self._end, host, times)

    def _end(self, host: PeerHandle, times: Iterator[tuple[float, float]]) -> None:
        self._go(host)
        self._plan(host, times, *next(times, (math.inf, math.inf)))

    def _go(self, host: PeerHandle) -> None:
        self._world.take_offline(host, "availability", kills=self._settings.kills)

    def _come(self, host: PeerHandle) -> None:
        self._world.bring_online(host, "availability")

    def _times(self, peer: int) -> Iterator[tuple[float, float]]:
        """Yield a peer's times, checked."""
        with plugin_faults(AVAILABILITIES, self._settings.plugin):
            found: Iterable[tuple[float, float]] = self._model.online(
                peer, stream(self._seed, f"availability/{peer}")
            )
            before_s = -math.inf
            for from_s, to_s in found:
                if not (before_s <= from_s < to_s and from_s >= 0):
                    raise ValueError(
                        f"peer {peer} is there from {from_s:g} to {to_s:g} s, after {before_s:g} s:"
                        " times ascend"
                    )
                before_s = to_s
                yield float(from_s), float(to_s)
