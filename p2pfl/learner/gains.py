"""What a peer gains by joining: two models on its own test rows, and how sure that is.

The interval is a bootstrap over rows (Efron, 1979), paired: both models are measured on the same
drawn rows, so what makes a row hard for both of them falls out.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from p2pfl.learner.engines.base import NotMeasurable
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, OwnReadings
from p2pfl.learner.metrics import Float64s, PrimaryMetric
from p2pfl.learner.peer_models import PeerModel
from p2pfl.learner.streams import Integers, integers_below, raw_draws

DRAWS = 1000
"""Of the rows, for a figure that is a mean over rows: the ends of an interval are then off by a
few hundredths of its length."""

DRAWS_OF_OTHERS = 200
"""For a figure that the task has to work out anew from each draw."""

UNSURE = 0.05
"""Half of it is cut off on each side: 95% intervals."""


class Gain(NamedTuple):
    """One peer's figures on its own test rows; None where they cannot be told.

    Attributes:
        joint: of the model made together.
        local: of its own, trained on its own rows alone.
        pooled: of one trained on all rows.
        gain: of joint over local; above 0 joint is better, whichever direction is.
        low, high: its 95% interval; both None where the rows cannot tell.
        draws: float64, the gain on each draw of rows; empty where there is no gain.
        pooled_draws: as `draws`, the gain of pooled over joint.
        confusion: of joint, [class][guess]; None where there are no classes.
    """

    joint: float | None
    local: float | None
    pooled: float | None
    gain: float | None
    low: float | None
    high: float | None
    draws: Float64s
    pooled_draws: Float64s
    confusion: list[list[int]] | None


def measure_gains(
    learner: Learner,
    peers: Sequence[int],
    round_number: int,
    *,
    seed: int,
    joint: Sequence[PeerModel | None],
    local: Sequence[PeerModel | None],
    pooled: tuple[Learner, PeerModel] | None,
) -> list[Gain]:
    """Hold each peer's models against each other on its own test rows.

    Args:
        learner: knows the rows.
        peers: indices.
        round_number: after which the models are, for people.
        seed: of the draws of rows.
        joint: each peer's model made together, with its own state; None where it has none.
        local: each peer's own model; None where there is none.
        pooled: the learner of all rows, and its model; None where there is none.
    """
    reads = [_read(learner, peers, models, round_number) for models in (joint, local)]
    of_all = [None] * len(peers) if pooled is None else [pooled[1]] * len(peers)
    reads.append(_read(learner if pooled is None else pooled[0], peers, of_all, round_number))
    gains = []
    for place, peer in enumerate(peers):
        one, other, third = (read[place] for read in reads)
        gains.append(_gain(learner.primary, f"{seed}/{peer}/bootstrap", one, other, third))
    return gains


def interval(draws: Float64s) -> tuple[float | None, float | None]:
    """Return the 95% interval of drawn figures; None, None where most of them say nothing."""
    known = draws[~np.isnan(draws)]
    if len(known) <= len(draws) / 2:
        return None, None
    low, high = np.quantile(known, [UNSURE / 2, 1 - UNSURE / 2])
    return float(low), float(high)


class _Reading(NamedTuple):
    readings: OwnReadings
    row_count: int


def _read(
    learner: Learner, peers: Sequence[int], models: Sequence[PeerModel | None], round_number: int
) -> list[_Reading | None]:
    """Run those models that there are, on rows of those peers that have any."""
    there = [
        (place, peer, model)
        for place, (peer, model) in enumerate(zip(peers, models, strict=True))
        if model is not None and learner.test_count(peer)
    ]
    done = learner.read([(peer, model.evaluate(round_number)) for _, peer, model in there])
    found: list[_Reading | None] = [None] * len(peers)
    for (place, peer, _), readings in zip(there, done, strict=True):
        found[place] = _Reading(readings, learner.test_count(peer))
    return found


def _gain(
    primary: PrimaryMetric,
    stream: str,
    joint: _Reading | None,
    local: _Reading | None,
    pooled: _Reading | None,
) -> Gain:
    ours, theirs, third = (_figure(primary.name, it) for it in (joint, local, pooled))
    confusion = None if joint is None or ours is None else joint.readings.confusion()
    draws = pooled_draws = np.zeros(0)
    if joint is not None and ours is not None:
        if local is not None and theirs is not None:
            draws = _drawn(primary, stream, joint, local, ours, theirs)
        if pooled is not None and third is not None:
            pooled_draws = _drawn(primary, stream, pooled, joint, third, ours)
    if ours is None or theirs is None:
        return Gain(ours, theirs, third, None, None, None, draws, pooled_draws, confusion)
    low, high = interval(draws)
    gain = primary.gain(ours, theirs)
    return Gain(ours, theirs, third, gain, low, high, draws, pooled_draws, confusion)


def _figure(name: str, reading: _Reading | None) -> float | None:
    if reading is None:
        return None
    try:
        figure = reading.readings.figures()[name]
    except NotMeasurable:
        return None
    return figure if np.isfinite(figure) else None


def _drawn(
    primary: PrimaryMetric,
    stream: str,
    one: _Reading,
    two: _Reading,
    figure: float,
    other: float,
) -> Float64s:
    """Return the gain of one over two on each draw of the rows, with replacement."""
    ours, theirs = one.readings.values(primary.name), two.readings.values(primary.name)
    if ours is not None and theirs is not None and _are_of(ours, figure) and _are_of(theirs, other):
        differences = (ours - theirs) if primary.larger_is_better else (theirs - ours)
        found: Float64s = differences[_draw(stream, DRAWS, one.row_count)].mean(axis=1)
        return found
    drawn = _draw(stream, DRAWS_OF_OTHERS, one.row_count)
    return np.array(
        [
            primary.gain(*(_drawn_figure(primary.name, it, rows) for it in (one, two)))
            for rows in drawn
        ]
    )


def _drawn_figure(name: str, reading: _Reading, rows: Integers) -> float:
    """Return a figure of some rows; NaN where the task's metrics refuse them.

    An area under a curve may raise where all drawn rows are of one class: such a draw says nothing.
    """
    try:
        return reading.readings.figures(rows)[name]
    except LearningError:
        return math.nan


def _are_of(values: Float64s, figure: float) -> bool:
    """Tell whether a task's figure is the mean of these: it may call another thing by the name."""
    return bool(abs(values.mean() - figure) < 1e-9)


