"""Optimisers: each is a rule for the step on flat vectors, weights and biases alike.

Plain gradient descent is W ← W − α g, with learning rate α and gradient g = ∂L/∂W of the average loss.
`vectors` are what a rule remembers between steps, [M, P], zero at the start; t counts steps from 1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from schuss.arrays import Mask, Matrix, Vector
from schuss.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """A rule for the step.

    weight_decay: λ of the decoupled decay W ← W − α λ W before the step, on weights and never on biases
        (Loshchilov & Hutter 2019); at least 0.
    """

    weight_decay: float = 0.0
    name: ClassVar[str]
    memory: ClassVar[int]  # M: how many vectors of length P the rule remembers
    learning_rate: ClassVar[float]  # a default that suits standardised columns

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            top = 1.0 if item.name in _SHARES else np.inf
            if not 0 <= value < top:
                raise SettingError(f"{item.name} of {self.name} is {value}: it must be at least 0 and below {top}.")

    def update(
        self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int, is_weight: Mask
    ) -> None:
        """One step, in place: decay, then the rule. W and gradient [P], vectors [M, P]."""
        if self.weight_decay:
            W[is_weight] -= learning_rate * self.weight_decay * W[is_weight]
        self.step(W, gradient, vectors, learning_rate, t)

    @abstractmethod
    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """The rule itself, in place."""


_SHARES = ("momentum", "decay", "beta1", "beta2")


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Optimizer):
    """W ← W − α g. With batch_size = N it is full-batch descent, with less it is stochastic."""

    name: ClassVar[str] = "gradient_descent"
    memory: ClassVar[int] = 0
    learning_rate: ClassVar[float] = 0.02

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        W -= learning_rate * gradient


@dataclass(frozen=True, kw_only=True)
class Momentum(Optimizer):
    """v ← μ v + g; W ← W − α v (Polyak 1964, with the learning rate outside v)."""

    momentum: float = 0.9
    name: ClassVar[str] = "momentum"
    memory: ClassVar[int] = 1
    learning_rate: ClassVar[float] = 0.005

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
    learning_rate: ClassVar[float] = 0.005

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
    learning_rate: ClassVar[float] = 0.02

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
    learning_rate: ClassVar[float] = 0.001

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
    learning_rate: ClassVar[float] = 0.001

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
class Lion(Optimizer):
    """W ← W − α sign(β₁ m + (1 − β₁) g); m ← β₂ m + (1 − β₂) g (Chen et al. 2023, algorithm 2)."""

    beta1: float = 0.9
    beta2: float = 0.99
    name: ClassVar[str] = "lion"
    memory: ClassVar[int] = 1
    learning_rate: ClassVar[float] = 0.0003

    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        """See the class."""
        (m,) = vectors
        W -= learning_rate * np.sign(self.beta1 * m + (1 - self.beta1) * gradient)
        m[...] = self.beta2 * m + (1 - self.beta2) * gradient


OPTIMIZERS: dict[str, type[Optimizer]] = {
    each.name: each for each in (GradientDescent, Momentum, Nesterov, Adagrad, RMSprop, Adam, AdamW, Lion)
}


def optimizer_named(choice: str | Optimizer, weight_decay: float | None = None) -> Optimizer:
    """The optimiser of that name with its defaults, or the given one; with this weight decay where one is given.

    Raises:
        SettingError: the name is unknown or the decay below 0.
    """
    if isinstance(choice, str):
        if choice not in OPTIMIZERS:
            raise SettingError(f"There is no optimizer {choice!r}: choose one of {', '.join(OPTIMIZERS)}.")
        choice = OPTIMIZERS[choice]()
    return choice if weight_decay is None else replace(choice, weight_decay=weight_decay)


def constants(optimizer: Optimizer) -> dict[str, Any]:
    """The numbers of a rule by name: {"beta1": 0.9, …}."""
    return {item.name: getattr(optimizer, item.name) for item in fields(optimizer)}
