"""The mathematics of training on one page, in NumPy and float64. Every other engine is tested against this one.

    x⁰ = features, one-hot codes        xˡ = layerˡ(xˡ⁻¹), mostly activation(xˡ⁻¹ Vˡ + bˡ)
    output = the last xˡ (+ offset)
    total loss = Σ w_i L_i(W)           average loss = total loss / Σ w_i
    cost of a batch = Σ w_i L_i / (B · mean weight) + λ₁ Σ |weight| + ½ λ₂ ‖weights‖²
    one step: W ← rule(W, ∂ cost / ∂ W)        average ← average + rate · (W − average)
    in a step, dropout multiplies each hidden xˡ by a mask

All numbers of layers, as Vˡ and bˡ, are slices of one vector W.
"""

from copy import deepcopy
from dataclasses import replace
from typing import ClassVar

import numpy as np

from schuss.arrays import Matrix, RowIndex, Rows, Vector
from schuss.descent.optimizers import Optimizer
from schuss.engine.protocol import Cost, EngineState, Watched, check_rates, follow, watch_each_epoch
from schuss.network import Network
from schuss.network.layers import Backward
from schuss.network.masks import Draw

# An overflow or a NaN is for the loop to see: it calls that divergence. NumPy's own warnings would only repeat it.
_quiet = np.errstate(over="ignore", invalid="ignore")
_TILE = 1024  # rows that are worked on at a time, so that memory stays bounded whatever N is


class ReferenceEngine:
    """Slow, exact and short: one thread and float64 for all. See Engine for what each method promises."""

    name: ClassVar[str] = "reference"

    def __init__(
        self,
        network: Network,
        cost: Cost,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        threads: int | None = None,
        precision: str = "float64",
    ) -> None:
        self._network, self._cost, self._optimizer, self._seed = network, cost, optimizer, seed
        self.load(EngineState.start(np.zeros(network.parameters), optimizer))

    def load(self, state: EngineState) -> None:
        """Copies W, the optimiser's vectors and the average in, as float64."""
        self._state, self._rule = state.copy(np.float64), deepcopy(self._optimizer)

    def state(self) -> EngineState:
        """Copies out."""
        return self._state.copy(np.float64)

    @_quiet
    def train(
        self,
        rows: Rows,
        order: RowIndex,
        batch_size: int,
        learning_rates: Vector,
        epochs: int = 1,
        average_rates: Vector | None = None,
    ) -> Vector:
        """One step a batch."""
        check_rates(self._state.average is not None, average_rates)
        W, vectors, step = self._state.W, self._state.vectors, self._state.step
        losses = np.zeros(len(learning_rates))
        orders, steps = order.reshape(epochs, -1), len(learning_rates) // epochs
        for number, learning_rate in enumerate(learning_rates):
            epoch, start = number // steps, number % steps * batch_size
            batch = rows.take(orders[epoch, start : start + batch_size])
            total, gradient = self._gradient(W, batch, Draw(self._seed, step))
            count = len(batch) * self._cost.mean_weight
            gradient = gradient / count + self._cost.penalty_gradient(W, self._network.is_weight)
            step += 1
            self._rule.update(W, gradient, vectors, float(learning_rate), step, self._network.is_weight)
            if self._state.average is not None and average_rates is not None:
                follow(self._state.average, W, average_rates[number])
            losses[number] = total / count
        self._state = replace(self._state, step=step)
        return losses

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
        """Epoch by epoch."""
        return watch_each_epoch(self, rows, order, batch_size, learning_rates, watched, epochs, average_rates)

    def gradient(self, W: Vector, rows: Rows) -> tuple[float, Vector]:
        """Total loss, and the sums that a step without dropout would use."""
        return self._gradient(W, rows, None)

    @_quiet
    def _gradient(self, W: Vector, rows: Rows, draw: Draw | None) -> tuple[float, Vector]:
        """Forward with all that going back needs, then back, layer by layer; with masks where something is drawn."""
        total, gradient = 0.0, np.zeros(len(W))
        for number, tile in enumerate(rows.batches(_TILE)):
            outputs, backwards = self._forward(W, tile, draw and replace(draw, first_row=number * _TILE))
            total += _weighted_sum(self._cost.loss.value(outputs, tile.targets), tile.weights)
            d_output = self._cost.loss.derivative(outputs, tile.targets)
            if tile.weights is not None:
                d_output = d_output * tile.weights[:, np.newaxis]
            for backward in reversed(backwards):
                d_output = backward(d_output, gradient)
        return total, gradient

    def total_loss(self, W: Vector, rows: Rows) -> float:
        """Forward only."""
        return sum(
            _weighted_sum(self._cost.loss.value(self._forward(W, tile)[0], tile.targets), tile.weights)
            for tile in rows.batches(_TILE)
        )

    def outputs(self, W: Vector, rows: Rows) -> Matrix:
        """Forward only, [N, K] float64."""
        return np.concatenate([self._forward(W, tile)[0] for tile in rows.batches(_TILE)])

    @_quiet
    def _forward(self, W: Vector, rows: Rows, draw: Draw | None = None) -> tuple[Matrix, list[Backward]]:
        """Outputs [B, K], and each layer's way back."""
        W = np.asarray(W, np.float64)
        x, backwards = self._network.input_matrix(rows.features.astype(np.float64), rows.codes), []
        for layer in self._network.layers:
            x, backward = layer.forward(W, x, draw)
            backwards.append(backward)
        if rows.offset is not None:
            x[:, 0] += rows.offset
        return x, backwards


def _weighted_sum(losses: Vector, weights: Vector | None) -> float:
    """Σ w_i L_i in float64."""
    return float(np.sum(losses if weights is None else losses * weights, dtype=np.float64))
