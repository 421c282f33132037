"""Rules that look at one coordinate after the other (Yin et al., ICML 2018)."""

import numpy as np
import numpy.typing as npt

Models = npt.NDArray[np.float64]
"""float64[n, d]: a model in each row."""

Point = npt.NDArray[np.float64]
"""float64[d]."""


def trimmed_mean(models: Models, liars: int) -> Point:
    """Average what is left of each coordinate without its largest and smallest values.

    Args:
        models: float64[n, d].
        liars: f, how many values are left out at each end; 2 f < n.

    Returns:
        float64[d].
    """
    kept: Point = np.sort(models, axis=0)[liars : len(models) - liars].mean(axis=0)
    return kept


def median(models: Models) -> Point:
    """Take the median of each coordinate; of an even number, the mean of the middle two.

    Args:
        models: float64[n, d].

    Returns:
        float64[d].
    """
    found: Point = np.median(models, axis=0)
    return found
