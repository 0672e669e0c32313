"""How good quantiles are: the pinball loss of each level, and how many rows lie below it."""

from collections.abc import Sequence

import numpy as np

from schuss.arrays import Floats, Matrix, Vector
from schuss.metrics.sums import summing, total_weight


class LevelScores:
    """Of each level τ the pinball loss, the average of max(τ r, (τ − 1) r), and its coverage.

    The coverage is the share of rows whose actual value is at most the quantile, which should be τ; r = actual −
    quantile.
    """

    def __init__(self, levels: Sequence[float]) -> None:
        self._levels, self._weight = np.array(levels), 0.0
        self._pinball: Floats = np.zeros(1)
        self._covered: Floats = np.zeros(1)

    def add(self, actual: Matrix, predicted: Floats, weights: Vector | None = None) -> None:
        """Actual values [n, 1] and quantiles [..., n, levels] in the target's units, weights [n] or None."""
        residual, summed = actual - predicted, summing(weights)
        self._pinball = self._pinball + summed(np.maximum(self._levels * residual, (self._levels - 1) * residual))
        self._covered = self._covered + summed(residual <= 0)
        self._weight += total_weight(len(actual), weights)

    def scores(self) -> dict[str, Floats]:
        """The scores "pinball of LEVEL" and "coverage of LEVEL" for each level, [...]."""
        sums, weight = {"pinball": self._pinball, "coverage": self._covered}, self._weight or np.nan
        return {
            f"{name} of {level:g}": found[..., place] / weight
            for name, found in sums.items()
            for place, level in enumerate(self._levels)
        }
