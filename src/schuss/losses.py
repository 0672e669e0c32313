"""Losses: the loss of each row, its derivative beside it, and the link from outputs to predictions.

A loss takes outputs [B, K] and targets [B, T] and knows nothing of weights, averages or networks.

Location–scale losses (support "real") are trained on standardised targets; `standardised` and `unit` lead there and
back. Those with a log link, output = log(mean), take targets as they are.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, TypeAlias

import numpy as np

from schuss.arrays import Floats, Mask, Matrix, Outputs, Vector
from schuss.errors import DataError, SettingError
from schuss.groups import from_words
from schuss.network.activations import sigmoid, softplus

Support: TypeAlias = Literal["real", "from 0 on", "above 0"]

_LEAST_SPREAD = 1e-3  # of a Gaussian, as a share of the target's deviation
_MOST_SPREADS = 1e15  # that a residual is taken to be away at most, so that its square is a number in float32
_MOST_POWER = 60.0  # exponents beyond are cut off: exp(60) times a target is a number in float32
_LEAST_LOGGED = 1e-37


@dataclass(frozen=True)
class Loss(ABC):
    """What a network is trained to make small; these defaults suit a regression with an output for each target.

    name, tasks: by which it is known, and what it can be used for.
    support: the targets that it takes. several: whether T columns of the target are taken, one output for each.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]] = ("regression",)
    support: ClassVar[Support] = "real"
    several: ClassVar[bool] = True

    def outputs(self, targets: int, classes: int) -> int:
        """K, the outputs that a network needs for so many target columns or classes."""
        return targets

    def check(self, targets: Matrix, outputs: int) -> None:
        """Raises DataError where targets [N, T] do not fit so many outputs, or a target is impossible."""
        if not self.several and outputs != self.outputs(1, outputs):
            raise DataError(f"There are {outputs} outputs: {self.name} takes {self.outputs(1, outputs)}.")
        _check_width(self, targets, outputs if self.several else 1)
        if self.support != "real":
            _check_each(targets, supported(targets, self.support), f"a number {self.support}")

    @abstractmethod
    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """L_i of each row: outputs [B, K], targets [B, T] -> [B]."""

    @abstractmethod
    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """D L_i / d output of row i, [B, K]."""

    def prediction(self, outputs: Matrix) -> Matrix:
        """The link: outputs -> means, medians or quantiles [B, …], or probabilities [B, classes]."""
        return outputs

    def averaged(self, outputs: Outputs) -> Matrix:
        """Outputs [B, K] whose prediction is the mean of those of several networks, whose outputs are [members, B, K].

        Where a loss has a link of its own and no average, it is the mean of the outputs.
        """
        return np.asarray(outputs.mean(axis=0))

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """Outputs [K] that make Σ w L least where they are the same for every row: targets [n, T], weights [n]."""
        return _means(targets, weights)

    def freed(self, targets: Matrix, weights: Vector, offset: Vector) -> tuple[Matrix, Vector]:
        """Targets [n, 1] and weights [n] whose best constant is the best one beside these offsets [n] of output 0."""
        return targets - offset[:, np.newaxis], weights

    def standardised(self, deviations: Sequence[float]) -> Self:
        """The loss of targets that were divided by these deviations [T], with its own numbers divided likewise."""
        return self

    def unit(self, deviation: float) -> tuple[float, float]:
        """(a, b): the loss of a target in its own units is a · that of the standardised one + b."""
        return 1.0, 0.0

    def numbers(self, outputs: int) -> Sequence[float]:
        """The numbers of the loss as the native core takes them."""
        return ()


