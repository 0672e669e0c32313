"""Metrics: predictions and actual values -> named scores. All weighted, all in float64.

Each kind of score is a class that sums up what it needs of rows that come block by block: `add`, then `scores`.
Predictions may have axes in front, such as one of epochs, the same in every block: each score then is an array of
these axes.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import Floats, Mask, Matrix, Outputs, Vector
from schuss.losses import Loss

_EXACT_ROWS = 1 << 20  # for an area that is exact: sorting them takes some 90 MB
_BIN_BITS = 20  # of float32's odds, whose sign is always 0: 8 of the exponent and 12 of the mantissa


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
        self._weight += _total(count, weights)

    def scores(self) -> dict[str, Floats]:
        """The scores `loss` and `total_loss`, [epochs]."""
        factor, shift = self._unit
        total = factor * self._total + shift * self._weight
        return {"loss": total / (self._weight or np.nan), "total_loss": total}


class RegressionScores:
    """RMSE, R² and MAE; with several targets each is the mean over targets.

    R² = 1 − Σ w (actual − predicted)² / Σ w (actual − mean)², not a number where the actual values are all the same.
    Means and squares of blocks are merged after Chan, Golub and LeVeque (1979).

    names: of the targets, where each is to have its own "rmse of NAME" too.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names, self._weight = names, 0.0
        self._mean: Floats = np.zeros(1)  # of the actual values, as are those below
        self._spread: Floats = np.zeros(1)  # Σ w (actual − mean)²
        self._least, self._most = np.full(1, np.inf), np.full(1, -np.inf)
        self._squares: Floats = np.zeros(1)  # Σ w r², with r = actual − predicted
        self._sizes: Floats = np.zeros(1)  # Σ w |r|

    def add(self, actual: Matrix, predicted: Floats, weights: Vector | None = None) -> None:
        """Actual values [n, T] and predictions [..., n, T] in the target's units, weights [n] or None."""
        residual, summed = actual - predicted, _summing(weights)
        self._squares = self._squares + summed(residual**2)
        self._sizes = self._sizes + summed(np.abs(residual))
        if weight := _total(len(actual), weights):
            self._merge(actual, weights, weight)

    def _merge(self, actual: Matrix, weights: Vector | None, weight: float) -> None:
        """Takes in the mean and the spread of actual values, whose weights add up to `weight`."""
        summed = _summing(weights)
        mean = summed(actual) / weight
        apart, share = mean - self._mean, weight / (self._weight + weight)
        self._spread = self._spread + summed((actual - mean) ** 2) + apart * (apart * (self._weight * share))
        self._mean = self._mean + apart * share
        self._weight += weight
        counted = actual if weights is None else actual[weights > 0]
        self._least = np.minimum(self._least, counted.min(axis=0))
        self._most = np.maximum(self._most, counted.max(axis=0))

    def scores(self) -> dict[str, Floats]:
        """The scores `rmse`, `r2` and `mae`, and "rmse of NAME" for each name, [...]."""
        weight = self._weight or np.nan
        mse, spread = self._squares / weight, self._spread / weight
        varies = (self._most > self._least) & (spread > 0)
        determination = 1 - mse / np.where(varies, spread, np.nan)
        by_target = {"rmse": np.sqrt(mse), "r2": determination, "mae": self._sizes / weight}
        means = {name: np.asarray(values.mean(axis=-1)) for name, values in by_target.items()}
        return means | {f"rmse of {name}": by_target["rmse"][..., place] for place, name in enumerate(self._names)}


class QuantileScores:
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
        residual, summed = actual - predicted, _summing(weights)
        self._pinball = self._pinball + summed(np.maximum(self._levels * residual, (self._levels - 1) * residual))
        self._covered = self._covered + summed(residual <= 0)
        self._weight += _total(len(actual), weights)

    def scores(self) -> dict[str, Floats]:
        """The scores "pinball of LEVEL" and "coverage of LEVEL" for each level, [...]."""
        sums, weight = {"pinball": self._pinball, "coverage": self._covered}, self._weight or np.nan
        return {
            f"{name} of {level:g}": found[..., place] / weight
            for name, found in sums.items()
            for place, level in enumerate(self._levels)
        }


class ClassScores:
    """Accuracy, and the area under the ROC curve where there are two classes."""

    def __init__(self, classes: int) -> None:
        self._weight, self._area = 0.0, AreaUnderCurve() if classes == 2 else None
        self._hits: Floats = np.zeros(())

    def add(self, actual: Vector, probabilities: Floats, weights: Vector | None = None) -> None:
        """Class numbers [n], probabilities [..., n, classes], weights [n] or None."""
        number = actual.astype(np.int64)
        hit = (probabilities.argmax(axis=-1) == number)[..., np.newaxis]
        self._hits = self._hits + _summing(weights)(hit)[..., 0]
        self._weight += _total(len(number), weights)
        if self._area:
            self._area.add(number == 1, probabilities[..., 1], weights)

    def scores(self) -> dict[str, Floats]:
        """The score `accuracy`, and `auc` of two classes, [...]."""
        found = {"accuracy": self._hits / (self._weight or np.nan)}
        return found | {"auc": self._area.areas()[0]} if self._area else found


