"""Rules that pull far models in: the geometric median, and clipping around a centre."""

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.averaging.robust.coordinates import Models, Point, median

WEISZFELD_STEPS_MAX = 100
"""Steps towards the geometric median; ten or twenty are enough, but where models coincide."""

WEISZFELD_CLOSE = 1e-9
"""A step shorter than this share of the models' spread is the last."""

DISTANCE_MIN = 1e-12
"""Share of the spread within which a model counts as being at this distance."""

CLIPPING_STEPS = 3
"""How often the centre moves, as in Karimireddy, He & Jaggi's experiments at most."""


def geometric_median(models: Models) -> Point:
    """Return the point whose distances to all models have the least sum (Weiszfeld, 1937).

    By smoothed steps (Pillutla, Kakade & Harchaoui, IEEE TSP 2022), from the median on.

    Args:
        models: float64[n, d].

    Returns:
        float64[d].
    """
    point = median(models)
    spread = float(np.median(_norms(models - point)))  # The largest would be a liar's to choose.
    if spread == 0.0:
        return point  # Half of the models or more coincide.
    for _ in range(WEISZFELD_STEPS_MAX):
        weights = 1.0 / np.maximum(_norms(models - point), DISTANCE_MIN * spread)
        moved = _weighted_sum(weights / weights.sum(), models)
        step = float(_norms((moved - point)[np.newaxis])[0])
        point = moved
        if step <= WEISZFELD_CLOSE * spread:
            break
    return point


def centred_clipping(models: Models, radius: float | None, centre: Point | None = None) -> Point:
    """Move a centre by the mean of differences to it, each clipped (Karimireddy et al., ICML 2021).

    Departures: the centre begins at the coordinates' median, since models of a cohort have no
    earlier result in common; without a radius, it is the median of the distances.

    Args:
        models: float64[n, d].
        radius: L2 norm that a difference is clipped to; None for the median of all.
        centre: float64[d], where to begin; the coordinates' median if not given.

    Returns:
        float64[d].
    """
    if centre is None:
        centre = median(models)
    for _ in range(CLIPPING_STEPS):
        differences = models - centre
        distances = _norms(differences)
        limit = float(np.median(distances)) if radius is None else radius
        centre = centre + _weighted_sum(_shrinking(distances, limit), differences) / len(models)
    return centre


def self_centred_clipping(
    models: Models, own: int, weights: npt.NDArray[np.float64], faulty: float, radius: float | None
) -> Point:
    """Gossip with what neighbours differ by, clipped: ClippedGossip.

    He, Karimireddy & Jaggi (arXiv 2202.01545): x_i + sum over j of W[i, j] clip(x_j - x_i, radius).
    Without a radius it is sqrt(sum over near j of W[i, j] |x_j - x_i|^2 / faulty), where the near
    neighbours are those that are left when the farthest, of a weight of `faulty` together, are
    taken away.

    Args:
        models: float64[n, d], of this peer and its neighbours.
        own: the row of this peer's.
        weights: float64[n], the mixing weights; they sum to 1.
        faulty: the weight that liars may have together; above 0.
        radius: L2 norm that a difference is clipped to; None for the one above.

    Returns:
        float64[d].
    """
    differences = models - models[own]
    distances = _norms(differences)
    if radius is None:
        near = _near(distances, weights, faulty)
        squares = float((weights[near] * distances[near] ** 2).sum())
        radius = float(np.sqrt(squares / faulty))
    moved = _weighted_sum(weights * _shrinking(distances, radius), differences)
    result: Point = models[own] + moved
    return result


def clipped_sum(models: Models, own: int, weights: npt.NDArray[np.float64], faulty: float) -> Point:
    """Gossip with clipped differences, by the radius of CS+ (Gaucher et al., ICML 2025).

    The radius is the largest distance that is left when the farthest neighbours, of twice the
    weight of liars, are taken away: the liars may be among those, and as many honest ones.

    Args:
        models: float64[n, d], of this peer and its neighbours.
        own: the row of this peer's.
        weights: float64[n], the mixing weights; they sum to 1.
        faulty: the weight that liars may have together; above 0.

    Returns:
        float64[d].
    """
    differences = models - models[own]
    distances = _norms(differences)
    near = _near(distances, weights, 2 * faulty)
    radius = float(distances[near].max()) if near.size else 0.0
    moved = _weighted_sum(weights * _shrinking(distances, radius), differences)
    result: Point = models[own] + moved
    return result


def _near(
    distances: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], taken: float
) -> npt.NDArray[np.int64]:
    """Return who is left, nearest first, when the farthest of at least that weight are gone."""
    order = np.argsort(distances, kind="stable")
    left = np.cumsum(weights[order]) <= weights.sum() - taken + 1e-12
    near: npt.NDArray[np.int64] = order[left].astype(np.int64, copy=False)
    return near


def _weighted_sum(weights: npt.NDArray[np.float64], rows: Models) -> Point:
    """Return the sum over n of weights[n] rows[n].

    Not by BLAS: its bits depend on how many threads it takes, and they wait for each other.
    """
    found: Point = np.einsum("i,ij->j", weights, rows)
    return found


def _norms(rows: Models) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return found


def _shrinking(distances: npt.NDArray[np.float64], radius: float) -> npt.NDArray[np.float64]:
    """Return the factors that shrink differences of such norms to the radius."""
    far = distances > radius
    return np.where(far, radius / np.where(far, distances, 1.0), 1.0)