@dataclass(frozen=True)
class SquaredError(Loss):
    """L = Σ_k (actual_k − output_k)²; its total over rows is the residual sum of squares."""

    name: ClassVar[str] = "squared_error"

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Shapes as in Loss."""
        return np.asarray(np.square(targets - outputs).sum(axis=1))

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """−2 (actual − output)."""
        return 2 * (outputs - targets)

    def unit(self, deviation: float) -> tuple[float, float]:
        """The square of the deviation."""
        return deviation**2, 0.0


@dataclass(frozen=True)
class AbsoluteError(Loss):
    """L = Σ_k |actual_k − output_k|, least for medians (Laplace 1818)."""

    name: ClassVar[str] = "absolute_error"

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Shapes as in Loss."""
        return np.asarray(np.abs(targets - outputs).sum(axis=1))

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """−sign(actual − output), 0 where they are the same."""
        return np.asarray(np.sign(outputs - targets))

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """The medians."""
        return np.concatenate([_quantiles(column, weights, [0.5]) for column in targets.T])

    def unit(self, deviation: float) -> tuple[float, float]:
        """The deviation."""
        return deviation, 0.0


@dataclass(frozen=True)
class Huber(Loss):
    """L = Σ_k ½ r² where |r| ≤ δ, else δ (|r| − ½ δ), with r = actual_k − output_k (Huber 1964).

    delta: δ, from where on a residual counts in proportion, in the units of the target; above 0. Of standardised
        targets a tuple, one for each.
    """

    delta: float | tuple[float, ...] = 1.0
    name: ClassVar[str] = "huber"

    def __post_init__(self) -> None:
        _check_numbers(self, "delta", self.delta, above=0.0)

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Shapes as in Loss."""
        size = np.abs(targets - outputs)
        inner = np.minimum(size, self.delta)
        return np.asarray((inner * (size - 0.5 * inner)).sum(axis=1))

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """−r within ± δ."""
        return np.asarray(np.clip(outputs - targets, -np.asarray(self.delta), self.delta))

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """By iteratively reweighted means, from the median on (Huber 1964)."""
        location = AbsoluteError().constant(targets, weights)
        for _ in range(100):
            size = np.abs(targets - location)
            shares = np.minimum(1.0, self.delta / np.maximum(size, 1e-300)) * weights[:, np.newaxis]
            location = (targets * shares).sum(axis=0) / shares.sum(axis=0)
        return np.asarray(location)

    def standardised(self, deviations: Sequence[float]) -> "Huber":
        """With δ / deviation for each target."""
        return Huber(tuple(np.divide(self.delta, deviations).tolist()))

    def unit(self, deviation: float) -> tuple[float, float]:
        """The square of the deviation."""
        return deviation**2, 0.0

    def numbers(self, outputs: int) -> Sequence[float]:
        """δ of each output."""
        return tuple(np.broadcast_to(self.delta, outputs).tolist())


@dataclass(frozen=True)
class Quantile(Loss):
    """L = Σ_k max(τ_k r_k, (τ_k − 1) r_k) with r_k = actual − quantile k (Koenker & Bassett 1978).

    Quantile 0 is output 0, and each further one adds softplus(output k): they cannot cross.

    levels: τ, each between 0 and 1, in ascending order, as the predictions are; one may stand alone.
    """

    levels: tuple[float, ...] = (0.5,)
    name: ClassVar[str] = "quantile"
    several: ClassVar[bool] = False

    def __post_init__(self) -> None:
        levels = (self.levels,) if isinstance(self.levels, int | float) else tuple(self.levels)
        object.__setattr__(self, "levels", levels)
        _check_numbers(self, "levels", levels, above=0.0, below=1.0)
        if not levels or sorted(set(levels)) != list(levels):
            raise SettingError(f"levels of quantile is {list(levels)}: give at least one, in ascending order.")

    def outputs(self, targets: int, classes: int) -> int:
        """One for each level."""
        return len(self.levels)

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Shapes as in Loss."""
        residual, levels = targets - self.prediction(outputs), np.array(self.levels)
        return np.asarray(np.maximum(levels * residual, (levels - 1) * residual).sum(axis=1))

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """By quantile k −τ below the actual value, 1 − τ above; by output k the sum from k on · sigmoid(output k)."""
        above = self.prediction(outputs) - targets
        by_quantile = np.where(above == 0, 0.0, (above > 0) - np.array(self.levels)) + 0 * above  # NaN stays NaN
        slope = np.cumsum(by_quantile[:, ::-1], axis=1)[:, ::-1]
        return np.hstack([slope[:, :1], slope[:, 1:] * sigmoid(outputs[:, 1:])])

    def prediction(self, outputs: Matrix) -> Matrix:
        """[B, levels], ascending."""
        return np.cumsum(np.hstack([outputs[:, :1], softplus(outputs[:, 1:])]), axis=1)

    def averaged(self, outputs: Outputs) -> Matrix:
        """Output 0 and the steps from quantile to quantile are averaged, and so is each quantile."""
        steps = softplus(outputs[:, :, 1:]).mean(axis=0)
        return np.hstack([outputs[:, :, 0].mean(axis=0)[:, np.newaxis], _inverse_softplus(steps)])

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """The quantiles; two that are the same are set 1e-9 apart."""
        found = _quantiles(targets[:, 0], weights, self.levels)
        return np.concatenate([found[:1], _inverse_softplus(np.diff(found))])

    def unit(self, deviation: float) -> tuple[float, float]:
        """The deviation."""
        return deviation, 0.0

    def numbers(self, outputs: int) -> Sequence[float]:
        """The levels."""
        return self.levels


