"""Optimisers: each is a rule for the step on flat vectors, weights and biases alike.

Plain gradient descent is W ← W − α g, with learning rate α and gradient g = ∂L/∂W of the average loss.
`vectors` are what a rule remembers between steps, [M, P], zero at the start; t counts steps from 1.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from schuss.arrays import Mask, Matrix, Vector
from schuss.errors import SettingError, one_line
from schuss.groups import from_words


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """A rule for the step.

    A rule of your own is a subclass that has `step`, and `memory` where it remembers anything; its vectors are saved
    and resumed like those of the others.

    learning_rate: α before the schedule; above 0, or None for the one that the recipe finds.
    weight_decay: λ of the decoupled decay W ← W − α λ W before the step, on weights and never on biases
        (Loshchilov & Hutter 2019); at least 0.
    clip_value:   each component of the gradient is limited to ± this; above 0, or None for no limit.
    clip_norm:    where the norm of the whole gradient exceeds this, the gradient is scaled down to it (Pascanu et al.
        2013); above 0, or None. Not both.

    What is clipped is the gradient of a batch's cost, penalty included, before the rule sees it; decay is not clipped.
    """

    learning_rate: float | None = None
    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    name: ClassVar[str] = "own"
    memory: ClassVar[int] = 0  # M: how many vectors of length P the rule remembers
    usual_learning_rate: ClassVar[float] = 0.01  # that suits standardised columns

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in _ABOVE_0 and value is not None and not 0 < value < np.inf:
                raise SettingError(f"{item.name} of {self.name} is {value}: it must be above 0 and finite, or None.")
            top = 1.0 if item.name in _SHARES else np.inf
            if item.name in _SHARES + _FROM_0 and not 0 <= value < top:
                raise SettingError(f"{item.name} of {self.name} is {value}: it must be at least 0 and below {top}.")
        if self.clip_value is not None and self.clip_norm is not None:
            raise SettingError(f"{self.name} has a clip_value and a clip_norm: give one of them.")

    def update(
        self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int, is_weight: Mask
    ) -> None:
        """One step, in place: decay, then the rule on the clipped gradient. W and gradient [P], vectors [M, P].

        Raises:
            SettingError: a rule that the user wrote fails.
        """
        if self.weight_decay:
            W[is_weight] -= learning_rate * self.weight_decay * W[is_weight]
        try:
            self.step(W, self.clipped(gradient), vectors, learning_rate, t)
        except SettingError:
            raise
        except Exception as error:
            told = f"{type(error).__name__}: {one_line(error)}"
            raise SettingError(f"The optimiser {self.title} failed at step {t:,} ({told}): mend its step.") from error

    @property
    def title(self) -> str:
        """Of the class that a person knows."""
        return type(self).__name__

    def clipped(self, gradient: Vector) -> Vector:
        """The gradient within its limits, [P].

        NaN stays NaN. A gradient whose norm is not finite has no direction that could be kept: it stays as it is, so
        that divergence is seen.
        """
        if self.clip_value is not None:
            return np.clip(gradient, -self.clip_value, self.clip_value)
        if self.clip_norm is not None:
            with np.errstate(over="ignore"):
                norm = float(np.linalg.norm(gradient.astype(np.float64)))
            if self.clip_norm < norm < np.inf:
                return np.asarray(gradient * (self.clip_norm / norm))
        return gradient

    @abstractmethod
    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """The rule itself, in place."""


_SHARES = ("momentum", "decay", "beta1", "beta2")
_FROM_0 = ("weight_decay", "epsilon", "tolerance")
_LIMITS = ("clip_value", "clip_norm")
_ABOVE_0 = ("learning_rate", *_LIMITS)


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Optimizer):
    """W ← W − α g. With batch_size = N it is full-batch descent, with less it is stochastic."""

    name: ClassVar[str] = "gradient_descent"
    memory: ClassVar[int] = 0
    usual_learning_rate: ClassVar[float] = 0.02

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        W -= learning_rate * gradient


@dataclass(frozen=True, kw_only=True)
class Momentum(Optimizer):
    """v ← μ v + g; W ← W − α v (Polyak 1964, with the learning rate outside v)."""

    momentum: float = 0.9
    name: ClassVar[str] = "momentum"
    memory: ClassVar[int] = 1
    usual_learning_rate: ClassVar[float] = 0.005

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        (v,) = vectors
        v[...] = self.momentum * v + gradient
        W -= learning_rate * v


@dataclass(frozen=True, kw_only=True)
class Nesterov(Optimizer):
    """v ← μ v + g; W ← W − α (g + μ v) (Nesterov 1983, as Sutskever et al. 2013 write it)."""

    momentum: float = 0.9
    name: ClassVar[str] = "nesterov"
    memory: ClassVar[int] = 1
    usual_learning_rate: ClassVar[float] = 0.005

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        (v,) = vectors
        v[...] = self.momentum * v + gradient
        W -= learning_rate * (gradient + self.momentum * v)


@dataclass(frozen=True, kw_only=True)
class Adagrad(Optimizer):
    """s ← s + g²; W ← W − α g / (√s + ε) (Duchi et al. 2011)."""

    epsilon: float = 1e-10
    name: ClassVar[str] = "adagrad"
    memory: ClassVar[int] = 1
    usual_learning_rate: ClassVar[float] = 0.02

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        (s,) = vectors
        s += gradient * gradient
        W -= learning_rate * gradient / (np.sqrt(s) + self.epsilon)


@dataclass(frozen=True, kw_only=True)
class RMSprop(Optimizer):
    """s ← ρ s + (1 − ρ) g²; W ← W − α g / (√s + ε) (Tieleman & Hinton 2012)."""

    decay: float = 0.9
    epsilon: float = 1e-8
    name: ClassVar[str] = "rmsprop"
    memory: ClassVar[int] = 1
    usual_learning_rate: ClassVar[float] = 0.001

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        (s,) = vectors
        s[...] = self.decay * s + (1 - self.decay) * gradient * gradient
        W -= learning_rate * gradient / (np.sqrt(s) + self.epsilon)


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g; s ← β₂ s + (1 − β₂) g²; W ← W − α m̂ / (√ŝ + ε).

    m̂ = m / (1 − β₁ᵗ) and ŝ = s / (1 − β₂ᵗ) take out the bias of the zero start (Kingma & Ba 2015, algorithm 1).
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    name: ClassVar[str] = "adam"
    memory: ClassVar[int] = 2
    usual_learning_rate: ClassVar[float] = 0.001

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        m, s = vectors
        m[...] = self.beta1 * m + (1 - self.beta1) * gradient
        s[...] = self.beta2 * s + (1 - self.beta2) * gradient * gradient
        corrected = np.sqrt(s / (1 - self.beta2**t))
        W -= learning_rate / (1 - self.beta1**t) * m / (corrected + self.epsilon)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay switched on (Loshchilov & Hutter 2019)."""

    weight_decay: float = 0.01
    name: ClassVar[str] = "adamw"


