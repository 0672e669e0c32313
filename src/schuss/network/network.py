"""Network: a chain of layers as a fixed function of (W, x)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from schuss.arrays import Codes, Mask, Matrix, Vector
from schuss.errors import DataError, SettingError
from schuss.network.activations import activation
from schuss.network.layers import (
    DenseLayer,
    DropoutLayer,
    EmbeddingLayer,
    Layer,
    LayerInW,
    NormLayer,
    ResidualLayer,
    every_layer,
)
from schuss.network.specifications import (
    Dense,
    Dropout,
    Hidden,
    HiddenLayer,
    LayerNorm,
    Residual,
    hidden_layers,
    layer_in_words,
)

_Placed = TypeVar("_Placed", bound=LayerInW)


@dataclass(frozen=True)
class Network:
    """A chain of layers. It holds no trained numbers: those are W.

    Arguments:
        inputs: numeric features, F.
        hidden: the hidden layers: widths of dense ones, Dense, LayerNorm, Dropout and Residual, mixed at will; () is
            linear or logistic regression. Words do as well: "256, layer_norm(relu), residual(256, dropout(0.1), 256)".
        outputs: K.
        activation: of the dense hidden layers that have none of their own; the output layer is linear, the loss brings
            the link.
        categories: levels of each categorical column; every level owns a row of the first layer's weights,
            as if the column were one-hot, or a vector where there is an embedding.
        initializer: how weights start; None leaves it to the activation.
        dropout: probability with which each unit of a hidden layer is 0 in a training step, and in nothing else; at
            least 0 and below 1. Only where the hidden layers are widths alone.
        embedding: length of the vector that stands for a level of a categorical column among the inputs, of all or of
            each; None or 0 for one-hot, which needs a dense layer to begin with.
        knots: of each feature, ascending numbers in float32, between which the network is piecewise linear in it:
            beside itself, the feature is the inputs e_b = (x − knot_b) / (knot_b+1 − knot_b), kept from 0 to 1. () for
            a feature that is only itself, or for all. (Gorishniy, Rubachev and Babenko 2022, section 3.2.)
        numeric_embedding: length of the vector that a feature with knots becomes; None where its encoding goes into the
            first dense layer as it is.

    Raises:
        SettingError: a width is below 1, nothing comes in, a name is unknown, the dropout is out of range, or layers do
            not fit together.

    >>> Network(inputs=8, hidden=(16,), outputs=1, activation="tanh").parameters
    161
    """

    inputs: int
    hidden: Hidden = ()
    outputs: int = 1
    activation: str = "relu"
    categories: Sequence[int] = ()
    initializer: str | None = None
    dropout: float = 0.0
    embedding: int | Sequence[int] | None = None
    knots: Sequence[Sequence[float]] = ()
    numeric_embedding: int | None = None
    layers: tuple[Layer, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", hidden_layers(self.hidden))
        object.__setattr__(self, "categories", tuple(int(levels) for levels in self.categories))
        object.__setattr__(self, "knots", tuple(tuple(float(knot) for knot in knots) for knots in self.knots))
        widths = self.outputs, *(1 if width is None else width for width in (self._width, self.numeric_embedding))
        if min((*self.categories, *widths)) < 1 or min((self.inputs, *self.embeddings)) < 0:
            raise SettingError(f"Every width of a network must be at least 1: {self}.")
        object.__setattr__(self, "dropout", float(self.dropout))
        if not 0 <= self.dropout < 1:
            raise SettingError(f"dropout is {self.dropout}: it must be at least 0 and below 1.")
        if self.dropout and not all(isinstance(layer, int) for layer in self.hidden):
            raise SettingError(
                f"dropout is {self.dropout} beside a list of layers: put dropout({self.dropout}) into the list, where "
                "it belongs."
            )
        self._check_knots()
        object.__setattr__(self, "layers", _Placement(self).chain())

    def _check_knots(self) -> None:
        if (self.knots and len(self.knots) != self.inputs) or len(self.embeddings) != len(self.categories):
            raise SettingError(
                f"There are knots of {len(self.knots)} features and embeddings of {len(self.embeddings)} columns: this "
                f"network has {self.inputs} features and {len(self.categories)} categorical columns."
            )
        for feature, knots in enumerate(self.knots):
            exact = np.array(knots, np.float32)
            if len(knots) == 1 or not (np.diff(exact) > 0).all() or (exact != knots).any():
                raise SettingError(
                    f"The knots of feature {feature} are {list(knots)}: give at least two, ascending, in float32."
                )

    @property
    def _width(self) -> int | None:
        """Of all embeddings."""
        return self.embedding if isinstance(self.embedding, int) else None

    @property
    def embeddings(self) -> tuple[int, ...]:
        """Length of the vector of each categorical column, 0 for one-hot, C entries."""
        if self.embedding is None or isinstance(self.embedding, int):
            return (self.embedding or 0,) * len(self.categories)
        return tuple(int(width) for width in self.embedding)

    @property
    def bins(self) -> tuple[int, ...]:
        """Bins of each feature that has knots."""
        return tuple(len(knots) - 1 for knots in self.knots if knots)

    @cached_property
    def dense(self) -> tuple[DenseLayer, ...]:
        """The dense layers, in order."""
        return tuple(layer for layer in self.layers_in_W if isinstance(layer, DenseLayer))

    @cached_property
    def layers_in_W(self) -> tuple[LayerInW, ...]:
        """The layers that have numbers in W, in order; those of residual blocks too."""
        return tuple(layer for layer in every_layer(self.layers) if isinstance(layer, LayerInW))

    @property
    def parameters(self) -> int:
        """P, the length of W: all weights and all biases."""
        return sum(layer.size for layer in self.layers_in_W)

    @cached_property
    def is_weight(self) -> Mask:
        """[P] True at weights, False at biases and at the numbers of layer norm: what penalty and decay look at."""
        mask = np.zeros(self.parameters, np.bool_)
        for layer in self.layers_in_W:
            mask[layer.start : layer.bias_start] = not isinstance(layer, NormLayer)
        return mask

    @property
    def words(self) -> tuple[str, ...]:
        """What the inputs go through, for a person: embedding 8, 256, layer_norm(activation=relu), 1."""
        first, encoded = self.layers[0], ["piecewise linear"] if self.bins else []
        widths = [width for width in first.widths if width] if isinstance(first, EmbeddingLayer) else []
        words = " to ".join(dict.fromkeys([str(min(widths)), str(max(widths))])) if widths else ""
        return (
            *encoded,
            *([f"embedding {words}"] if words else []),
            *map(layer_in_words, hidden_layers(self.hidden)),
            str(self.outputs),
        )

    def description(self) -> dict[str, Any]:
        """The arguments that make this network again, in types that JSON has."""
        arguments = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        layers = hidden_layers(self.hidden)
        arguments["hidden"] = [layer if isinstance(layer, int) else layer_in_words(layer) for layer in layers]
        return arguments

    def layer(self, name: str) -> LayerInW:
        """The layer of that name with numbers in W: embedding, hidden1, norm1, …, output.

        Raises:
            SettingError: there is none.
        """
        for layer in self.layers_in_W:
            if layer.name == name:
                return layer
        names = ", ".join(each.name for each in self.layers_in_W)
        raise SettingError(f"There is no layer {name!r}: choose one of {names}.")

    def weights(self, W: Vector, name: str) -> Matrix:
        """View, never a copy, of the weights of a layer in W: [inputs, outputs], of layer norm [units]."""
        return self.layer(name).weights(W)

    def biases(self, W: Vector, name: str) -> Vector:
        """View of the biases of a layer in W, [outputs]."""
        return self.layer(name).biases(W)

    def initial(self, seed: int = 0) -> Vector:
        """The starting W, [P] float32: random weights by each layer's initializer, biases 0; the same for a seed."""
        W = np.zeros(self.parameters)
        for number, layer in enumerate(self.layers_in_W):
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
        """What the first layer multiplies, [B, F + Σ levels + Σ bins]: features, every code as one-hot, encodings.

        A code of -1 is "no level" and gives only zeros.
        """
        x = np.zeros((len(features), self.inputs + sum(self.categories) + sum(self.bins)), features.dtype)
        x[:, : self.inputs] = features
        start = self.inputs
        for column, levels in enumerate(self.categories):
            row = np.flatnonzero(codes[:, column] >= 0)
            x[row, start + codes[row, column]] = 1
            start += levels
        for feature, knots in enumerate(map(np.array, self.knots)):
            if len(knots):
                share = (features[:, feature, np.newaxis] - knots[:-1]) / np.diff(knots)
                x[:, start : start + len(knots) - 1] = np.clip(share, 0, 1)
                start += len(knots) - 1
        return x


