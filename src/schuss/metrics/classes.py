"""Metrics of classes, from probabilities: a row is taken for the class of its greatest probability."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import Floats
from schuss.errors import SettingError
from schuss.metrics.ranking import Ranking, Rankings
from schuss.metrics.sums import ClassCounts, Confidence, Means, Sums

_TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class _OfClasses:
    """What they share: more is better unless one says otherwise."""

    tasks: ClassVar[tuple[str, ...]] = ("binary", "multiclass")
    greater_is_better: ClassVar[bool] = True
    differences: ClassVar[bool] = False

    def sums(self) -> Callable[[], Sums]:
        """What makes the sums; metrics of the same one share them."""
        return ClassCounts

    def score(self, sums: Any) -> Floats:
        """One number, [...]."""
        raise NotImplementedError


@dataclass(frozen=True)
class _MeanOfRows(_OfClasses):
    """The weighted mean of one number of each row."""

    def sums(self) -> Callable[[], Sums]:
        """A mean of its own."""
        return partial(Means, lambda actual, predicted: self.of_rows(actual, predicted)[..., np.newaxis])

    def score(self, sums: Means) -> Floats:
        """As _OfClasses."""
        return np.asarray(sums.means()[..., 0])

    def of_rows(self, actual: NDArray[np.int64], predicted: Floats) -> NDArray[Any]:
        """Class numbers [n], probabilities [..., n, classes] -> [..., n]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Accuracy(_MeanOfRows):
    """The share of the rows that are taken for their class."""

    name: ClassVar[str] = "accuracy"
    words: ClassVar[str] = "accuracy"

    def of_rows(self, actual: NDArray[np.int64], predicted: Floats) -> NDArray[Any]:
        """Whether it is."""
        return np.asarray(predicted.argmax(axis=-1) == actual)


@dataclass(frozen=True)
class LogLossScore(_MeanOfRows):
    """−Σ w log p / Σ w, with p of the class that came, at least 2.2e-16."""

    name: ClassVar[str] = "log_loss"
    words: ClassVar[str] = "log loss"
    greater_is_better: ClassVar[bool] = False

    def of_rows(self, actual: NDArray[np.int64], predicted: Floats) -> NDArray[Any]:
        """−log p."""
        return np.asarray(-np.log(np.clip(_of_actual(actual, predicted), _TINY, 1)))


@dataclass(frozen=True)
class Brier(_MeanOfRows):
    """Σ w Σ_k (p_k − [k came])² / Σ w, half of it for two classes: then it is (p − [came])² (Brier 1950)."""

    name: ClassVar[str] = "brier"
    words: ClassVar[str] = "Brier score"
    greater_is_better: ClassVar[bool] = False

    def of_rows(self, actual: NDArray[np.int64], predicted: Floats) -> NDArray[Any]:
        """The squares."""
        squares = (predicted - (actual[:, np.newaxis] == np.arange(predicted.shape[-1]))) ** 2
        return np.asarray(squares.sum(axis=-1) / (2 if predicted.shape[-1] == 2 else 1))


@dataclass(frozen=True)
class BalancedAccuracy(_OfClasses):
    """The mean, over the classes that came, of the share of their rows that are taken for them."""

    name: ClassVar[str] = "balanced_accuracy"
    words: ClassVar[str] = "balanced accuracy"

    def score(self, sums: ClassCounts) -> Floats:
        """As _OfClasses."""
        came = sums.actual > 0
        return _mean_of(sums.both / np.where(came, sums.actual, 1), came)


