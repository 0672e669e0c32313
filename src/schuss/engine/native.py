"""The C++ core, in float32 or with products in bf16: whole chunks of steps in one call, without the interpreter lock.

Here the arguments are checked and brought into the form that `core/` trusts: C-contiguous float32, codes below their
number of levels, class numbers below K, row numbers below N. Rows are looked at once, however many calls they serve.
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from schuss import _core
from schuss.arrays import Codes, Matrix, RowIndex, Rows, Vector
from schuss.descent.optimizers import Optimizer, constants
from schuss.engine.protocol import Cost, EngineState, Watched, check_rates
from schuss.errors import DataError, EngineError, SettingError
from schuss.network import Network
from schuss.network.layers import DropoutLayer, EmbeddingLayer, Layer, NormLayer, ResidualLayer

_Float32: TypeAlias = NDArray[np.float32]
_Arrays: TypeAlias = tuple[_Float32, Codes, _Float32, _Float32, _Float32]

_NONE: _Float32 = np.empty(0, np.float32)  # for the core: there is none


class NativeEngine:
    """See Engine for what each method promises; W, the optimiser's vectors and outputs are float32.

    Arguments:
        network, cost, optimizer, seed, threads, precision: see make_engine.
        settle: how many of them train is found out by trying; otherwise all do.

    Raises:
        EngineError: the core does not know the activation, loss or optimiser; SCHUSS_ISA names an instruction set that
            this processor does not have; SCHUSS_THREADS is no number of threads; or precision is "bf16", and this
            processor has no instructions for it or SCHUSS_ISA names less than v4.
        MemoryError: there is no room for W. The methods that look at rows raise it for a batch; a smaller one may do.
    """

    name: ClassVar[str] = "native"

    def __init__(
        self,
        network: Network,
        cost: Cost,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        threads: int | None = None,
        precision: str = "float32",
        settle: bool = True,
    ) -> None:
        if network.parameters > 2**48:  # sizes in bytes must stay far below 2⁶⁴
            raise MemoryError(f"W would have {network.parameters:,} numbers: take a smaller network.")
        self._network, self._loss, self._memory = network, cost.loss, optimizer.memory
        self._targets = network.outputs if self._loss.several else 1
        rule = constants(optimizer)
        weight_decay, clip_value, clip_norm = (rule.pop(name) for name in ("weight_decay", "clip_value", "clip_norm"))
        try:
            self._core = _core.Engine(
                layers=list(_described(network.layers)),
                parameters=network.parameters,
                features=network.inputs,
                levels=list(network.categories),
                widths=list(network.embeddings),
                knot_counts=[len(knots) for knots in network.knots] or [0] * network.inputs,
                knots=[knot for knots in network.knots for knot in knots],
                knot_width=(network.numeric_embedding or 0) if network.bins else 0,
                targets=self._targets,
                loss=self._loss.name,
                loss_numbers=self._loss.numbers(network.outputs),
                l1=cost.l1,
                l2=cost.l2,
                mean_weight=cost.mean_weight,
                optimizer=optimizer.name,
                constants=list(rule.items()),
                weight_decay=weight_decay,
                clip_value=clip_value,
                clip_norm=clip_norm,
                seed=seed,
                threads=threads or 0,
                settle=settle,
                precision=precision,
            )
        except ValueError as error:
            raise EngineError(f"The native engine cannot be used: {error}") from None
        self._averages = False  # whether there is an average, as in the state that was loaded last
        self._inputs: WeakKeyDictionary[Rows, tuple[_Float32, Codes, _Float32]] = WeakKeyDictionary()
        self._labels: WeakKeyDictionary[Rows, tuple[_Float32, _Float32]] = WeakKeyDictionary()

    @property
    def isa(self) -> str:
        """The instruction set in use: baseline, v3 (AVX2), v4 (AVX-512), or bf16 (AVX-512 with products in bf16)."""
        return self._core.isa

    def load(self, state: EngineState) -> None:
        """Copies W, the optimiser's vectors and the average in, as float32."""
        shape = (self._memory, self._network.parameters)
        if state.vectors.shape != shape:
            raise SettingError(f"The optimiser's vectors have shape {state.vectors.shape}: {shape} is expected.")
        average = _NONE if state.average is None else self._vector(state.average)
        self._averages = state.average is not None
        self._core.load(self._vector(state.W), _float32(state.vectors), average, state.step)

    def state(self) -> EngineState:
        """Exact copies out."""
        W = np.empty(self._network.parameters, np.float32)
        vectors = np.empty((self._memory, len(W)), np.float32)
        average = np.empty_like(W) if self._averages else _NONE
        step = self._core.state(W, vectors, average)
        return EngineState(W, vectors, step, average if self._averages else None)

    def train(
        self,
        rows: Rows,
        order: RowIndex,
        batch_size: int,
        learning_rates: Vector,
        epochs: int = 1,
        average_rates: Vector | None = None,
    ) -> Vector:
        """One step a batch, all of them in one call of the core."""
        rates = self._rates(learning_rates, average_rates)
        used = checked_order(order, batch_size, learning_rates, len(rows), epochs)
        losses = np.empty(len(learning_rates))
        if len(losses):
            self._core.train(self._arrays(rows), used, epochs, batch_size, rates, losses)
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
        """All epochs in one call of the core."""
        rates = self._rates(learning_rates, average_rates)
        used = checked_order(order, batch_size, learning_rates, len(rows), epochs)
        if not len(learning_rates):
            raise SettingError("There is no step after which something could be seen: give some learning rates.")
        losses = np.empty(len(learning_rates))
        path = np.empty((epochs, self._network.parameters), np.float32)
        outputs = np.empty((epochs, len(watched), self._network.outputs), np.float32)
        arrays, seen = self._arrays(rows), self._without_labels(watched)
        self._core.train_watched(arrays, used, epochs, batch_size, rates, losses, seen, path, outputs)
        return Watched(losses, path, outputs)

    def gradient(self, W: Vector, rows: Rows, step: int = -1) -> tuple[float, Vector]:
        """Total loss, and the float32 sums that a step of all these rows would use.

        step: whose masks of dropout there are; below 0 for none, as without it.
        """
        gradient = np.empty(self._network.parameters)
        return self._core.gradient(self._vector(W), self._arrays(rows), step, gradient), gradient

    def total_loss(self, W: Vector, rows: Rows) -> float:
        """Forward only."""
        return self._core.total_loss(self._vector(W), self._arrays(rows))

    def outputs(self, W: Vector, rows: Rows, step: int = -1) -> Matrix:
        """Forward only, [N, K] float32; targets are not looked at. step: as in gradient."""
        outputs = np.empty((len(rows), self._network.outputs), np.float32)
        self._core.outputs(self._vector(W), self._without_labels(rows), step, outputs)
        return outputs

    def _rates(self, learning_rates: Vector, average_rates: Vector | None) -> NDArray[np.float64]:
        """[1, steps], or with those of the average [2, steps]."""
        check_rates(self._averages, average_rates)
        rates = [learning_rates] if average_rates is None else [learning_rates, average_rates]
        if {rate.shape for rate in rates} != {(len(learning_rates),)}:
            raise SettingError(f"Rates have shapes {[rate.shape for rate in rates]}: give one of each kind for a step.")
        return np.array(rates, np.float64)

    def _vector(self, W: Vector) -> _Float32:
        """W [P] as float32."""
        if W.shape != (self._network.parameters,):
            raise SettingError(f"W has shape {W.shape}: this network takes ({self._network.parameters},).")
        return _float32(W)

    def _arrays(self, rows: Rows) -> _Arrays:
        """Features [N, F], codes [N, C], targets [N, T], weights [N] and offsets [N], or [0] where there are none."""
        features, codes, offsets = self._checked_inputs(rows)
        return features, codes, *self._checked_labels(rows), offsets

    def _without_labels(self, rows: Rows) -> _Arrays:
        """The same, as if there were no targets and no weights."""
        features, codes, offsets = self._checked_inputs(rows)
        return features, codes, np.empty((0, self._targets), np.float32), _NONE, offsets

    def _checked_inputs(self, rows: Rows) -> tuple[_Float32, Codes, _Float32]:
        if rows not in self._inputs:
            self._network.check_inputs(rows.features, rows.codes)
            if rows.offset is not None and rows.offset.shape != rows.features.shape[:1]:
                raise DataError(f"The offsets have shape {rows.offset.shape}: one for each of {len(rows)} is expected.")
            offsets = _NONE if rows.offset is None else _float32(rows.offset)
            self._inputs[rows] = _float32(rows.features), np.ascontiguousarray(rows.codes, np.int32), offsets
        return self._inputs[rows]

    def _checked_labels(self, rows: Rows) -> tuple[_Float32, _Float32]:
        if rows not in self._labels:
            self._loss.check(rows.targets, self._network.outputs)
            if len(rows.features) != len(rows) or (rows.weights is not None and rows.weights.shape != (len(rows),)):
                raise DataError(f"There are {len(rows)} targets: features, codes and weights must be as many.")
            weights = _NONE if rows.weights is None else _float32(rows.weights)
            self._labels[rows] = _float32(rows.targets), weights
        return self._labels[rows]