class _Placement:
    """Goes through the hidden layers and gives each its width, its name and its place in W."""

    def __init__(self, network: Network) -> None:
        self._network, self._counts = network, Counter[str]()
        self._start, self._width = 0, network.inputs + sum(network.categories) + sum(network.bins)
        self._fan_in = network.inputs + len(network.categories)
        self._encoded = 0 if network.numeric_embedding else sum(network.bins)
        self._sparse = 0 in network.embeddings or self._encoded > 0

    def chain(self) -> tuple[Layer, ...]:
        network, layers = self._network, list[Layer]()
        sizes, widths = (*network.categories, *network.bins), network.embeddings
        widths += (network.numeric_embedding or 0,) * len(network.bins)
        if any(widths):
            layers.append(self._next(EmbeddingLayer("embedding", network.inputs, sizes, widths, len(network.bins), 0)))
        for layer in hidden_layers(network.hidden):
            layers.append(self._placed(layer))
            if network.dropout:
                layers.append(self._placed(Dropout(network.dropout)))
        layers.append(self._dense("output", network.outputs, "identity"))
        return tuple(layers)

    def _placed(self, layer: int | HiddenLayer) -> Layer:
        if isinstance(layer, int):
            return self._dense(self._name("hidden"), layer, self._network.activation)
        if isinstance(layer, Dense):
            return self._dense(self._name("hidden"), layer.width, layer.activation or self._network.activation)
        if self._sparse or self._width < 1:
            raise SettingError(
                f"The first hidden layer is {layer.name}, and what comes in is "
                f"{'one-hot codes or encodings' if self._sparse else 'nothing'}: begin with a dense layer, or give an "
                "embedding."
            )
        if isinstance(layer, Dropout):
            return DropoutLayer(self._name("dropout"), self._width, layer.probability, self._counts["dropout"] - 1)
        if isinstance(layer, LayerNorm):
            name = self._name("norm")
            return self._next(NormLayer(name, self._width, layer.activation, layer.epsilon, self._start))
        return self._residual(layer)

    def _residual(self, layer: Residual) -> ResidualLayer:
        name, units = self._name("residual"), self._width
        layers = tuple(map(self._placed, layer.layers))
        if self._width != units:
            raise SettingError(
                f"{name} adds {self._width} units to the {units} that come in: let its last layer have {units} units."
            )
        return ResidualLayer(name, units, layers)

    def _dense(self, name: str, width: int, function: str) -> DenseLayer:
        initializer = self._network.initializer or activation(function).initializer
        layer = DenseLayer(name, self._width, width, function, initializer, self._fan_in, self._start, self._encoded)
        self._fan_in, self._sparse, self._encoded = width, False, 0
        return self._next(layer)

    def _next(self, layer: _Placed) -> _Placed:
        """What follows comes after this layer's numbers in W, and takes its outputs."""
        self._start, self._width = self._start + layer.size, layer.outputs
        return layer

    def _name(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}{self._counts[kind]}"


class _Key(ISeedSequence):
    """The key (seed, stream) of a Philox; given as key=(seed, stream), it draws entropy first, and throws it away."""

    def __init__(self, seed: int, stream: int) -> None:
        self._key = np.array((seed, stream), np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[np.uint64]:
        return self._key