@dataclass(frozen=True)
class Gaussian(Loss):
    """L = ½ log(2π σ²) + (actual − μ)² / 2σ², with mean μ = output 0 and spread σ (Nix & Weigend 1994).

    σ = 0.001 + softplus(output 1), of a standardised target: unlike an exponential it grows no faster than its output,
    and it cannot shrink to where a single row outweighs all others. |actual − μ| / σ is cut off at 1e15.
    """

    name: ClassVar[str] = "gaussian"
    several: ClassVar[bool] = False

    def outputs(self, targets: int, classes: int) -> int:
        """Mean and spread."""
        return 2

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Shapes as in Loss."""
        ratio, spread = self._ratio(outputs, targets)
        return np.asarray((0.5 * math.log(2 * math.pi) + np.log(spread) + 0.5 * ratio**2)[:, 0])

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """−(actual − μ) / σ² and (1 − (actual − μ)² / σ²) / σ · sigmoid(output 1)."""
        ratio, spread = self._ratio(outputs, targets)
        return np.hstack([-ratio / spread, (1 - ratio**2) / spread * sigmoid(outputs[:, 1:])])

    def prediction(self, outputs: Matrix) -> Matrix:
        """The mean, [B, 1]."""
        return outputs[:, :1]

    def spread(self, outputs: Matrix) -> Matrix:
        """σ, [B, 1]."""
        return np.asarray(_LEAST_SPREAD + softplus(outputs[:, 1:]))

    def averaged(self, outputs: Outputs) -> Matrix:
        """Mean and spread of the mixture of the members: σ² = mean of σ² + variance of μ (n)."""
        means = outputs[:, :, 0]
        variances = (_LEAST_SPREAD + softplus(outputs[:, :, 1])) ** 2
        spread = np.sqrt(variances.mean(axis=0) + means.var(axis=0))
        return np.stack([means.mean(axis=0), _inverse_softplus(spread - _LEAST_SPREAD)], axis=1)

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """Mean and deviation."""
        mean = _means(targets, weights)
        spread = np.sqrt(_means((targets - mean) ** 2, weights))
        return np.concatenate([mean, _inverse_softplus(spread - _LEAST_SPREAD)])

    def unit(self, deviation: float) -> tuple[float, float]:
        """1, and the logarithm of the deviation."""
        return 1.0, math.log(deviation)

    def _ratio(self, outputs: Matrix, targets: Matrix) -> tuple[Matrix, Matrix]:
        """(actual − μ) / σ and σ, [B, 1]."""
        spread = self.spread(outputs)
        return np.clip((targets - outputs[:, :1]) / spread, -_MOST_SPREADS, _MOST_SPREADS), spread


class _Deviance(Loss):
    """Unit deviance of a variance that is meanᵖ, with mean μ = exp(output), for each target (Jørgensen 1987).

    With a = 2 − p, b = 1 − p and d = output − log(actual) it is 2 actualᵃ ((exp(a d) − 1) / a − (exp(b d) − 1) / b),
    and of what would be 0 / 0 the limit d. Exponents are cut off at 60, in the derivative too, and so is that d, which
    would outgrow the exponential.
    """

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Shapes as in Loss."""
        (p,) = self.numbers(1)
        a, b = 2 - p, 1 - p
        scale, distance = _scale(targets, a), outputs - _log(targets)
        risen = np.maximum(distance, -_MOST_POWER)
        if a:
            near = scale * np.expm1(np.minimum(a * distance, _MOST_POWER))
            far = np.exp(np.minimum(a * outputs, _MOST_POWER)) - scale  # finite where actual is 0
            risen = np.where(targets >= 1, near, far) / a
        power = np.minimum(b * distance if b else distance, _MOST_POWER)
        fallen = np.expm1(power) / b if b else power
        return np.asarray(2 * (risen - scale * fallen).sum(axis=1))

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """2 (μᵃ − actual · μᵇ)."""
        (p,) = self.numbers(1)
        a, b = 2 - p, 1 - p
        scale, distance = _scale(targets, a), outputs - _log(targets)
        near = scale * np.exp(np.minimum(a * distance, _MOST_POWER))
        far = np.exp(np.minimum(a * outputs, _MOST_POWER))
        return np.asarray(
            2 * (np.where(targets >= 1, near, far) - scale * np.exp(np.minimum(b * distance, _MOST_POWER)))
        )

    def prediction(self, outputs: Matrix) -> Matrix:
        """μ = exp(output), [B, T]; beyond 700 it is cut off."""
        return np.asarray(np.exp(np.minimum(outputs, 700.0)))

    def averaged(self, outputs: Outputs) -> Matrix:
        """The logarithms of the mean of the means."""
        return _log_mean(outputs)

    def freed(self, targets: Matrix, weights: Vector, offset: Vector) -> tuple[Matrix, Vector]:
        """As the deviance of y and e μ is eᵃ times that of y / e and μ."""
        (p,) = self.numbers(1)
        return targets * np.exp(-offset)[:, np.newaxis], weights * np.exp((2 - p) * offset)

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """The logarithms of the means."""
        return np.asarray(np.log(np.maximum(_means(targets, weights), _LEAST_LOGGED)))