@dataclass(frozen=True, kw_only=True)
class NAdam(Adam):
    """Adam that looks ahead: W ← W − α (μₜ₊₁ m / (1 − μₜ₊₁ Π μ) + (1 − μₜ) g / (1 − Π μ)) / (√ŝ + ε).

    The momentum of step t is μₜ = β₁ (1 − ½ 0.96^(0.004 t)), and Π μ = μ₁ μ₂ … μₜ (Dozat 2016, algorithm 2).
    """

    name: ClassVar[str] = "nadam"
    usual_learning_rate: ClassVar[float] = 0.001

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        m, s = vectors
        m[...] = self.beta1 * m + (1 - self.beta1) * gradient
        s[...] = self.beta2 * s + (1 - self.beta2) * gradient * gradient
        corrected = np.sqrt(s / (1 - self.beta2**t))
        now, following = self._momentum(t), self._momentum(t + 1)
        left = math.prod(self._momentum(i) for i in range(1, min(t, _FACTORS) + 1))
        ahead = following / (1 - following * left) * m + (1 - now) / (1 - left) * gradient
        W -= learning_rate * ahead / (corrected + self.epsilon)

    def _momentum(self, t: int) -> float:
        return self.beta1 * (1 - 0.5 * math.pow(0.96, 0.004 * t))


