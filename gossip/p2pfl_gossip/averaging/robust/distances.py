"""Rules that go by the distances between models: Krum, Multi-Krum and nearest neighbours.

Where two models are equally good, the one with the smaller index is taken.
"""

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.averaging.robust.coordinates import Models, Point


def squared_distances(models: Models) -> npt.NDArray[np.float64]:
    """Return the squared Euclidean distance of each pair of models.

    Taken from differences, not from inner products: equal models are at a distance of exactly 0.

    Args:
        models: float64[n, d].

    Returns:
        float64[n, n], symmetric.
    """
    count = len(models)
    found = np.zeros((count, count))
    for index in range(count - 1):
        differences = models[index + 1 :] - models[index]
        found[index, index + 1 :] = np.einsum("ij,ij->i", differences, differences)
    found += found.T.copy()
    return found


def krum_order(models: Models, liars: int) -> npt.NDArray[np.int64]:
    """Order models by the sum of squared distances to their nearest n - f - 1 others.

    Blanchard et al. (NeurIPS 2017) sum over n - f - 2; one more is what byzfl, and the analysis of
    Allouah et al. (AISTATS 2023), take.
    """
    nearest = np.sort(squared_distances(models), axis=1)[:, 1 : len(models) - liars]
    return np.argsort(nearest.sum(axis=1), kind="stable").astype(np.int64, copy=False)


def krum(models: Models, liars: int) -> Point:
    """Take the one model that is nearest to its neighbours (Blanchard et al., NeurIPS 2017).

    Args:
        models: float64[n, d].
        liars: f; 2 f + 2 < n.

    Returns:
        float64[d]: one of the models.
    """
    chosen: Point = models[krum_order(models, liars)[0]].copy()
    return chosen


def multi_krum(models: Models, liars: int) -> Point:
    """Average the n - f models that Krum has first.

    Args:
        models: float64[n, d].
        liars: f; 2 f + 2 < n.

    Returns:
        float64[d].
    """
    chosen = np.sort(krum_order(models, liars)[: len(models) - liars])
    mean: Point = models[chosen].mean(axis=0)
    return mean


def nearest_neighbour_mixing(models: Models, liars: int) -> Models:
    """Replace each model by the mean of its n - f nearest, itself among them (NNM).

    To be done before a rule (Allouah et al., AISTATS 2023): where members' data differ, so do
    honest models, and a rule takes such a difference for a lie.

    Args:
        models: float64[n, d].
        liars: f; f < n.

    Returns:
        float64[n, d].
    """
    order = np.argsort(squared_distances(models), axis=1, kind="stable")
    nearest = np.sort(order[:, : len(models) - liars], axis=1)
    mixed: Models = np.empty_like(models)
    for index, chosen in enumerate(nearest):  # One by one: n - f models at a time, not n (n - f).
        mixed[index] = models[chosen].mean(axis=0)
    return mixed


def bucketing(models: Models, order: npt.NDArray[np.int64], size: int) -> Models:
    """Average models by twos, or by more, in a drawn order (Karimireddy, He & Jaggi, ICLR 2022).

    To be done before a rule. f liars are then in f of the ceil(n / size) buckets, at most.

    Args:
        models: float64[n, d].
        order: a permutation of 0 .. n - 1.
        size: models of a bucket; the last one may have fewer.

    Returns:
        float64[ceil(n / size), d].
    """
    buckets = [order[at : at + size] for at in range(0, len(order), size)]
    return np.stack([models[np.sort(bucket)].mean(axis=0) for bucket in buckets])