@dataclass(frozen=True)
class Poisson(_Deviance):
    """L = Σ_k 2 (y log(y / μ) − y + μ) with μ = exp(output k): the unit deviance, for counts and amounts from 0 on.

    It is what scikit-learn calls mean_poisson_deviance (McCullagh & Nelder 1989, section 2.3). For numerics see the
    source of the class it is made of.
    """

    name: ClassVar[str] = "poisson"
    support: ClassVar[Support] = "from 0 on"

    def numbers(self, outputs: int) -> Sequence[float]:
        """The power of the variance, 1."""
        return (1.0,)


@dataclass(frozen=True)
class Gamma(_Deviance):
    """L = Σ_k 2 (log(μ / y) + y / μ − 1) with μ = exp(output k): the unit deviance, for amounts above 0.

    It is what scikit-learn calls mean_gamma_deviance (McCullagh & Nelder 1989, section 8.3.4).
    """

    name: ClassVar[str] = "gamma"
    support: ClassVar[Support] = "above 0"

    def numbers(self, outputs: int) -> Sequence[float]:
        """The power of the variance, 2."""
        return (2.0,)


@dataclass(frozen=True)
class Tweedie(_Deviance):
    """L = Σ_k 2 (y²⁻ᵖ / ((1 − p)(2 − p)) − y μ¹⁻ᵖ / (1 − p) + μ²⁻ᵖ / (2 − p)) with μ = exp(output k).

    The unit deviance of a compound of Poisson and gamma, for amounts that are often 0 (Tweedie 1984, Jørgensen 1987):
    what scikit-learn calls mean_tweedie_deviance.

    power: p, above 1 and below 2.
    """

    power: float = 1.5
    name: ClassVar[str] = "tweedie"
    support: ClassVar[Support] = "from 0 on"

    def __post_init__(self) -> None:
        _check_numbers(self, "power", self.power, above=1.0, below=2.0)

    def numbers(self, outputs: int) -> Sequence[float]:
        """The power of the variance."""
        return (self.power,)