class LabelScores:
    """Of targets that are true or false each: the share of them that is told right, and of rows where all are."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._right: Floats = np.zeros(1)  # Σ w of each target
        self._whole: Floats = np.zeros(1)

    def add(self, actual: Matrix, probabilities: Floats, weights: Vector | None = None) -> None:
        """Labels [n, T] of 0 and 1, probabilities [..., n, T] that they are 1, weights [n] or None."""
        right, summed = (probabilities > 0.5) == (actual == 1), _summing(weights)
        self._right = self._right + summed(right)
        self._whole = self._whole + summed(right.all(axis=-1, keepdims=True))[..., 0]
        self._weight += _total(len(actual), weights)

    def scores(self) -> dict[str, Floats]:
        """The scores `accuracy` and `accuracy of rows`, [...]."""
        weight = self._weight or np.nan
        return {"accuracy": self._right.mean(axis=-1) / weight, "accuracy of rows": self._whole / weight}


class AreaUnderCurve:
    """The share of (positive, negative) pairs in which the positive row has the higher score; ties count half.

    Exact up to `exact_rows`, by one sort (Hanley & McNeil 1982). Of more rows, sums by bins of the odds p / (1 − p) are
    kept: rows whose odds agree in the exponent and the first 12 bits of the mantissa of float32, and so differ by less
    than 0.025 %, count as ties. That changes the area by at most ½ Σ (pairs within a bin) / pairs.
    """

    def __init__(self, exact_rows: int = _EXACT_ROWS) -> None:
        self._rows, self._exact_rows, self._front = 0, exact_rows, ()
        self._kept: list[tuple[Mask, Floats, Vector]] = []
        self._bins: NDArray[np.float64] | None = None  # [-1, 2, bins] Σ w of negative and positive rows

    def add(self, positive: Mask, score: Floats, weights: Vector | None = None) -> None:
        """Whether rows are positive [n], the probabilities that they are [..., n], weights [n] or None."""
        self._rows, self._front = self._rows + len(positive), score.shape[:-1]
        weight = np.ones(len(positive), np.float32) if weights is None else weights
        score = score.reshape(math.prod(self._front), -1)
        self._kept.append((positive, np.ascontiguousarray(score), weight))
        if self._rows > self._exact_rows:
            self._spill()

    def areas(self) -> tuple[Floats, Floats]:
        """The area and how far it may be off, [...] both; not a number where positive or negative rows are absent."""
        if self._bins is None:
            positive, score, weight = (np.concatenate(parts, axis=-1) for parts in zip(*self._kept, strict=True))
            area = _area_of_rows(positive, score, weight)
            bound = 0 * area
        else:
            area, bound = np.array([_area_of_bins(*own) for own in self._bins]).T
        return area.reshape(self._front), bound.reshape(self._front)

    def _spill(self) -> None:
        """Puts the rows that are kept into the bins."""
        for positive, score, weight in self._kept:
            if self._bins is None:
                self._bins = np.zeros((len(score), 2, 1 << _BIN_BITS))
            with np.errstate(divide="ignore", over="ignore"):
                odds = (score / (1 - score)).astype(np.float32)  # never falls where the score rises
            place = (odds.view(np.int32) >> (31 - _BIN_BITS)) + (positive.astype(np.int64) << _BIN_BITS)
            for bins, own in zip(self._bins, place, strict=True):
                np.add.at(bins.reshape(-1), own, weight.astype(np.float64))
        self._kept = []


def _area_of_rows(positive: Mask, score: Matrix, weight: Vector) -> Vector:
    """[epochs] from one sort of each row of scores [epochs, n]: Σ w of a positive row times Σ w of what lies below."""
    order = score.argsort(axis=-1)
    score, weight = np.take_along_axis(score, order, axis=-1), weight.astype(np.float64)[order]
    negative = np.where(positive[order], 0.0, weight)
    until = negative.cumsum(axis=-1)
    is_first = np.ones(score.shape, np.bool_)  # of the rows of its score
    np.not_equal(score[:, 1:], score[:, :-1], out=is_first[:, 1:])
    below = np.maximum.accumulate(np.where(is_first, until - negative, 0.0), axis=-1)
    is_last = np.roll(is_first, -1, axis=-1)
    not_above = np.minimum.accumulate(np.where(is_last, until, np.inf)[:, ::-1], axis=-1)[:, ::-1]
    weight -= negative
    won = (weight * (0.5 * (below + not_above))).sum(axis=-1)
    return np.asarray(won / _or_nan(weight.sum(axis=-1) * until[:, -1]))


def _area_of_bins(below: Vector, above: Vector) -> tuple[Floats, Floats]:
    """The area, with half of the pairs within a bin, and that half as a share of all pairs."""
    half, pairs = 0.5 * (above @ below), _or_nan(above.sum() * below.sum())
    return (above @ np.cumsum(below) - half) / pairs, half / pairs


def _or_nan(pairs: Floats) -> Floats:
    """Where there are none, dividing by them gives no number."""
    return np.where(pairs > 0, pairs, np.nan)


def _summing(weights: Vector | None) -> Callable[[Floats | Mask], Floats]:
    """The weighted sum of each column, [..., columns] float64, as a function of [..., n, columns]."""
    if weights is None:
        return lambda values: np.asarray(values.sum(axis=-2, dtype=np.float64))
    weight = weights.astype(np.float64)[:, np.newaxis]
    return lambda values: np.asarray((values * weight).sum(axis=-2))


def _total(count: int, weights: Vector | None) -> float:
    """Σ w, the number of rows where no weights were given."""
    return float(count) if weights is None else float(weights.sum(dtype=np.float64))
