"""Losses: the loss of each row, its derivative beside it, and the link from outputs to predictions.

A loss takes outputs [B, K] and targets [B, T] and knows nothing of weights, averages or networks.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from schuss.arrays import Mask, Matrix, Vector
from schuss.errors import DataError
from schuss.groups import from_words
from schuss.network.activations import sigmoid, softplus


@runtime_checkable
class Loss(Protocol):
    """What a network is trained to make small."""

    name: ClassVar[str]

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it can be used for."""

    def outputs(self, targets: int, classes: int) -> int:
        """K, the outputs that a network needs for so many target columns or classes."""

    def check(self, targets: Matrix, outputs: int) -> None:
        """Raises DataError where targets [N, T] do not fit so many outputs, or a target is impossible."""

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """L_i of each row: outputs [B, K], targets [B, T] -> [B]."""

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """D L_i / d output of row i, [B, K]."""

    def prediction(self, outputs: Matrix) -> Matrix:
        """The link: outputs -> means [B, K] or probabilities [B, classes]."""


@dataclass(frozen=True)
class SquaredError:
    """L = Σ_k (actual_k − output_k)²; its total over rows is the residual sum of squares."""

    name: ClassVar[str] = "squared_error"
    tasks: ClassVar[tuple[str, ...]] = ("regression",)

    def outputs(self, targets: int, classes: int) -> int:
        """One for each target."""
        return targets

    def check(self, targets: Matrix, outputs: int) -> None:
        """T = K."""
        _check_width(self, targets, outputs)

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Shapes as in Loss."""
        return np.asarray(np.square(targets - outputs).sum(axis=1))

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """−2 (actual − output)."""
        return 2 * (outputs - targets)

    def prediction(self, outputs: Matrix) -> Matrix:
        """The outputs themselves."""
        return outputs


@dataclass(frozen=True)
class LogLoss:
    """L = −log p of the class that came, with p(1) = sigmoid(output); targets are 0 or 1."""

    name: ClassVar[str] = "log_loss"
    tasks: ClassVar[tuple[str, ...]] = ("binary",)

    def outputs(self, targets: int, classes: int) -> int:
        """One, whose sigmoid is the probability of class 1."""
        return 1

    def check(self, targets: Matrix, outputs: int) -> None:
        """T = K; 0 or 1."""
        _check_width(self, targets, outputs)
        _check_each(targets, (targets == 0) | (targets == 1), "0 or 1")

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """−log sigmoid(± output), with + where the target is 1: never overflows and never cancels."""
        return np.asarray(softplus((1 - 2 * targets) * outputs).sum(axis=1))

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """P − target."""
        return np.asarray(sigmoid(outputs) - targets)

    def prediction(self, outputs: Matrix) -> Matrix:
        """[B, 2]: the probabilities of class 0 and class 1."""
        return np.hstack([sigmoid(-outputs), sigmoid(outputs)])


@dataclass(frozen=True)
class CrossEntropy:
    """L = −log p of the class that came, with p = softmax(outputs); targets are class numbers from 0."""

    name: ClassVar[str] = "cross_entropy"
    tasks: ClassVar[tuple[str, ...]] = ("binary", "multiclass")

    def outputs(self, targets: int, classes: int) -> int:
        """One for each class."""
        return classes

    def check(self, targets: Matrix, outputs: int) -> None:
        """T = 1; whole numbers from 0 up to K − 1."""
        _check_width(self, targets, 1)
        whole = (targets >= 0) & (targets < outputs) & (targets == np.floor(targets))
        _check_each(targets, whole, f"a class number from 0 to {outputs - 1}")

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Minus the logarithm of the softmax at the target."""
        return -np.take_along_axis(_log_softmax(outputs), _class_numbers(targets), axis=1)[:, 0]

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """P − 1 at the target, p elsewhere."""
        gradient = np.exp(_log_softmax(outputs))
        np.put_along_axis(
            gradient,
            _class_numbers(targets),
            np.take_along_axis(gradient, _class_numbers(targets), axis=1) - 1,
            axis=1,
        )
        return np.asarray(gradient)

    def prediction(self, outputs: Matrix) -> Matrix:
        """[B, K]: the probability of each class."""
        return np.asarray(np.exp(_log_softmax(outputs)))


def _check_width(loss: Loss, targets: Matrix, width: int) -> None:
    if targets.ndim != 2 or targets.shape[1] != width:
        raise DataError(f"The targets have shape {targets.shape}: {loss.name} takes {width} columns here.")


def _check_each(targets: Matrix, possible: Mask, what: str) -> None:
    if not possible.all():
        row, column = (int(i) for i in np.argwhere(~possible)[0])
        raise DataError(f"The target of row {row} is {targets[row, column]}: it must be {what}.")


def _log_softmax(outputs: Matrix) -> Matrix:
    """log(exp(o_k) / Σ exp(o)), the largest output taken out first so that nothing overflows."""
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _class_numbers(targets: Matrix) -> np.typing.NDArray[np.int64]:
    return targets.astype(np.int64)


LOSSES: dict[str, type[Loss]] = {each.name: each for each in (SquaredError, LogLoss, CrossEntropy)}


def loss_named(choice: str | Loss) -> Loss:
    """The loss in these words (see groups.py), or the given one. Raises SettingError as from_words."""
    return from_words(choice, LOSSES, "loss") if isinstance(choice, str) else choice
