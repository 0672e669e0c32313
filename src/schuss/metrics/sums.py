"""What metrics are computed from: sums over rows that come block by block, all weighted, all in float64.

Each class has `add`, which takes the rows of a block: actual values and predictions, numbers [n, T] and [..., n, T], or
class numbers [n] and probabilities [..., n, classes]; and weights [n] or None. Predictions may have axes in front, such
as one of epochs, the same in every block: what is found then has these axes.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import Floats, Mask, Matrix, Outputs, Vector
from schuss.losses import Loss


class Sums(Protocol):
    """What is kept of the rows so far."""

    def add(self, actual: NDArray[Any], predicted: Floats, weights: Vector | None = None) -> None:
        """Takes in the rows of a block."""


class LossScores:
    """Average and total loss, Σ w L / Σ w and Σ w L; the average is not a number while no row has a weight.

    unit: (a, b), where what is reported of a row is a · L + b; see Loss.unit.
    """

    def __init__(self, loss: Loss, unit: tuple[float, float] = (1.0, 0.0)) -> None:
        self._loss, self._unit, self._weight = loss, unit, 0.0
        self._total: Floats = np.zeros(1)

    def add(self, targets: Matrix, outputs: Outputs, weights: Vector | None = None) -> None:
        """Targets [n, T] and outputs [epochs, n, K] as the loss takes them, weights [n] or None."""
        epochs, count, width = outputs.shape
        flat = np.broadcast_to(targets, (epochs, *targets.shape)).reshape(-1, targets.shape[1])
        losses = self._loss.value(outputs.reshape(epochs * count, width), flat).reshape(epochs, count)
        weight = None if weights is None else weights.astype(np.float64)
        self._total = self._total + [own.sum() if weight is None else own @ weight for own in losses]
        self._weight += total_weight(count, weights)

    def scores(self) -> dict[str, Floats]:
        """The scores `loss` and `total_loss`, [epochs]."""
        factor, shift = self._unit
        total = factor * self._total + shift * self._weight
        return {"loss": total / (self._weight or np.nan), "total_loss": total}


class Means:
    """Σ w f / Σ w, with f of each row: actual values and predictions -> [..., n, columns]."""

    def __init__(self, of_rows: Callable[[NDArray[Any], Floats], Floats | Mask]) -> None:
        self._of_rows, self._weight = of_rows, 0.0
        self._total: Floats = np.zeros(1)

    def add(self, actual: NDArray[Any], predicted: Floats, weights: Vector | None = None) -> None:
        """As Sums."""
        self._total = self._total + summing(weights)(self._of_rows(actual, predicted))
        self._weight += total_weight(len(actual), weights)

    def means(self) -> Floats:
        """[..., columns], not a number while no row has a weight."""
        return self._total / (self._weight or np.nan)


class Moments:
    """Mean and Σ w (value − mean)² of columns, merged block by block after Chan, Golub and LeVeque (1979)."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.mean: Floats = np.zeros(1)  # [..., columns], as those below
        self.spread: Floats = np.zeros(1)
        self._least, self._most = np.full(1, np.inf), np.full(1, -np.inf)

    def add(self, values: Floats, weights: Vector | None = None) -> None:
        """Values [..., n, columns]."""
        weight, summed = total_weight(values.shape[-2], weights), summing(weights)
        if not weight:
            return
        mean = summed(values) / weight
        apart, share = mean - self.mean, weight / (self.weight + weight)
        within = summed((values - mean[..., np.newaxis, :]) ** 2)
        self.spread = self.spread + within + apart * (apart * (self.weight * share))
        self.mean = self.mean + apart * share
        self.weight += weight
        counted = values if weights is None else values[..., weights > 0, :]
        self._least = np.minimum(self._least, counted.min(axis=-2))
        self._most = np.maximum(self._most, counted.max(axis=-2))

    def spread_or_nan(self) -> Floats:
        """The spread, not a number where all values are the same."""
        return np.where((self._most > self._least) & (self.spread > 0), self.spread, np.nan)


class Residuals:
    """Σ w r² and Σ w |r| with r = actual − predicted, and the moments of the actual values."""

    def __init__(self) -> None:
        self.actual = Moments()
        self._squares: Floats = np.zeros(1)  # [..., T], as below
        self._sizes: Floats = np.zeros(1)

    def add(self, actual: Matrix, predicted: Floats, weights: Vector | None = None) -> None:
        """As Sums."""
        residual, summed = actual - predicted, summing(weights)
        self._squares = self._squares + summed(residual**2)
        self._sizes = self._sizes + summed(np.abs(residual))
        self.actual.add(actual, weights)

    def squares(self) -> Floats:
        """Σ w r² / Σ w, [..., T]."""
        return self._squares / (self.actual.weight or np.nan)

    def sizes(self) -> Floats:
        """Σ w |r| / Σ w, [..., T]."""
        return self._sizes / (self.actual.weight or np.nan)