@dataclass(frozen=True)
class LogLoss(Loss):
    """L = −Σ_k log p of the class that came, with p(1) = sigmoid(output k); targets are 0 or 1.

    smoothing: ε, from 0 up to 1: 1 counts as 1 − ½ ε and 0 as ½ ε (Szegedy et al. 2016).
    """

    smoothing: float = 0.0
    name: ClassVar[str] = "log_loss"
    tasks: ClassVar[tuple[str, ...]] = ("binary", "multilabel")

    def __post_init__(self) -> None:
        _check_numbers(self, "smoothing", self.smoothing, least=0.0, below=1.0)

    def outputs(self, targets: int, classes: int) -> int:
        """One for each target, whose sigmoid is the probability of class 1."""
        return targets

    def check(self, targets: Matrix, outputs: int) -> None:
        """T = K; 0 or 1."""
        _check_width(self, targets, outputs)
        _check_each(targets, (targets == 0) | (targets == 1), "0 or 1")

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """−t log sigmoid(output) − (1 − t) log sigmoid(−output): never overflows and never cancels."""
        share = self._smoothed(targets)
        return np.asarray((share * softplus(-outputs) + (1 - share) * softplus(outputs)).sum(axis=1))

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """P − target."""
        return np.asarray(sigmoid(outputs) - self._smoothed(targets))

    def prediction(self, outputs: Matrix) -> Matrix:
        """[B, 2]: the probabilities of class 0 and class 1; of several targets [B, T] that of each to be true."""
        if outputs.shape[1] > 1:
            return sigmoid(outputs)
        return np.hstack([sigmoid(-outputs), sigmoid(outputs)])

    def averaged(self, outputs: Outputs) -> Matrix:
        """The logarithm of the odds of the mean probability."""
        return _log_mean(-softplus(-outputs)) - _log_mean(-softplus(outputs))

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """The logarithm of the odds."""
        share = np.clip(self._smoothed(_means(targets, weights)), 1e-9, 1 - 1e-9)
        return np.asarray(np.log(share / (1 - share)))

    def numbers(self, outputs: int) -> Sequence[float]:
        """ε."""
        return (self.smoothing,)

    def _smoothed(self, targets: Matrix) -> Matrix:
        return targets * (1 - self.smoothing) + 0.5 * self.smoothing


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """L = −log p of the class that came, with p = softmax(outputs); targets are class numbers from 0.

    smoothing: ε, from 0 up to 1: the class that came counts as 1 − ε, and ε is shared by all of them (Szegedy et al.
        2016, equation 6 of section 7).
    """

    smoothing: float = 0.0
    name: ClassVar[str] = "cross_entropy"
    tasks: ClassVar[tuple[str, ...]] = ("binary", "multiclass")
    several: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_numbers(self, "smoothing", self.smoothing, least=0.0, below=1.0)

    def outputs(self, targets: int, classes: int) -> int:
        """One for each class."""
        return classes

    def check(self, targets: Matrix, outputs: int) -> None:
        """T = 1; whole numbers from 0 up to K − 1."""
        _check_classes(self, targets, outputs)

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Minus the logarithm of the softmax at the target, and where it is smoothed its mean over all classes."""
        logs = _log_softmax(outputs)
        return np.asarray((self.smoothing - 1) * _at(logs, targets) - self.smoothing * logs.mean(axis=1))

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """P − 1 at the target, p elsewhere; where it is smoothed, p less the share that the class counts as."""
        shares = (1 - self.smoothing) * _indicators(outputs, targets) + self.smoothing / outputs.shape[1]
        return np.asarray(np.exp(_log_softmax(outputs)) - shares)

    def prediction(self, outputs: Matrix) -> Matrix:
        """[B, K]: the probability of each class."""
        return np.asarray(np.exp(_log_softmax(outputs)))

    def averaged(self, outputs: Outputs) -> Matrix:
        """The logarithms of the mean probabilities."""
        return _log_mean(_log_softmax(outputs))

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """The logarithms of the shares of the classes."""
        shares = _shares(targets, weights)
        return np.asarray(np.log(np.maximum(shares * (1 - self.smoothing) + self.smoothing / len(shares), 1e-9)))

    def numbers(self, outputs: int) -> Sequence[float]:
        """ε."""
        return (self.smoothing,)


@dataclass(frozen=True)
class Focal(Loss):
    """L = −(1 − p)ᵞ log p of the class that came, with p = softmax(outputs) (Lin et al. 2017, equation 4).

    Rows that are predicted well count for little. There is an output for each class, also of two.

    gamma: γ, at least 0, which is cross-entropy.
    """

    gamma: float = 2.0
    name: ClassVar[str] = "focal"
    tasks: ClassVar[tuple[str, ...]] = ("binary", "multiclass")
    several: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_numbers(self, "gamma", self.gamma, least=0.0)

    def outputs(self, targets: int, classes: int) -> int:
        """One for each class."""
        return classes

    def check(self, targets: Matrix, outputs: int) -> None:
        """T = 1; whole numbers from 0 up to K − 1."""
        _check_classes(self, targets, outputs)

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Shapes as in Loss."""
        surprise = -_at(_log_softmax(outputs), targets)
        return np.asarray((-np.expm1(-surprise)) ** self.gamma * surprise)

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """(q^γ + γ q^(γ−1) p s) times that of cross-entropy, with s = −log p and q = 1 − p."""
        logs = _log_softmax(outputs)
        surprise = -_at(logs, targets)[:, np.newaxis]
        missed = -np.expm1(-surprise)
        ratio = surprise / np.where(missed > 0, missed, 1.0) + (missed == 0)  # s / q, which tends to 1
        slope = missed**self.gamma * (1 + self.gamma * np.exp(-surprise) * ratio)
        return np.asarray(slope * (np.exp(logs) - _indicators(outputs, targets)))

    def prediction(self, outputs: Matrix) -> Matrix:
        """[B, K]: the probability of each class."""
        return np.asarray(np.exp(_log_softmax(outputs)))

    def averaged(self, outputs: Outputs) -> Matrix:
        """The logarithms of the mean probabilities."""
        return _log_mean(_log_softmax(outputs))

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """The logarithms of the shares of the classes, which are close to the best for this loss."""
        return np.asarray(np.log(np.maximum(_shares(targets, weights), 1e-9)))

    def numbers(self, outputs: int) -> Sequence[float]:
        """γ."""
        return (self.gamma,)


