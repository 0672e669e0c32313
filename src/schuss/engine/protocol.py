"""What every engine offers: the arithmetic of training for one (network, loss, optimiser)."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import DTypeLike

from schuss.arrays import Mask, Matrix, Outputs, RowIndex, Rows, Vector
from schuss.descent.optimizers import Optimizer
from schuss.errors import SettingError
from schuss.losses import Loss
from schuss.network import Network


@dataclass(frozen=True, eq=False)
class EngineState:
    """All that a step reads and writes.

    W:       [P].
    vectors: [M, P] what the optimiser remembers.
    step:    steps taken so far.
    average: [P] of W along the way; None where there is none.
    """

    W: Vector
    vectors: Matrix
    step: int = 0
    average: Vector | None = None

    @property
    def kept(self) -> Vector:
        """What is validated and returned: the average where there is one, else W."""
        return self.W if self.average is None else self.average

    def copy(self, dtype: DTypeLike) -> "EngineState":
        """A copy in that type."""
        average = None if self.average is None else self.average.astype(dtype)
        return EngineState(self.W.astype(dtype), self.vectors.astype(dtype), self.step, average)

    @classmethod
    def start(cls, W: Vector, optimizer: Optimizer) -> "EngineState":
        """The state before the first step: a copy of W, nothing remembered."""
        return cls(W.copy(), np.zeros((optimizer.memory, len(W)), W.dtype))


def check_rates(averages: bool, average_rates: Vector | None) -> None:
    """Raises SettingError where there is an average without rates, or there are rates without an average."""
    if averages != (average_rates is not None):
        raise SettingError("An average of W needs rates, and rates an average: load a state that fits the steps.")


def follow(average: Vector, W: Vector, rate: float) -> None:
    """The average goes on towards W, in place; written so that it is W exactly where the rate is 1."""
    average[...] = W - (1 - rate) * (W - average)


@dataclass(frozen=True)
class Cost:
    """What a step makes smaller: Σ w_i L_i / (B · mean_weight) + λ₁ Σ |weight| + ½ λ₂ ‖weights‖².

    loss:        gives L_i.
    l2:          λ₂ of the penalty on weights; at least 0. Biases and the numbers of layer norm are free.
    mean_weight: mean of w_i over all training rows. Divided by it and not by the batch's own weights, the gradient of
        a batch is an unbiased estimate, and a batch whose weights are all 0 gives 0 and not 0/0.
    l1:          λ₁, as λ₂. The slope of |weight| at 0 is taken as 0.
    """

    loss: Loss
    l2: float = 0.0
    mean_weight: float = 1.0
    l1: float = 0.0

    def penalty(self, weights: Vector) -> float:
        """λ₁ Σ |weight| + ½ λ₂ ‖weights‖² of weights without biases."""
        return self.l1 * float(np.abs(weights).sum()) + 0.5 * self.l2 * float(weights @ weights)

    def penalty_gradient(self, W: Vector, is_weight: Mask) -> Vector:
        """Its derivative by W, [P], 0 at biases."""
        return np.where(is_weight, self.l1 * np.sign(W) + self.l2 * W, 0.0)


@dataclass(frozen=True, eq=False)
class Watched:
    """What was seen on the way of some epochs.

    losses:  [steps] as Engine.train returns them.
    path:    [epochs, P] W, or its average, after each.
    outputs: [epochs, N, K] of the watched rows there.
    """

    losses: Vector
    path: Matrix
    outputs: Outputs


class Engine(Protocol):
    """The arithmetic. Totals are Σ w_i L_i without the penalty, summed over rows in float64.

    seed:      decides the masks of dropout, together with the step and a row's position in its batch. Only `train` has
        masks: the other methods are without dropout.
    threads:   at most so many, None for all that the process may use; no number depends on it.
    precision: of the products; see make_engine.
    """

    name: ClassVar[str]

    def __init__(
        self,
        network: Network,
        cost: Cost,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        threads: int | None = None,
        precision: str = "float32",
    ) -> None: ...

    def load(self, state: EngineState) -> None:
        """Copies W, the optimiser's vectors and the average in; from here on there is an average, or none."""

    def state(self) -> EngineState:
        """Exact copies out."""

    def train(
        self,
        rows: Rows,
        order: RowIndex,
        batch_size: int,
        learning_rates: Vector,
        epochs: int = 1,
        average_rates: Vector | None = None,
    ) -> Vector:
        """len(learning_rates) steps over rows[order], batch by batch; the last batch may be shorter.

        Arguments:
            order: of one epoch, or a part of it; or the orders of several whole epochs, all of the same length, after
                one another.
            epochs: how many; no batch holds rows of two, so that the last batch of each may be shorter.
            average_rates: how far the average goes to W after each step, [steps]; None where there is no average.

        Returns:
            [steps] float64: Σ w_i L_i / (B · mean_weight) of each batch, at the W before its step and with its masks.
        """

    def train_watched(
        self,
        rows: Rows,
        order: RowIndex,
        batch_size: int,
        learning_rates: Vector,
        watched: Rows,
        epochs: int = 1,
        average_rates: Vector | None = None,
    ) -> Watched:
        """As train, bit for bit, and what `state().kept` and `outputs` of it would give after each epoch."""

    def gradient(self, W: Vector, rows: Rows) -> tuple[float, Vector]:
        """Total loss and d total / d W [P] float64."""

    def total_loss(self, W: Vector, rows: Rows) -> float:
        """Total loss."""

    def outputs(self, W: Vector, rows: Rows) -> Matrix:
        """[N, K], before the link."""


def watch_each_epoch(
    engine: Engine,
    rows: Rows,
    order: RowIndex,
    batch_size: int,
    learning_rates: Vector,
    watched: Rows,
    epochs: int,
    average_rates: Vector | None,
) -> Watched:
    """Engine.train_watched by means of the other methods, epoch by epoch."""
    losses, path, outputs = [], [], []
    averages = [None] * epochs if average_rates is None else average_rates.reshape(epochs, -1)
    orders = order.reshape(epochs, -1)
    for own, rates, average in zip(orders, learning_rates.reshape(epochs, -1), averages, strict=True):
        losses.append(engine.train(rows, own, batch_size, rates, 1, average))
        path.append(engine.state().kept)
        outputs.append(engine.outputs(path[-1], watched))
    return Watched(np.concatenate(losses), np.stack(path), np.stack(outputs))
