"""Metrics of numbers; of several targets each is the mean over targets. r = actual − predicted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from schuss.arrays import Floats, Matrix
from schuss.errors import SettingError
from schuss.metrics.ranking import Sizes
from schuss.metrics.sums import Greatest, Means, Residuals, Spreads, Sums

_TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class _OfNumbers:
    """What they share: less is better unless it says otherwise, and the difference of two values is all they need."""

    tasks: ClassVar[tuple[str, ...]] = ("regression",)
    greater_is_better: ClassVar[bool] = False
    differences: ClassVar[bool] = True

    def sums(self) -> Callable[[], Sums]:
        """What makes the sums; metrics of the same one share them."""
        return Residuals

    def by_target(self, sums: Any) -> Floats:
        """One number for each target, [..., T]."""
        raise NotImplementedError

    def score(self, sums: Any) -> Floats:
        """The mean over targets, [...]."""
        return np.asarray(self.by_target(sums).mean(axis=-1))


@dataclass(frozen=True)
class RootMeanSquaredError(_OfNumbers):
    """√(Σ w r² / Σ w)."""

    name: ClassVar[str] = "rmse"
    words: ClassVar[str] = "RMSE"

    def by_target(self, sums: Residuals) -> Floats:
        """As _OfNumbers."""
        return np.sqrt(sums.squares())


@dataclass(frozen=True)
class MeanSquaredError(_OfNumbers):
    """Σ w r² / Σ w."""

    name: ClassVar[str] = "mse"
    words: ClassVar[str] = "MSE"

    def by_target(self, sums: Residuals) -> Floats:
        """As _OfNumbers."""
        return sums.squares()


@dataclass(frozen=True)
class MeanAbsoluteError(_OfNumbers):
    """Σ w |r| / Σ w."""

    name: ClassVar[str] = "mae"
    words: ClassVar[str] = "MAE"

    def by_target(self, sums: Residuals) -> Floats:
        """As _OfNumbers."""
        return sums.sizes()


@dataclass(frozen=True)
class Determination(_OfNumbers):
    """R² = 1 − Σ w r² / Σ w (actual − mean)², not a number where the actual values are all the same."""

    name: ClassVar[str] = "r2"
    words: ClassVar[str] = "R²"
    greater_is_better: ClassVar[bool] = True

    def by_target(self, sums: Residuals) -> Floats:
        """As _OfNumbers."""
        return np.asarray(1 - sums.squares() / (sums.actual.spread_or_nan() / (sums.actual.weight or np.nan)))


@dataclass(frozen=True)
class ExplainedVariance(_OfNumbers):
    """1 − Σ w (r − mean r)² / Σ w (actual − mean)²: R² of predictions whose mean is put right."""

    name: ClassVar[str] = "explained_variance"
    words: ClassVar[str] = "explained variance"
    greater_is_better: ClassVar[bool] = True

    def sums(self) -> Callable[[], Sums]:
        """Two moments."""
        return Spreads

    def by_target(self, sums: Spreads) -> Floats:
        """As _OfNumbers."""
        return np.asarray(1 - sums.residual.spread / sums.actual.spread_or_nan())


@dataclass(frozen=True)
class MedianAbsoluteError(_OfNumbers):
    """The weighted median of |r|; of more than 2^20 rows from bins, within 0.025 % (see Ranking)."""

    name: ClassVar[str] = "median_absolute_error"
    words: ClassVar[str] = "median |error|"

    def sums(self) -> Callable[[], Sums]:
        """A ranking of the sizes."""
        return Sizes

    def by_target(self, sums: Sizes) -> Floats:
        """As _OfNumbers."""
        return sums.ranking.medians()[0]


@dataclass(frozen=True)
class MaxError(_OfNumbers):
    """The greatest |r| of a row with a weight."""

    name: ClassVar[str] = "max_error"
    words: ClassVar[str] = "greatest |error|"

    def sums(self) -> Callable[[], Sums]:
        """The greatest."""
        return Greatest

    def by_target(self, sums: Greatest) -> Floats:
        """As _OfNumbers."""
        return sums.greatest


@dataclass(frozen=True)
class MeanAbsolutePercentageError(_OfNumbers):
    """Σ w |r / actual| / Σ w, where 2.2e-16 stands for an actual value that is closer to 0; 0.1 is 10 %."""

    name: ClassVar[str] = "mape"
    words: ClassVar[str] = "MAPE"
    differences: ClassVar[bool] = False

    def sums(self) -> Callable[[], Sums]:
        """A mean of its own."""
        return partial(Means, lambda actual, predicted: np.abs(actual - predicted) / np.maximum(np.abs(actual), _TINY))

    def by_target(self, sums: Means) -> Floats:
        """As _OfNumbers."""
        return sums.means()


@dataclass(frozen=True)
class TweedieDeviance(_OfNumbers):
    """The mean deviance of the Tweedie distribution of this power p, with y actual and μ predicted (Jørgensen 1987).

    Σ w 2 (y^(2 − p) / ((1 − p)(2 − p)) − y μ^(1 − p) / (1 − p) + μ^(2 − p) / (2 − p)) / Σ w; where p is 1,
    2 (y log(y/μ) − y + μ), where it is 2, 2 (log(μ/y) + y/μ − 1). It is not a number where a prediction is not above
    0, or an actual value is below 0, or with p of 2 or more is 0.

    power: from 1 on.
    """

    power: float = 1.5
    name: ClassVar[str] = "tweedie_deviance"
    words: ClassVar[str] = "Tweedie deviance"
    differences: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 1 <= self.power < np.inf:
            raise SettingError(f"The power of {self.name} is {self.power!r}: give a number from 1 on.")

    def sums(self) -> Callable[[], Sums]:
        """A mean of its own."""
        return partial(Means, self._of_rows)

    def by_target(self, sums: Means) -> Floats:
        """As _OfNumbers."""
        return sums.means()

    def _of_rows(self, actual: Matrix, predicted: Floats) -> Floats:
        """[..., n, T]."""
        possible = (predicted > 0) & ((actual > 0) if self.power >= 2 else (actual >= 0))
        y, mu, p = np.where(possible, actual, np.nan), np.where(predicted > 0, predicted, 1.0), self.power
        if p == 1:
            return np.asarray(2 * (y * np.log(np.where(y > 0, y / mu, 1.0)) - y + mu))
        if p == 2:
            return np.asarray(2 * (np.log(mu / y) + y / mu - 1))
        by_actual = y ** (2 - p) / ((1 - p) * (2 - p))
        return np.asarray(2 * (by_actual - y * mu ** (1 - p) / (1 - p) + mu ** (2 - p) / (2 - p)))


@dataclass(frozen=True)
class PoissonDeviance(TweedieDeviance):
    """The deviance of power 1: of counts."""

    power: ClassVar[float] = 1.0  # type: ignore[misc]
    name: ClassVar[str] = "poisson_deviance"
    words: ClassVar[str] = "Poisson deviance"


@dataclass(frozen=True)
class GammaDeviance(TweedieDeviance):
    """The deviance of power 2: of amounts above 0."""

    power: ClassVar[float] = 2.0  # type: ignore[misc]
    name: ClassVar[str] = "gamma_deviance"
    words: ClassVar[str] = "gamma deviance"
