"""Training with a loss or a rule that a person wrote in Python: called once a step, with the arithmetic in the core.

A loss is told the outputs of the batch; the derivatives that it returns go back through the network as those of
L = Σ_k output_k · derivative_k. A rule is told the gradient of the batch.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from schuss.arrays import Matrix, RowIndex, Rows, Vector
from schuss.descent.optimizers import OPTIMIZERS, GradientDescent, Optimizer
from schuss.engine.native import NativeEngine, checked_order
from schuss.engine.protocol import Cost, EngineState, Watched, check_rates, follow, watch_each_epoch
from schuss.losses import LOSSES, SquaredError
from schuss.network import Network
from schuss.own import OwnLoss


class StepwiseEngine:
    """See Engine for what each method promises, and make_engine for the arguments."""

    name: ClassVar[str] = "stepwise"

    def __init__(
        self,
        network: Network,
        cost: Cost,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        self._network, self._cost, self._optimizer = network, cost, optimizer
        self._own_loss = type(cost.loss) not in LOSSES.values()
        self._own_rule = type(optimizer) not in OPTIMIZERS.values()
        inner = replace(cost, loss=_Linear()) if self._own_loss else cost
        rule = GradientDescent() if self._own_rule else optimizer
        self._native = NativeEngine(network, inner, rule, seed=seed, threads=threads, precision=precision)
        self.load(EngineState.start(np.zeros(network.parameters, np.float32), optimizer))

    def load(self, state: EngineState) -> None:
        """Copies W, the optimiser's vectors and the average in, as float32."""
        self._state, self._rule = state.copy(np.float32), deepcopy(self._optimizer)
        if not self._own_rule:
            self._native.load(state)

    def state(self) -> EngineState:
        """Exact copies out."""
        return self._state.copy(np.float32) if self._own_rule else self._native.state()

    def train(
        self,
        rows: Rows,
        order: RowIndex,
        batch_size: int,
        learning_rates: Vector,
        epochs: int = 1,
        average_rates: Vector | None = None,
    ) -> Vector:
        """One step a batch, each in calls of its own."""
        check_rates(self._state.average is not None, average_rates)
        used = checked_order(order, batch_size, learning_rates, len(rows), epochs).reshape(epochs, -1)
        steps, losses = len(learning_rates) // epochs, np.zeros(len(learning_rates))
        for number in range(len(losses)):
            start, here = number % steps * batch_size, slice(number, number + 1)
            batch = rows.take(used[number // steps, start : start + batch_size])
            step = self._step_of_own_rule if self._own_rule else self._step_of_own_loss
            losses[number] = step(batch, learning_rates[here], None if average_rates is None else average_rates[here])
        return losses

    def _step_of_own_loss(self, batch: Rows, rates: Vector, average_rates: Vector | None) -> float:
        """The rule is ours: the core takes the step."""
        state = self._native.state()
        total, batch = self._told(state.W, batch, state.step)
        self._native.train(batch, np.arange(len(batch)), len(batch), rates, 1, average_rates)
        return total / (len(batch) * self._cost.mean_weight)

    @np.errstate(over="ignore", invalid="ignore")  # the loop calls it divergence
    def _step_of_own_rule(self, batch: Rows, rates: Vector, average_rates: Vector | None) -> float:
        state, is_weight, count = self._state, self._network.is_weight, len(batch) * self._cost.mean_weight
        told, batch = self._told(state.W, batch, state.step) if self._own_loss else (None, batch)
        total, gradient = self._native.gradient(state.W, batch, state.step)
        gradient = (gradient / count + self._cost.penalty_gradient(state.W, is_weight)).astype(np.float32)
        self._rule.update(state.W, gradient, state.vectors, float(rates[0]), state.step + 1, is_weight)
        if state.average is not None and average_rates is not None:
            follow(state.average, state.W, float(average_rates[0]))
        self._state = replace(state, step=state.step + 1)
        return (total if told is None else told) / count

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
        """Total loss, and the float32 sums that a step of all these rows would use."""
        if not self._own_loss:
            return self._native.gradient(W, rows)
        total, rows = self._told(W, rows)
        return total, self._native.gradient(W, rows)[1]

    def total_loss(self, W: Vector, rows: Rows) -> float:
        """Forward only."""
        return self._told(W, rows)[0] if self._own_loss else self._native.total_loss(W, rows)

    def outputs(self, W: Vector, rows: Rows) -> Matrix:
        """Forward only, [N, K] float32; targets are not looked at."""
        return self._native.outputs(W, rows)

    def _told(self, W: Vector, rows: Rows, step: int = -1) -> tuple[float, Rows]:
        """The total of the person's loss, and the rows with its derivatives as targets; step: whose masks there are."""
        loss, outputs = self._cost.loss, self._native.outputs(W, rows, step).astype(np.float64)
        loss.check(rows.targets, self._network.outputs)
        if isinstance(loss, OwnLoss):
            losses, derivatives = loss.weighted(outputs, rows.targets, rows.weights)
        else:
            weight = np.ones(len(rows)) if rows.weights is None else rows.weights
            losses, derivatives = loss.value(outputs, rows.targets), loss.derivative(outputs, rows.targets)
            losses, derivatives = losses * weight, derivatives * weight[:, np.newaxis]
        return float(losses.sum(dtype=np.float64)), Rows(rows.features, rows.codes, derivatives)


@dataclass(frozen=True)
class _Linear(SquaredError):
    """L = Σ_k target_k · output_k. The core computes it."""

    name: ClassVar[str] = "linear"
