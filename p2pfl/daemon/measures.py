"""What a running peer can be measured by, each measure with its name, its kind and what it says.

Names and units follow Prometheus' conventions: a counter only grows and ends in `_total`, a gauge
is what is there now, seconds and bytes are the units. docs/operate.md lists them for operators.
"""

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from typing import NamedTuple

from p2pfl_gossip.peer_state import State

PREFIX = "p2pfl"

OPENING = "opening"
"""A member's state before its group has opened, whatever it waits for."""

ROUND_BOUNDS_S = (1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800)
"""Upper bounds of the round times that are counted together: from a demo's to a long training's."""

LIBP2P_GAUGES = {
    "connections": "Connections to members that stand.",
    "connections_superseded": "Connections that a newer one to the same member has replaced.",
    "dials_in_progress": "Dials under way.",
    "handshakes_in_progress": "Inbound connections that have not said who they are.",
    "streams": "Streams that are open.",
    "unread_bytes": "Bytes that have arrived and were not read.",
}
"""Of what the host counts, that which is there now; all else only grows."""


class MeasureKind(StrEnum):
    """How a measure behaves."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: without prefix and without `_total`.
        kind: see `MeasureKind`.
        help: one sentence.
        values: by the value of `label`; by "" where there is none.
        label: what tells the values apart, or "".
        total: of a histogram: the sum of all that was counted; its values are cumulative counts
            by upper bound.
    """

    name: str
    kind: MeasureKind
    help: str
    values: Mapping[str, float]
    label: str = ""
    total: float = 0.0


class Snapshot(NamedTuple):
    """A peer at one moment: whether it is well, and all its measures."""

    is_healthy: bool
    measures: Sequence[Measure]


@dataclass
class RoundTimes:
    """How long rounds took, from the start of training to the end of averaging, in seconds.

    Attributes:
        ended_at_s: when the last round ended, as Unix time; None before.
    """

    ended_at_s: float | None = None
    _counts: list[int] = field(default_factory=lambda: [0] * (len(ROUND_BOUNDS_S) + 1))
    _total_s: float = 0.0
    _began_s: float | None = None

    def begin(self, now_s: float) -> None:
        """Note that a round has begun."""
        self._began_s = now_s

    def end(self, now_s: float) -> None:
        """Note that the round has ended."""
        self.ended_at_s = time.time()
        if self._began_s is not None:
            taken_s = now_s - self._began_s
            self._counts[bisect_left(ROUND_BOUNDS_S, taken_s)] += 1
            self._total_s += taken_s
            self._began_s = None

    def measure(self) -> Measure:
        """Return all that was counted."""
        values: dict[str, float] = {}
        so_far = 0
        bounds = [str(float(bound)) for bound in ROUND_BOUNDS_S] + ["+Inf"]
        for bound, count in zip(bounds, self._counts, strict=True):
            so_far += count
            values[bound] = so_far
        text = "Seconds that a round took, from the start of training to the end of averaging."
        return Measure("round_seconds", MeasureKind.HISTOGRAM, text, values, total=self._total_s)


def build_info() -> Measure:
    """Say which software runs: the version is the label's value."""
    text = "Always 1; the label names the version of p2pfl."
    return gauge("build_info", text, {version("p2pfl-peer"): 1}, "version")


def state_of(state: str) -> Measure:
    """Say in which state the peer is: 1 for that one, 0 for all others."""
    known = [OPENING, *map(str, State)]
    now = OPENING if state.startswith(OPENING) or state not in known else state
    values = {name: float(name == now) for name in known}
    return gauge("state", "1 for the state that the peer is in, 0 for the others.", values, "state")


def libp2p(metrics: Mapping[str, int]) -> list[Measure]:
    """Take the host's figures apart: what is there now, and what has been counted."""
    gauges = [
        gauge(f"libp2p_{name}", text, metrics.get(name, 0)) for name, text in LIBP2P_GAUGES.items()
    ]
    counts = {name: count for name, count in metrics.items() if name not in LIBP2P_GAUGES}
    text = "What the libp2p host has counted, by name and, after a dot, by reason."
    return [*gauges, counter("libp2p", text, counts, "name")]


def gauge(name: str, text: str, value: float | Mapping[str, float], label: str = "") -> Measure:
    """Make a gauge: of one value, or of several by a label."""
    values = {"": float(value)} if isinstance(value, (int, float)) else value
    return Measure(name, MeasureKind.GAUGE, text, values, label)


def counter(name: str, text: str, counts: Mapping[str, float], label: str) -> Measure:
    """Make a counter of several values by a label."""
    return Measure(name, MeasureKind.COUNTER, text, counts, label)
