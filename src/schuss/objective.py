"""Objective: the cost of a network over rows as a function of W, for any routine that minimises a function."""

import numpy as np
from numpy.typing import ArrayLike

from schuss.arrays import Rows, Vector
from schuss.descent.optimizers import GradientDescent
from schuss.engine.protocol import Cost
from schuss.engine.reference import ReferenceEngine
from schuss.errors import SettingError
from schuss.losses import Loss, loss_named
from schuss.network import Network


class Objective:
    """The average loss over rows, plus the penalty, as a function of W in float64.

    objective(W) = (Σ w_i L_i(W)) / (Σ w_i) + l1 Σ |weight| + ½ l2 ‖weights‖²

    Arguments:
        network: the function (W, x) -> output; its dropout plays no part.
        loss: the name of a loss, or a loss.
        rows: encoded rows, as Rows.from_arrays makes them.
        l2: λ₂ of the penalty on weights, biases and layer norm free; at least 0.
        l1: λ₁, likewise. Where a weight is 0 it has no slope; the gradient has 0 there.

    Raises:
        DataError: the rows do not fit the network or the loss.

    >>> rows = Rows.from_arrays([[0.0], [1.0]], [1.0, 3.0])
    >>> float(Objective(Network(inputs=1), "squared_error", rows)(np.array([2.0, 1.0])))
    0.0
    """

    def __init__(self, network: Network, loss: str | Loss, rows: Rows, l2: float = 0.0, l1: float = 0.0) -> None:
        loss = loss_named(loss)
        network.check_inputs(rows.features, rows.codes)
        loss.check(rows.targets, network.outputs)
        self.network, self.loss, self.rows = network, loss, rows
        self._cost = Cost(loss, l2, l1=l1)
        self._engine = ReferenceEngine(network, self._cost, GradientDescent())

    def __call__(self, W: ArrayLike) -> float:
        """The cost at W: average loss plus penalty."""
        return self.average(W) + self.penalty(W)

    def gradient(self, W: ArrayLike) -> Vector:
        """D objective / d W, [P] float64."""
        vector = self._vector(W)
        _, gradient = self._engine.gradient(vector, self.rows)
        return gradient / self.rows.total_weight + self._cost.penalty_gradient(vector, self.network.is_weight)

    def total(self, W: ArrayLike) -> float:
        """The total loss Σ w_i L_i, without penalty: for squared error, the residual sum of squares."""
        return self._engine.total_loss(self._vector(W), self.rows)

    def average(self, W: ArrayLike) -> float:
        """The total loss over Σ w_i, without penalty."""
        return self.total(W) / self.rows.total_weight

    def penalty(self, W: ArrayLike) -> float:
        """L1 Σ |weight| + ½ l2 ‖weights‖², biases free."""
        return self._cost.penalty(self._vector(W)[self.network.is_weight])

    def _vector(self, W: ArrayLike) -> Vector:
        vector = np.asarray(W, np.float64)
        if vector.shape != (self.network.parameters,):
            raise SettingError(f"W has shape {vector.shape}: this network takes ({self.network.parameters},).")
        return vector