_FACTORS = 100  # more of them change nothing: each is little above a half


@dataclass(frozen=True, kw_only=True)
class Lion(Optimizer):
    """W ← W − α sign(β₁ m + (1 − β₁) g); m ← β₂ m + (1 − β₂) g (Chen et al. 2023, algorithm 2)."""

    beta1: float = 0.9
    beta2: float = 0.99
    name: ClassVar[str] = "lion"
    memory: ClassVar[int] = 1
    usual_learning_rate: ClassVar[float] = 0.0003

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        (m,) = vectors
        W -= learning_rate * np.sign(self.beta1 * m + (1 - self.beta1) * gradient)
        m[...] = self.beta2 * m + (1 - self.beta2) * gradient


OPTIMIZERS: dict[str, type[Optimizer]] = {
    each.name: each for each in (GradientDescent, Momentum, Nesterov, Adagrad, RMSprop, Adam, AdamW, NAdam, Lion)
}


@dataclass(frozen=True, kw_only=True)
class LBFGS(Optimizer):
    """Limited-memory BFGS on all rows at once (Liu & Nocedal 1989; Byrd et al. 1995), see training/full_batch.py.

    Its step takes a line search, so that neither learning rate nor schedule nor any other limit has a meaning.

    pairs:     of steps and changes of the gradient, from which the curvature is learned; a whole number from 1.
    tolerance: the greatest component of the gradient of the cost, of a standardised target, that counts as 0.
    """

    pairs: int = 10
    tolerance: float = 1e-7
    name: ClassVar[str] = "lbfgs"
    memory: ClassVar[int] = 0
    usual_learning_rate: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs != int(self.pairs) or self.pairs < 1:
            raise SettingError(f"pairs of lbfgs is {self.pairs}: it must be a whole number from 1.")
        if self.weight_decay or self.clip_value or self.clip_norm or self.learning_rate:
            raise SettingError("lbfgs has neither learning rate nor decay nor limits: use l2 for a penalty.")

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """No engine takes it alone."""
        raise NotImplementedError("L-BFGS takes its steps in training/full_batch.py.")


RULES: dict[str, type[Optimizer]] = {**OPTIMIZERS, LBFGS.name: LBFGS}  # with that which no engine can do alone


@runtime_checkable
class Rule(Protocol):
    """What any object needs to be an optimiser: what it remembers besides W is its own matter."""

    def step(self, W: Vector, gradient: Vector, learning_rate: float, t: int, /) -> None:
        """One step, in place: W and gradient [P], t from 1."""


@dataclass(frozen=True, kw_only=True)
class OwnOptimizer(Optimizer):
    """Any object with step(W, gradient, learning_rate, t), which changes W [P] in place.

    Every training begins with a copy of the object as it was given. What it remembers is not saved with W.
    """

    rule: Rule

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        if self.rule.step(W, gradient, learning_rate, t) is not None:  # type: ignore[func-returns-value]
            raise SettingError(f"The step of {self.title} returns something: change W in place, as in W -= …")

    @property
    def title(self) -> str:
        """Of the object's class."""
        return type(self.rule).__name__


def optimizer_named(
    choice: str | Optimizer | Rule,
    weight_decay: float | None = None,
    clip_value: float | None = None,
    clip_norm: float | None = None,
) -> Optimizer:
    """The optimiser in these words (see groups.py), or the given one; with this decay and these limits where given.

    An object that is none, but has a step, becomes an OwnOptimizer.

    Raises:
        SettingError: the name is unknown, or a number is out of range.
    """
    if isinstance(choice, str):
        choice = from_words(choice, RULES, "optimizer")
    elif not isinstance(choice, Optimizer):
        choice = OwnOptimizer(rule=choice)
    numbers = {"weight_decay": weight_decay, "clip_value": clip_value, "clip_norm": clip_norm}
    given: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    return replace(choice, **given) if given else choice


def constants(optimizer: Optimizer) -> dict[str, float]:
    """The numbers of a rule by name: {"beta1": 0.9, …}, without its learning rate; a limit that is None is 0."""
    names = [item.name for item in fields(optimizer) if item.name != "learning_rate"]
    return {name: getattr(optimizer, name) or 0.0 for name in names}