def supported(targets: Matrix, support: Support) -> Mask:
    """Where a loss of that support takes the targets; NaN is no matter of it."""
    return ~(targets < 0) if support == "from 0 on" else ~(targets <= 0)


def check_use(loss: Loss, task: str | None, targets: int, offset: bool = False) -> None:
    """Raises SettingError where a loss serves no such task (None: any), not so many targets, or no offset."""
    if task is not None and task not in loss.tasks:
        fitting = ", ".join(name for name, each in LOSSES.items() if task in each.tasks)
        raise SettingError(f"The loss {loss.name} does not fit the task {task}: use {fitting}.")
    if targets > 1 and not (loss.several and set(loss.tasks) & {"regression", "multilabel"}):
        raise SettingError(f"The loss {loss.name} takes one target, and {targets} are given: train a model for each.")
    if offset and (targets > 1 or "multiclass" in loss.tasks):
        raise SettingError("An offset is for one target, or for two classes with the loss log_loss: leave it out.")


def _check_width(loss: Loss, targets: Matrix, width: int) -> None:
    if targets.ndim != 2 or targets.shape[1] != width:
        raise DataError(f"The targets have shape {targets.shape}: {loss.name} takes {width} columns here.")


def _check_each(targets: Matrix, possible: Mask, what: str) -> None:
    if not possible.all():
        row, column = (int(i) for i in np.argwhere(~possible)[0])
        raise DataError(f"The target of row {row} is {targets[row, column]}: it must be {what}.")


