"""What depends on the order of all rows: areas under curves and medians. Exact up to some rows, then from bins."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import Floats, Mask, Matrix, Vector

_EXACT_ROWS = 1 << 20  # for what is exact: sorting them takes some 90 MB
_BIN_BITS = 20  # of a float32 whose sign is always 0: 8 of the exponent and 12 of the mantissa


class Ranking:
    """Positive and negative rows in the order of their scores.

    Exact up to `exact_rows`, by one sort. Of more rows, sums by bins of `key` of the score as float32 are kept: rows
    that agree in the exponent and the first `bits` − 8 bits of the mantissa, and with 20 bits so differ by less than
    0.025 %, count as ties.

    key: of scores [n] -> [n], at least 0 and never falling; the odds p / (1 − p) of probabilities tell those near 1
        apart as well as those near 0.
    """

    def __init__(
        self, exact_rows: int = _EXACT_ROWS, bits: int = _BIN_BITS, key: Callable[[Floats], Floats] | None = None
    ) -> None:
        self._rows, self._exact_rows, self._bits, self._front = 0, exact_rows, bits, ()
        self._key = key or _odds
        self._kept: list[tuple[Mask, Floats, Vector]] = []
        self._bins: NDArray[np.float64] | None = None  # [-1, 2, bins] Σ w of negative and positive rows

    def add(self, positive: Mask, score: Floats, weights: Vector | None = None) -> None:
        """Whether rows are positive [n], their scores [..., n], weights [n] or None."""
        self._rows, self._front = self._rows + len(positive), score.shape[:-1]
        weight = np.ones(len(positive), np.float32) if weights is None else weights
        score = score.reshape(math.prod(self._front), len(positive))
        self._kept.append((positive, np.ascontiguousarray(score), weight))
        if self._rows > self._exact_rows:
            self._spill()

    def areas(self) -> tuple[Floats, Floats]:
        """The area under the ROC curve, and how far it may be off, [...]; NaN without positive or negative rows.

        It is the share of (positive, negative) pairs in which the positive row has the higher score; ties count half
        (Hanley & McNeil 1982). Bins change it by at most ½ Σ (pairs within a bin) / pairs.
        """
        return self._found(_area_of_rows, _area_of_bins)

    def precisions(self) -> tuple[Floats, Floats]:
        """The average precision, and how far it may be off, [...]; NaN without positive rows.

        Σ over positive rows w · precision / Σ w, with the precision Σ w of positive rows / Σ w among all rows whose
        score is at least theirs. Within a bin it is at least (before) / (before + negatives up to its end), and at most
        (up to its end) / (up to its end + negatives before).
        """
        return self._found(_precision_of_rows, _precision_of_bins)

    def medians(self) -> tuple[Floats, Floats]:
        """The median score of all rows, halfway between two in the middle, and how far it may be off, [...].

        From bins, the middle of a bin stands for what is in it.
        """
        return self._found(_median_of_rows, partial(_median_of_bins, self._bits))

    def _found(self, of_rows: Callable[..., Vector], of_bins: Callable[..., Any]) -> tuple[Floats, Floats]:
        """A value and its bound from what is kept."""
        if self._bins is None:
            positive, score, weight = (np.concatenate(parts, axis=-1) for parts in zip(*self._kept, strict=True))
            value = of_rows(positive, score, weight.astype(np.float64))
            bound = 0 * value
        else:
            value, bound = np.array([of_bins(*own) for own in self._bins]).T
        return value.reshape(self._front), bound.reshape(self._front)

    def _spill(self) -> None:
        """Puts the rows that are kept into the bins."""
        for positive, score, weight in self._kept:
            if self._bins is None:
                self._bins = np.zeros((len(score), 2, 1 << self._bits))
            with np.errstate(over="ignore"):
                key = self._key(score).astype(np.float32)
            place = (key.view(np.int32) >> (31 - self._bits)) + (positive.astype(np.int64) << self._bits)
            for bins, own in zip(self._bins, place, strict=True):
                np.add.at(bins.reshape(-1), own, weight.astype(np.float64))
        self._kept = []


class Rankings:
    """A ranking of probabilities for each class against the others; of two classes that of the second alone."""

    def __init__(self) -> None:
        self._each: list[Ranking] = []

    def add(self, actual: NDArray[np.int64], predicted: Floats, weights: Vector | None = None) -> None:
        """Class numbers [n], probabilities [..., n, classes], weights [n] or None."""
        classes = predicted.shape[-1]
        if not self._each:  # all together keep as many rows and bins as one
            count = 1 if classes == 2 else classes
            bits = max(_BIN_BITS - (count - 1).bit_length(), 8)
            self._each = [Ranking(_EXACT_ROWS // count, bits) for _ in range(count)]
        for number, own in enumerate(self._each, classes - len(self._each) if classes == 2 else 0):
            own.add(actual == number, predicted[..., number], weights)

    def mean(self, found: Callable[[Ranking], tuple[Floats, Floats]]) -> Floats:
        """The mean over classes of what is found of each, those left out where it is not a number; [...]."""
        values = np.array([found(own)[0] for own in self._each])
        known = ~np.isnan(values)
        counts = known.sum(axis=0)
        return np.asarray(np.where(known, values, 0).sum(axis=0) / np.where(counts, counts, np.nan))


class Sizes:
    """A ranking of |actual − predicted|."""

    def __init__(self) -> None:
        self.ranking = Ranking(key=np.asarray)

    def add(self, actual: Matrix, predicted: Floats, weights: Vector | None = None) -> None:
        """Numbers [n, T] and [..., n, T], weights [n] or None."""
        sizes = np.moveaxis(np.abs(actual - predicted), -2, -1)
        self.ranking.add(np.ones(len(actual), np.bool_), sizes, weights)


def _odds(score: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(score / (1 - score))


def _area_of_rows(positive: Mask, score: Matrix, weight: Vector) -> Vector:
    """[epochs] Σ w of a positive row times Σ w of the negative ones below it."""
    is_first, above, negative = _in_order(positive, score, weight)
    until, below = negative.cumsum(axis=-1), _before_ties(is_first, negative)
    is_last = np.roll(is_first, -1, axis=-1)
    not_above = np.minimum.accumulate(np.where(is_last, until, np.inf)[:, ::-1], axis=-1)[:, ::-1]
    won = (above * (0.5 * (below + not_above))).sum(axis=-1)
    return np.asarray(won / _or_nan(above.sum(axis=-1) * until[:, -1]))


def _area_of_bins(below: Vector, above: Vector) -> tuple[Floats, Floats]:
    """The area, with half of the pairs within a bin, and that half as a share of all pairs."""
    half, pairs = 0.5 * (above @ below), _or_nan(above.sum() * below.sum())
    return (above @ np.cumsum(below) - half) / pairs, half / pairs


def _precision_of_rows(positive: Mask, score: Matrix, weight: Vector) -> Vector:
    """[epochs] the mean over positive rows of the precision at their score."""
    is_first, above, negative = _in_order(positive, score, weight)
    found, others = (own.sum(axis=-1, keepdims=True) - _before_ties(is_first, own) for own in (above, negative))
    precision = np.divide(found, found + others, out=np.zeros_like(found), where=above > 0)
    return np.asarray((above * precision).sum(axis=-1) / _or_nan(above.sum(axis=-1)))


def _precision_of_bins(negative: Vector, positive: Vector) -> tuple[Floats, Floats]:
    """The average precision where rows of a bin tie, and the bound that Ranking.precisions tells."""
    used = np.flatnonzero(positive + negative)[::-1]  # from the highest score down
    gained, lost = positive[used], negative[used]
    found, others = gained.cumsum(), lost.cumsum()
    precision = found / (found + others)
    least = (found - gained) / np.maximum(found - gained + others, np.finfo(np.float64).tiny)
    most = found / np.maximum(found + others - lost, np.finfo(np.float64).tiny)
    off = np.maximum(precision - least, most - precision)
    total = _or_nan(gained.sum())
    return gained @ precision / total, gained @ off / total


def _median_of_rows(positive: Mask, score: Matrix, weight: Vector) -> Vector:
    """[epochs] the score that half of the weight does not exceed; halfway to the next where it is half exactly."""
    score, weight = score[:, weight > 0], weight[weight > 0]
    if not len(weight):
        return np.full(len(score), np.nan)
    order = score.argsort(axis=-1)
    until = weight[order].cumsum(axis=-1)
    ordered, half = np.take_along_axis(score, order, axis=-1), until[:, -1:] / 2
    middle = (until < half).sum(axis=-1), (until <= half).sum(axis=-1)
    lower, upper = (np.take_along_axis(ordered, place[:, np.newaxis], axis=-1)[:, 0] for place in middle)
    return np.asarray((lower + upper) / 2)


def _median_of_bins(bits: int, negative: Vector, positive: Vector) -> tuple[Floats, Floats]:
    """The middles of the two bins where half of the weight is reached and passed, halfway, and how far they reach."""
    until = (negative + positive).cumsum()
    if not until[-1]:
        return np.asarray(np.nan), np.asarray(np.nan)
    places = np.searchsorted(until, until[-1] / 2, "left"), np.searchsorted(until, until[-1] / 2, "right")
    edges = (np.add.outer([0, 1], places) << (31 - bits)).astype(np.int32)
    least, most = edges.view(np.float32).astype(np.float64).mean(axis=1)
    return (least + most) / 2, (most - least) / 2


def _in_order(positive: Mask, score: Matrix, weight: Vector) -> tuple[Mask, Matrix, Matrix]:
    """Whether a row is the first of its score, and w of positive and of negative rows, by score; [epochs, n]."""
    order = score.argsort(axis=-1)
    score, weight = np.take_along_axis(score, order, axis=-1), weight[order]
    is_first = np.ones(score.shape, np.bool_)
    np.not_equal(score[:, 1:], score[:, :-1], out=is_first[:, 1:])
    negative = np.where(positive[order], 0.0, weight)
    return is_first, weight - negative, negative


def _before_ties(is_first: Mask, weight: Matrix) -> Matrix:
    """Σ w of the rows of lower scores, [epochs, n]."""
    return np.asarray(np.maximum.accumulate(np.where(is_first, weight.cumsum(axis=-1) - weight, 0.0), axis=-1))


def _or_nan(pairs: Floats) -> Floats:
    """Where there are none, dividing by them gives no number."""
    return np.where(pairs > 0, pairs, np.nan)