def _draw(stream: str, draws: int, rows: int) -> Integers:
    return integers_below(rows, raw_draws([stream], draws * rows)).reshape(draws, rows)


class Mean(NamedTuple):
    """A mean over peers, each counting alike, with its 95% interval over rows."""

    mean: float
    low: float | None
    high: float | None


def mean_gain(gains: Sequence[Gain]) -> Mean | None:
    """Return the mean gain of joint over local; None where none is known."""
    return _mean([(it.gain, it.draws) for it in gains if it.gain is not None])


def mean_pooled_gain(primary: PrimaryMetric, gains: Sequence[Gain]) -> Mean | None:
    """Return the mean gain of pooled over joint; None where none is known."""
    return _mean(
        [
            (primary.gain(it.pooled, it.joint), it.pooled_draws)
            for it in gains
            if it.pooled is not None and it.joint is not None
        ]
    )


def _mean(found: Sequence[tuple[float, Float64s]]) -> Mean | None:
    if not found:
        return None
    draws: npt.NDArray[np.float64] = np.stack([drawn for _, drawn in found])
    counts = (~np.isnan(draws)).sum(axis=0)
    means = np.where(counts > 0, np.nansum(draws, axis=0) / np.maximum(counts, 1), np.nan)
    return Mean(float(np.mean([gain for gain, _ in found])), *interval(means))