@dataclass(frozen=True)
class _OfCounts(_OfClasses):
    """A share of the rows of each class; of two classes that of the second is meant, of more the mean (macro).

    The mean is over classes that came or that a row is taken for; a share of no rows is 0.

    average: macro takes the mean for two classes too.
    """

    average: str = "auto"

    def __post_init__(self) -> None:
        if self.average not in ("auto", "macro"):
            raise SettingError(f"average is {self.average!r}: it must be auto or macro.")

    def score(self, sums: ClassCounts) -> Floats:
        """As _OfClasses."""
        shares = self._shares(sums.actual, sums.predicted, sums.both)
        counted = np.broadcast_to((sums.actual + sums.predicted) > 0, shares.shape)
        if shares.shape[-1] == 2 and self.average == "auto":
            known = sums.actual.sum() > 0
            return np.asarray(np.where(known, shares[..., 1], np.nan))
        return _mean_of(shares, counted)

    def _shares(self, actual: Floats, predicted: Floats, both: Floats) -> Floats:
        """[..., classes]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Precision(_OfCounts):
    """Of the rows that are taken for a class, the share that belong to it; see _OfCounts."""

    name: ClassVar[str] = "precision"
    words: ClassVar[str] = "precision"

    def _shares(self, actual: Floats, predicted: Floats, both: Floats) -> Floats:
        return _share(both, predicted)


@dataclass(frozen=True)
class Recall(_OfCounts):
    """Of the rows of a class, the share that are taken for it; see _OfCounts."""

    name: ClassVar[str] = "recall"
    words: ClassVar[str] = "recall"

    def _shares(self, actual: Floats, predicted: Floats, both: Floats) -> Floats:
        return _share(both, actual)


@dataclass(frozen=True)
class F1(_OfCounts):
    """2 / (1/precision + 1/recall); see _OfCounts."""

    name: ClassVar[str] = "f1"
    words: ClassVar[str] = "F1"

    def _shares(self, actual: Floats, predicted: Floats, both: Floats) -> Floats:
        return _share(2 * both, actual + predicted)


@dataclass(frozen=True)
class Correlation(_OfClasses):
    """Matthews' correlation between class and prediction, of several classes too (Gorodkin 2004); 0 if one is constant.

    (c s − Σ t_k p_k) / √((s² − Σ p_k²) (s² − Σ t_k²)), with s = Σ w, c that of hits, t_k, p_k those of a class and of
    what is taken for it.
    """

    name: ClassVar[str] = "mcc"
    words: ClassVar[str] = "MCC"

    def score(self, sums: ClassCounts) -> Floats:
        """As _OfClasses."""
        weight = sums.actual.sum() or np.nan
        actual, predicted, hits = sums.actual / weight, sums.predicted / weight, sums.both.sum(axis=-1) / weight
        # 1 − Σ t² as Σ t (1 − t), which does not cancel
        spread = (actual * (1 - actual)).sum() * (predicted * (1 - predicted)).sum(axis=-1)
        varies = ~(spread <= 0)
        return np.asarray((hits - (actual * predicted).sum(axis=-1)) * varies / np.sqrt(np.where(varies, spread, 1.0)))


@dataclass(frozen=True)
class AreaUnderCurve(_OfClasses):
    """The area under the ROC curve of the second class; of several, the mean of each class against the others.

    Exact up to 2^20 rows (divided by classes), then from bins: see Ranking.areas.
    """

    name: ClassVar[str] = "auc"
    words: ClassVar[str] = "AUC"

    def sums(self) -> Callable[[], Sums]:
        """A ranking for each class."""
        return Rankings

    def score(self, sums: Rankings) -> Floats:
        """As _OfClasses."""
        return sums.mean(Ranking.areas)


@dataclass(frozen=True)
class AveragePrecision(_OfClasses):
    """The mean precision at each positive row; of several classes, the mean of each class against the others.

    Exact up to 2^20 rows (divided by classes), then from bins: see Ranking.precisions.
    """

    name: ClassVar[str] = "average_precision"
    words: ClassVar[str] = "average precision"

    def sums(self) -> Callable[[], Sums]:
        """A ranking for each class."""
        return Rankings

    def score(self, sums: Rankings) -> Floats:
        """As _OfClasses."""
        return sums.mean(Ranking.precisions)


@dataclass(frozen=True)
class CalibrationError(_OfClasses):
    """Σ over bins of the greatest probability p: |Σ w ((p's class came) − p)| / Σ w (ECE; Guo et al. 2017).

    bins: of equal width, from 1 on; 15 as in the paper.
    """

    bins: int = 15
    name: ClassVar[str] = "ece"
    words: ClassVar[str] = "calibration error"
    greater_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (isinstance(self.bins, int) and self.bins >= 1):
            raise SettingError(f"bins is {self.bins!r}: give a whole number from 1 on.")

    def sums(self) -> Callable[[], Sums]:
        """Bins of its own."""
        return partial(Confidence, self.bins)

    def score(self, sums: Confidence) -> Floats:
        """As _OfClasses."""
        return sums.error()


def _of_actual(actual: NDArray[np.int64], predicted: Floats) -> Floats:
    """The probability of the class that came, [..., n]."""
    return np.asarray(predicted[..., np.arange(len(actual)), actual])


def _share(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole > 0))


def _mean_of(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    """The mean over the last axis of those that are counted; not a number where none is."""
    counts = counted.sum(axis=-1)
    return np.asarray((values * counted).sum(axis=-1) / np.where(counts, counts, np.nan))