class Spreads:
    """The moments of actual values and of residuals."""

    def __init__(self) -> None:
        self.actual, self.residual = Moments(), Moments()

    def add(self, actual: Matrix, predicted: Floats, weights: Vector | None = None) -> None:
        """As Sums."""
        self.actual.add(actual, weights)
        self.residual.add(actual - predicted, weights)


class Greatest:
    """The greatest |actual − predicted| of the rows with a weight."""

    def __init__(self) -> None:
        self.greatest: Floats = np.full(1, np.nan)  # [..., T]

    def add(self, actual: Matrix, predicted: Floats, weights: Vector | None = None) -> None:
        """As Sums."""
        counts = slice(None) if weights is None else weights > 0
        sizes = np.abs(actual - predicted)[..., counts, :]
        if sizes.size:
            self.greatest = np.fmax(self.greatest, sizes.max(axis=-2))  # a residual that is no number stays out


class ClassCounts:
    """Σ w of the rows of each class, of those that are taken for it, and of those that are both; [..., classes]."""

    def __init__(self) -> None:
        self.actual: Floats = np.zeros(1)
        self.predicted: Floats = np.zeros(1)
        self.both: Floats = np.zeros(1)

    def add(self, actual: NDArray[np.int64], predicted: Floats, weights: Vector | None = None) -> None:
        """As Sums."""
        classes, chosen = predicted.shape[-1], predicted.argmax(axis=-1)
        weight = np.ones(len(actual)) if weights is None else weights.astype(np.float64)
        front = chosen.shape[:-1]
        each = chosen.reshape(math.prod(front), len(actual))
        counts = [np.bincount(own, weight, classes) for own in each]
        hits = [np.bincount(own, weight * (own == actual), classes) for own in each]
        self.actual = self.actual + np.bincount(actual, weight, classes)
        self.predicted = self.predicted + np.reshape(counts, (*front, classes))
        self.both = self.both + np.reshape(hits, (*front, classes))


class Confidence:
    """Σ w, Σ w p and Σ w (p's class came) of rows by the greatest probability p, in bins of equal width."""

    def __init__(self, bins: int) -> None:
        self._bins = bins
        self._gaps: Floats = np.zeros(1)  # [..., bins] Σ w ((p's class came) − p)
        self._weight = 0.0

    def add(self, actual: NDArray[np.int64], predicted: Floats, weights: Vector | None = None) -> None:
        """As Sums."""
        greatest = predicted.max(axis=-1)
        gap = (predicted.argmax(axis=-1) == actual) - greatest
        weight = 1.0 if weights is None else weights.astype(np.float64)
        place = np.clip(np.ceil(greatest * self._bins).astype(np.int64) - 1, 0, self._bins - 1)
        front = greatest.shape[:-1]
        flat = math.prod(front), len(actual)
        rows = zip((gap * weight).reshape(flat), place.reshape(flat), strict=True)
        self._gaps = self._gaps + np.reshape(
            [np.bincount(at, own, self._bins) for own, at in rows], (*front, self._bins)
        )
        self._weight += total_weight(len(actual), weights)

    def error(self) -> Floats:
        """Σ over bins |Σ w ((p's class came) − p)| / Σ w, [...]."""
        return np.asarray(np.abs(self._gaps).sum(axis=-1) / (self._weight or np.nan))


class Everything:
    """All rows: some 8 bytes for each number of theirs."""

    def __init__(self) -> None:
        self._actual: list[NDArray[Any]] = []
        self._predicted: list[Floats] = []
        self._weights: list[Vector] = []

    def add(self, actual: NDArray[Any], predicted: Floats, weights: Vector | None = None) -> None:
        """As Sums."""
        self._actual.append(actual)
        self._predicted.append(predicted)
        self._weights.append(np.ones(len(actual)) if weights is None else weights.astype(np.float64))

    def rows(self) -> tuple[NDArray[Any], Floats, Vector]:
        """Actual values, predictions and weights, as they are added."""
        axis = self._predicted[0].ndim - 2
        return np.concatenate(self._actual), np.concatenate(self._predicted, axis), np.concatenate(self._weights)


def summing(weights: Vector | None) -> Callable[[Floats | Mask], Floats]:
    """The weighted sum of each column, [..., columns] float64, as a function of [..., n, columns]."""
    if weights is None:
        return lambda values: np.asarray(values.sum(axis=-2, dtype=np.float64))
    weight = weights.astype(np.float64)[:, np.newaxis]
    return lambda values: np.asarray((values * weight).sum(axis=-2))


def total_weight(count: int, weights: Vector | None) -> float:
    """Σ w, the number of rows where no weights were given."""
    return float(count) if weights is None else float(weights.sum(dtype=np.float64))