def _check_classes(loss: Loss, targets: Matrix, classes: int) -> None:
    _check_width(loss, targets, 1)
    whole = (targets >= 0) & (targets < classes) & (targets == np.floor(targets))
    _check_each(targets, whole, f"a class number from 0 to {classes - 1}")


def _check_numbers(
    loss: Loss,
    name: str,
    numbers: float | tuple[float, ...],
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Raises SettingError where a number of a loss is none, or out of its range."""
    for number in numbers if isinstance(numbers, tuple) else (numbers,):
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not (is_number and least <= number and above < number < below):
            ranges = [("at least", least), ("above", above), ("below", below)]
            told = " and ".join(f"{word} {limit:g}" for word, limit in ranges if math.isfinite(limit))
            raise SettingError(f"{name} of {loss.name} is {number}: it must be a number {told}.")


def _log(targets: Matrix) -> Matrix:
    """log(actual), of 0 that of a very small number."""
    return np.asarray(np.log(np.maximum(targets, _LEAST_LOGGED)))


def _scale(targets: Matrix, power: float) -> Matrix:
    """Actualᵃ."""
    return np.asarray(np.maximum(targets, 0.0) ** power)


def _means(values: Matrix, weights: Vector) -> Vector:
    """[columns] float64, weighted."""
    return np.asarray((values * weights[:, np.newaxis]).sum(axis=0, dtype=np.float64) / weights.sum(dtype=np.float64))


def _quantiles(values: Vector, weights: Vector, levels: Sequence[float]) -> Vector:
    """The least values up to which the rows have at least these shares of the weight, [levels]."""
    order = np.argsort(values)
    until = np.cumsum(weights[order], dtype=np.float64)
    places = np.searchsorted(until, np.array(levels) * until[-1])
    return np.asarray(values[order[np.minimum(places, len(order) - 1)]], np.float64)


def _shares(targets: Matrix, weights: Vector) -> Vector:
    """Of the weight of each class number that occurs or is below one that does."""
    return np.asarray(np.bincount(_class_numbers(targets)[:, 0], weights) / weights.sum())


def _log_softmax(outputs: Matrix) -> Matrix:
    """log(exp(o_k) / Σ exp(o)), the largest output taken out first so that nothing overflows."""
    shifted = outputs - outputs.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _log_mean(logarithms: Outputs) -> Matrix:
    """log(mean of exp) over the members, [members, B, K] -> [B, K], without overflow."""
    return np.asarray(np.logaddexp.reduce(logarithms, axis=0) - math.log(len(logarithms)))


def _inverse_softplus(values: Vector | Matrix) -> Floats:
    """Where softplus has these values; those below 1e-9 are taken for it."""
    values = np.maximum(values, 1e-9)
    return np.asarray(values + np.log(-np.expm1(-values)))


def _at(values: Matrix, targets: Matrix) -> Vector:
    """The value of each row at its class, [B]."""
    return np.take_along_axis(values, _class_numbers(targets), axis=1)[:, 0]


def _indicators(outputs: Matrix, targets: Matrix) -> Matrix:
    """1 at the class of each row, 0 elsewhere, [B, K]."""
    return np.asarray(_class_numbers(targets) == np.arange(outputs.shape[1]), np.float64)


def _class_numbers(targets: Matrix) -> np.typing.NDArray[np.int64]:
    return targets.astype(np.int64)


LOSSES: dict[str, type[Loss]] = {
    each.name: each
    for each in (
        SquaredError,
        AbsoluteError,
        Huber,
        Quantile,
        Gaussian,
        Poisson,
        Gamma,
        Tweedie,
        LogLoss,
        CrossEntropy,
        Focal,
    )
}


def loss_named(choice: str | Loss) -> Loss:
    """The loss in these words (see groups.py), or the given one. Raises SettingError as from_words."""
    return from_words(choice, LOSSES, "loss") if isinstance(choice, str) else choice
