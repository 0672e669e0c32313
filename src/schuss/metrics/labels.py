"""How good labels are that a row may have several of."""

import numpy as np

from schuss.arrays import Floats, Matrix, Vector
from schuss.metrics.sums import summing, total_weight


class LabelScores:
    """Of targets that are true or false each: the share of them that is told right, and of rows where all are."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._right: Floats = np.zeros(1)  # Σ w of each target
        self._whole: Floats = np.zeros(1)

    def add(self, actual: Matrix, probabilities: Floats, weights: Vector | None = None) -> None:
        """Labels [n, T] of 0 and 1, probabilities [..., n, T] that they are 1, weights [n] or None."""
        right, summed = (probabilities > 0.5) == (actual == 1), summing(weights)
        self._right = self._right + summed(right)
        self._whole = self._whole + summed(right.all(axis=-1, keepdims=True))[..., 0]
        self._weight += total_weight(len(actual), weights)

    def scores(self) -> dict[str, Floats]:
        """The scores `accuracy` and `accuracy of rows`, [...]."""
        weight = self._weight or np.nan
        return {"accuracy": self._right.mean(axis=-1) / weight, "accuracy of rows": self._whole / weight}
