"""Network: a chain of layers as a fixed function of (W, x)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from schuss.arrays import Codes, Mask, Matrix, Vector
from schuss.errors import DataError, SettingError
from schuss.network.activations import activation
from schuss.network.layers import Dense, Dropout, Layer


@dataclass(frozen=True)
class Network:
    """A chain of dense layers, with dropout between them if wanted. It holds no trained numbers: those are W.

    Arguments:
        inputs: numeric features, F.
        hidden: widths of the hidden layers; () is linear or logistic regression.
        outputs: K.
        activation: of the hidden layers; the output layer is linear, the loss brings the link.
        categories: levels of each categorical column; every level owns a row of the first layer's weights,
            as if the column were one-hot.
        initializer: how weights start; None leaves it to the activation.
        dropout: probability with which each unit of a hidden layer is 0 in a training step, and in nothing else; at
            least 0 and below 1.

    Raises:
        SettingError: a width is below 1, nothing comes in, a name is unknown, or the dropout is out of range.

    >>> Network(inputs=8, hidden=(16,), outputs=1, activation="tanh").parameters
    161
    """

    inputs: int
    hidden: Sequence[int] = ()
    outputs: int = 1
    activation: str = "relu"
    categories: Sequence[int] = ()
    initializer: str | None = None
    dropout: float = 0.0
    layers: tuple[Layer, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(int(width) for width in self.hidden))
        object.__setattr__(self, "categories", tuple(int(levels) for levels in self.categories))
        if min((*self.hidden, *self.categories, self.outputs), default=1) < 1 or self.inputs < 0:
            raise SettingError(f"Every width of a network must be at least 1: {self}.")
        object.__setattr__(self, "dropout", float(self.dropout))
        if not 0 <= self.dropout < 1:
            raise SettingError(f"dropout is {self.dropout}: it must be at least 0 and below 1.")
        object.__setattr__(self, "layers", self._chain())

    def _chain(self) -> tuple[Layer, ...]:
        layers: list[Layer] = []
        inputs, fan_in, start = self.inputs + sum(self.categories), self.inputs + len(self.categories), 0
        for number, width in enumerate((*self.hidden, self.outputs), start=1):
            last = number > len(self.hidden)
            function = activation("identity" if last else self.activation)
            name, initializer = "output" if last else f"hidden{number}", self.initializer or function.initializer
            layers.append(Dense(name, inputs, width, function.name, initializer, fan_in, start))
            start, inputs, fan_in = start + layers[-1].size, width, width
            if self.dropout and not last:
                layers.append(Dropout(f"dropout{number}", width, self.dropout, number - 1))
        return tuple(layers)

    @cached_property
    def dense(self) -> tuple[Dense, ...]:
        """The layers that have numbers in W, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Dense))

    @property
    def parameters(self) -> int:
        """P, the length of W: all weights and all biases."""
        return sum(layer.size for layer in self.layers)

    @cached_property
    def is_weight(self) -> Mask:
        """[P] True at weights, False at biases: what penalty and decay look at."""
        mask = np.zeros(self.parameters, np.bool_)
        for layer in self.dense:
            mask[layer.start : layer.bias_start] = True
        return mask

    def description(self) -> dict[str, Any]:
        """The arguments that make this network again, in plain types."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.init}

    def layer(self, name: str) -> Dense:
        """The dense layer of that name: hidden1, hidden2, …, output.

        Raises:
            SettingError: there is none.
        """
        for layer in self.dense:
            if layer.name == name:
                return layer
        raise SettingError(f"There is no layer {name!r}: choose one of {', '.join(each.name for each in self.dense)}.")

    def weights(self, W: Vector, name: str) -> Matrix:
        """View, never a copy, of the weights of a layer in W, [inputs, outputs]."""
        return self.layer(name).weights(W)

    def biases(self, W: Vector, name: str) -> Vector:
        """View of the biases of a layer in W, [outputs]."""
        return self.layer(name).biases(W)

    def initial(self, seed: int = 0) -> Vector:
        """The starting W, [P] float32: random weights by each layer's initializer, biases 0; the same for a seed."""
        W = np.zeros(self.parameters)
        for number, layer in enumerate(self.dense):
            key: Any = _Key(seed, number)  # NumPy's own annotation knows no ISeedSequence
            layer.initialize(W, np.random.Generator(np.random.Philox(key)))
        return W.astype(np.float32)

    def check_inputs(self, features: Matrix, codes: Codes) -> None:
        """Raises DataError where features [N, F] or codes [N, C] are not what this network takes."""
        expected = (len(features), self.inputs), (len(features), len(self.categories))
        if (features.shape, codes.shape) != expected:
            raise DataError(
                f"Features and codes have shapes {features.shape} and {codes.shape}: "
                f"this network takes {expected[0]} and {expected[1]}."
            )
        for column, levels in enumerate(self.categories if len(codes) else ()):
            least, greatest = codes[:, column].min(), codes[:, column].max()
            if least < -1 or greatest >= levels:
                raise DataError(
                    f"Codes of categorical column {column} run from {least} to {greatest}: it has {levels} levels, so "
                    f"that -1 to {levels - 1} are possible."
                )

    def input_matrix(self, features: Matrix, codes: Codes) -> Matrix:
        """What the first layer multiplies, [B, F + Σ levels]: the features, then every code as one-hot.

        A code of -1 is "no level" and gives only zeros.
        """
        x = np.zeros((len(features), self.inputs + sum(self.categories)), features.dtype)
        x[:, : self.inputs] = features
        start = self.inputs
        for column, levels in enumerate(self.categories):
            row = np.flatnonzero(codes[:, column] >= 0)
            x[row, start + codes[row, column]] = 1
            start += levels
        return x


class _Key(ISeedSequence):
    """The key (seed, stream) of a Philox; given as key=(seed, stream), it draws entropy first, and throws it away."""

    def __init__(self, seed: int, stream: int) -> None:
        self._key = np.array((seed, stream), np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[np.uint64]:
        return self._key