def _described(layers: Iterable[Layer]) -> Iterator[tuple[str, int, int, int, str, float]]:
    """Kind, inputs, outputs, start in W, activation and number of every layer, as the core takes them."""
    for layer in layers:
        if isinstance(layer, ResidualLayer):
            yield "fork", layer.units, layer.units, 0, "identity", 0.0
            yield from _described(layer.layers)
            yield "join", layer.units, layer.units, 0, "identity", 0.0
        elif isinstance(layer, DropoutLayer):
            yield "dropout", layer.units, layer.units, 0, "identity", layer.threshold / 65536
        elif isinstance(layer, NormLayer):
            yield "layer_norm", layer.units, layer.units, layer.start, layer.activation, layer.epsilon
        elif isinstance(layer, EmbeddingLayer):
            yield "embedding", layer.inputs, layer.features + layer.vectors, layer.start, layer.activation, 0.0
        else:
            yield "dense", layer.inputs, layer.outputs, layer.start, layer.activation, 0.0


def _float32(values: Matrix | Vector) -> _Float32:
    """C-contiguous float32, a copy only where it must be; what is beyond float32 becomes infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def checked_order(order: RowIndex, batch_size: int, rates: Vector, rows: int, epochs: int) -> RowIndex:
    """The part of the order that these steps visit: at least one row for each step, every one below N."""
    if batch_size < 1:
        raise SettingError(f"batch_size is {batch_size}: it must be at least 1.")
    if order.ndim != 1 or rates.ndim != 1 or len(order) % epochs or len(rates) % epochs:
        raise SettingError(f"{rates.size} steps over an order of shape {order.shape} are no {epochs} epochs.")
    steps, visited = len(rates) // epochs, len(order) // epochs
    if visited <= (steps - 1) * batch_size:
        raise SettingError(f"The order has {visited} rows: {steps} steps of {batch_size} rows need more of them.")
    if epochs > 1 and visited > steps * batch_size:
        raise SettingError(f"Each order has {visited} rows: {steps} steps of {batch_size} rows leave some out.")
    used = np.ascontiguousarray(order[: len(rates) * batch_size], np.int64)
    if len(used) and used.view(np.uint64).max() >= rows:  # a negative number is a huge one there: one look for both
        raise DataError(f"The order names rows {used.min()} to {used.max()}: there are rows 0 to {rows - 1}.")
    return used
