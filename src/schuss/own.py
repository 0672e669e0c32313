"""Losses that a person wrote: a function that returns the derivative too, or one that PyTorch derives.

The function sees outputs and targets in the target's own units, whatever training makes of them. In training its loss
is divided by the target's deviation, so that the derivative by a standardised output is the one that it returns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from schuss.arrays import Matrix, Outputs, Rows, Vector
from schuss.errors import SettingError, one_line
from schuss.losses import CrossEntropy, LogLoss, Loss, Poisson, SquaredError, Support

# The loss that has the same link, and so takes the same targets.
_LINKS: dict[str, Loss] = {
    "identity": SquaredError(),
    "log": Poisson(),
    "sigmoid": LogLoss(),
    "softmax": CrossEntropy(),
}
CHECKED_ROWS = 64  # are enough for check_loss
_STEP = 1e-3  # of an output, in deviations of the target: float32 inside the function is exact enough for it
_SLACK = 1e-2  # of a difference: what its step may hide


@dataclass(frozen=True)
class OwnLoss(Loss):
    """Any function of a row's output and target, called in Python at every step.

    function: (output [B, K], target [B, T], weight [B]) -> (loss [B], derivative of the loss by the output [B, K]), all
        float64 and both multiplied by the weight, which is 1 where there are no weights. A target is a number in its
        own unit, 0 or 1, or a class number. A row's loss is its own matter: it depends on no other row.
    link: identity for a regression, with K = T; log for one whose outputs are logarithms of means, of targets from 0
        on; sigmoid for two classes, with K = 1; softmax for classes, an output for
        each. It makes predictions of outputs, and is what a .schuss file holds of this loss.
    mean, deviation: of the target columns of a regression, taken from the table: what makes 0 and 1 of the network's
        output the target's own units.

    Before training the derivative is compared with differences of the loss.

    >>> def squared(output, target, weight):
    ...     return weight * (output - target)[:, 0] ** 2, 2 * weight[:, None] * (output - target)
    >>> OwnLoss(squared).value(np.array([[3.0]]), np.array([[1.0]]))
    array([4.])
    """

    function: Callable[..., Any] | None = None
    link: str = "identity"
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    name: ClassVar[str] = "own"

    def __post_init__(self) -> None:
        if self.link not in _LINKS:
            raise SettingError(f"The link of an own loss is {self.link!r}: choose one of {', '.join(_LINKS)}.")

    @property
    def tasks(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the link."""
        return _LINKS[self.link].tasks

    @property
    def support(self) -> Support:  # type: ignore[override]
        """That of the link."""
        return _LINKS[self.link].support

    @property
    def several(self) -> bool:  # type: ignore[override]
        """As the link has it."""
        return _LINKS[self.link].several

    @property
    def _scale(self) -> float:
        """What 1 of the loss in training is in the function's own units."""
        return float(np.mean(self.deviation)) if self.deviation else 1.0

    def standardised(self, deviations: Sequence[float]) -> Self:
        """With the deviations; the means are there already."""
        return replace(self, deviation=tuple(deviations))

    def unit(self, deviation: float) -> tuple[float, float]:
        """The deviation."""
        return deviation, 0.0

    @property
    def title(self) -> str:
        """Of the function that a person knows."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def outputs(self, targets: int, classes: int) -> int:
        """As the link has them."""
        return _LINKS[self.link].outputs(targets, classes)

    def check(self, targets: Matrix, outputs: int) -> None:
        """As the link demands."""
        _LINKS[self.link].check(targets, outputs)

    def constant(self, targets: Matrix, weights: Vector) -> Vector:
        """Means or shares: the best constant of the loss of the link."""
        return _LINKS[self.link].constant(targets, weights)

    def freed(self, targets: Matrix, weights: Vector, offset: Vector) -> tuple[Matrix, Vector]:
        """As the loss of the link has it."""
        return _LINKS[self.link].freed(targets, weights, offset)

    def prediction(self, outputs: Matrix) -> Matrix:
        """The link."""
        return _LINKS[self.link].prediction(outputs)

    def averaged(self, outputs: Outputs) -> Matrix:
        """As the link has it."""
        return _LINKS[self.link].averaged(outputs)

    def value(self, outputs: Matrix, targets: Matrix) -> Vector:
        """Shapes as in Loss."""
        return self.weighted(outputs, targets, None)[0]

    def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
        """As the function returns it."""
        return self.weighted(outputs, targets, None)[1]

    def weighted(self, outputs: Matrix, targets: Matrix, weights: Vector | None) -> tuple[Vector, Matrix]:
        """w_i L_i [B] and its derivatives [B, K], from one call of the function.

        Raises:
            SettingError: the function fails, or returns something else than it should.
        """
        if self.function is None:
            raise SettingError(
                "A file holds no function: set the model's loss to schuss.OwnLoss(function, link) again."
            )
        weight = np.ones(len(targets)) if weights is None else weights.astype(np.float64)
        try:
            losses, derivatives = self._call(self.in_own_units(outputs), self.in_own_units(targets), weight)
            losses, derivatives = np.asarray(losses, np.float64), np.asarray(derivatives, np.float64)
        except Exception as error:
            told = f"{type(error).__name__}: {one_line(error)}"
            raise SettingError(f"The loss {self.title} failed ({told}): it must return {self._promise}.") from error
        if losses.shape != (len(outputs),) or derivatives.shape != outputs.shape:
            raise SettingError(
                f"The loss {self.title} returned shapes {losses.shape} and {derivatives.shape} for outputs "
                f"{outputs.shape}: it must return {self._promise}."
            )
        return losses / self._scale, derivatives * np.divide(self.deviation or 1.0, self._scale)

    def in_own_units(self, values: Outputs) -> Outputs:
        """Outputs or targets [..., T] as the function sees them, a copy in float64."""
        if not self.deviation:
            return values.astype(np.float64)
        return np.asarray(values.astype(np.float64) * np.array(self.deviation) + np.array(self.mean))

    _promise: ClassVar[str] = "losses [B] and derivatives [B, K]"

    def _call(self, outputs: Matrix, targets: Matrix, weights: Vector) -> Any:
        assert self.function is not None
        return self.function(outputs, targets, weights)


@dataclass(frozen=True)
class TorchLoss(OwnLoss):
    """As OwnLoss, with a function of float64 tensors that returns the losses [B] alone: PyTorch finds the derivative.

    >>> TorchLoss(lambda output, target, weight: weight * (output - target)[:, 0].abs(), "identity").link
    'identity'
    """

    _promise: ClassVar[str] = "a tensor of losses [B] that depends on the outputs"

    def _call(self, outputs: Matrix, targets: Matrix, weights: Vector) -> Any:
        import torch

        assert self.function is not None
        leaf = torch.from_numpy(outputs).requires_grad_()
        losses = self.function(leaf, torch.from_numpy(targets), torch.from_numpy(weights))
        (derivatives,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach().numpy(), derivatives.numpy()


def check_loss(loss: Loss, outputs: Matrix, rows: Rows) -> None:
    """Compares a loss that a person wrote with its derivative, near the outputs that training begins with.

    The derivative must lie between the differences to the left and to the right: at a kink it may be any slope there.

    Arguments:
        outputs: of the network, [N, K]; CHECKED_ROWS of them will do.
        rows: with the targets and weights as the engine takes them.

    Raises:
        SettingError: the derivative is another, something is not finite, or weights play no part.
    """
    moved = np.random.default_rng(0).normal(scale=0.1, size=outputs.shape)  # away from kinks where outputs are all 0
    outputs, targets, scale = outputs + moved, rows.targets, np.ones(outputs.shape[1])
    if isinstance(loss, OwnLoss):
        outputs, targets, scale = loss.in_own_units(outputs), loss.in_own_units(targets), scale * (loss.deviation or 1)
        loss = replace(loss, mean=(), deviation=())
    values, derivatives = loss.value(outputs, targets), loss.derivative(outputs, targets)
    title = loss.title if isinstance(loss, OwnLoss) else type(loss).__name__
    most = np.abs(np.nan_to_num(derivatives, posinf=0, neginf=0)).max()
    for k, step in enumerate(_STEP * scale):
        move = np.zeros_like(outputs)
        move[:, k] = step
        left = (values - loss.value(outputs - move, targets)) / step
        right = (loss.value(outputs + move, targets) - values) / step
        found = derivatives[:, k]
        slack = _SLACK * np.maximum(np.abs(left), np.abs(right)) + 0.1 * _SLACK * most
        fits = (found >= np.minimum(left, right) - slack) & (found <= np.maximum(left, right) + slack)
        if not (fits & np.isfinite(values)).all():
            row = int(np.argmin(fits & np.isfinite(values)))
            raise SettingError(
                f"The loss {title} of row {row}, with output {outputs[row]} and target {targets[row]}, is "
                f"{values[row]:.6g}. It says that its derivative by output {k} is {found[row]:.6g}, and its "
                f"differences say {(left[row] + right[row]) / 2:.6g}: mend it, or let schuss.TorchLoss find it."
            )
    if isinstance(loss, OwnLoss) and rows.weights is not None:
        _check_weights(loss, outputs, targets, rows.weights)


def _check_weights(loss: OwnLoss, outputs: Matrix, targets: Matrix, weights: Vector) -> None:
    """Loss and derivative of a weight w are w times those of the weight 1."""
    each = zip(loss.weighted(outputs, targets, weights), loss.weighted(outputs, targets, None), strict=True)
    for found, alone in each:
        expected = (alone.T * weights).T
        if not np.allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max(), equal_nan=True):
            raise SettingError(f"The loss {loss.title} ignores weights: multiply losses and derivatives by them.")
