"""A rule of one's own: the mean without the largest and the smallest of each entry."""

import numpy as np
from pydantic import Field

from p2pfl_simulations.plugins import AveragingRule


class TrimmedMean(AveragingRule):
    """The mean of each entry without its largest and smallest values (Yin et al., ICML 2018)."""

    trim: int = Field(default=1, ge=0)
    """Values left out at either end; as many liars among the neighbours can do no harm."""

    def average(self, round, own, heard):
        """Sort the values of each entry, and average those in the middle."""
        models = np.sort([own.vector, *(model.vector for model in heard)], axis=0)
        trim = min(self.trim, (len(models) - 1) // 2)
        return models[trim : len(models) - trim].mean(axis=0)
