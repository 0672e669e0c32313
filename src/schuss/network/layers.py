"""Layers: what each computes, its derivative beside it, its shape and its slice of W."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from schuss.arrays import Matrix, Vector
from schuss.network.activations import activation
from schuss.network.initializers import initial_weights
from schuss.network.masks import Draw

# (d loss / d output of the layer, gradient of W to add to) -> d loss / d input of the layer
Backward: TypeAlias = Callable[[Matrix, Vector], Matrix]


@dataclass(frozen=True)
class DenseLayer:
    """output = activation(x · weights + biases).

    Its slice of W, from `start` on: the weights [inputs, outputs] row by row, then the biases [outputs].

    name:        how a person calls it: hidden1, hidden2, …, output.
    inputs:      length of x.
    outputs:     width of the layer.
    activation:  name of the function applied to every element of the sum.
    initializer: name of the scheme by which the weights start; the biases start at 0.
    fan_in:      how many inputs are on at a time.
    start:       where the slice begins.
    encoded:     how many of the inputs, the last ones, are piecewise-linear encodings, whose weights start at 0.
    """

    name: str
    inputs: int
    outputs: int
    activation: str
    initializer: str
    fan_in: int
    start: int
    encoded: int = 0

    @property
    def size(self) -> int:
        """Numbers in the layer's slice of W."""
        return (self.inputs + 1) * self.outputs

    @property
    def bias_start(self) -> int:
        """Where the biases begin in W."""
        return self.start + self.inputs * self.outputs

    def weights(self, W: Vector) -> Matrix:
        """View of the weights in W (or in a gradient), [inputs, outputs]."""
        return W[self.start : self.bias_start].reshape(self.inputs, self.outputs)

    def biases(self, W: Vector) -> Vector:
        """View of the biases in W (or in a gradient), [outputs]."""
        return W[self.bias_start : self.start + self.size]

    def initialize(self, W: Vector, generator: np.random.Generator) -> None:
        """Writes the starting weights into W."""
        shape = (self.inputs - self.encoded, self.outputs)
        self.weights(W)[: shape[0]] = initial_weights(self.initializer, generator, shape, self.fan_in)

    def forward(self, W: Vector, x: Matrix, draw: Draw | None = None) -> tuple[Matrix, Backward]:
        """X [B, inputs] -> output [B, outputs], and the function that goes back. Nothing is drawn here."""
        weights, function = self.weights(W), activation(self.activation)
        z = x @ weights + self.biases(W)

        def backward(d_output: Matrix, gradient: Vector) -> Matrix:
            d_z = d_output * function.derivative(z)
            self.weights(gradient)[...] += x.T @ d_z
            self.biases(gradient)[...] += d_z.sum(axis=0)
            return np.asarray(d_z @ weights.T)

        return function.value(z), backward


@dataclass(frozen=True)
class DropoutLayer:
    """In a training step, every unit is 0 with the layer's probability; what is kept is enlarged to make up for it.

    output = mask · x, with a mask of 0 or 65536 / (65536 − threshold), whose mean is 1 (Srivastava et al. 2014, scaled
    in training as in section 10: inverted dropout). Outside of training, output = x. There are no numbers in W.

    name:        how a person calls it: dropout1, dropout2, …
    units:       length of x, and of the output.
    probability: that a unit is 0; at least 0 and below 1.
    number:      which dropout layer of the network it is, counted from 0.
    """

    name: str
    units: int
    probability: float
    number: int
    size: ClassVar[int] = 0

    @property
    def outputs(self) -> int:
        """Length of the output."""
        return self.units

    @property
    def threshold(self) -> int:
        """The probability in 65536ths, halves to even, at most 65535."""
        return min(round(self.probability * 65536), 65535)

    def forward(self, W: Vector, x: Matrix, draw: Draw | None = None) -> tuple[Matrix, Backward]:
        """X [B, units] -> output [B, units], and the function that goes back; draw is None outside of training."""
        if draw is None:
            return x, lambda d_output, gradient: d_output
        kept = draw.kept(self.number, len(x), self.units, self.threshold)
        enlarged = 65536 / (65536 - self.threshold)

        def masked(values: Matrix) -> Matrix:
            return np.where(kept, enlarged * values, 0.0)

        return masked(x), lambda d_output, gradient: masked(d_output)


@dataclass(frozen=True)
class NormLayer:
    """output = activation(weights · normalised + biases), normalised = (x − mean) / √(variance + ε) over a row's units.

    Its slice of W, from `start` on: the weights γ [units], which start at 1, then the biases β [units], which start at
    0. (Ba, Kiros and Hinton 2016, section 3.)

    name:       how a person calls it: norm1, norm2, …
    units:      length of x, and of the output.
    activation: name of the function applied to every element of the sum.
    epsilon:    ε, above 0.
    start:      where the slice begins.
    """

    name: str
    units: int
    activation: str
    epsilon: float
    start: int

    @property
    def inputs(self) -> int:
        """Length of x."""
        return self.units

    @property
    def outputs(self) -> int:
        """Length of the output."""
        return self.units

    @property
    def size(self) -> int:
        """Numbers in the layer's slice of W."""
        return 2 * self.units

    @property
    def bias_start(self) -> int:
        """Where β begins in W."""
        return self.start + self.units

    def weights(self, W: Vector) -> Vector:
        """View of γ in W (or in a gradient), [units]."""
        return W[self.start : self.bias_start]

    def biases(self, W: Vector) -> Vector:
        """View of β in W (or in a gradient), [units]."""
        return W[self.bias_start : self.start + self.size]

    def initialize(self, W: Vector, generator: np.random.Generator) -> None:
        """Writes the starting γ into W; β is 0 there."""
        self.weights(W)[...] = 1

    def forward(self, W: Vector, x: Matrix, draw: Draw | None = None) -> tuple[Matrix, Backward]:
        """X [B, units] -> output [B, units], and the function that goes back."""
        weights, function = self.weights(W), activation(self.activation)
        centred = x - _mean(x)
        inverse = 1 / np.sqrt(_mean(np.square(centred)) + self.epsilon)
        normalised = centred * inverse
        z = normalised * weights + self.biases(W)

        def backward(d_output: Matrix, gradient: Vector) -> Matrix:
            d_z = d_output * function.derivative(z)
            self.weights(gradient)[...] += (d_z * normalised).sum(axis=0)
            self.biases(gradient)[...] += d_z.sum(axis=0)
            d = d_z * weights
            return np.asarray(inverse * (d - _mean(d) - normalised * _mean(d * normalised)))

        return function.value(z), backward


def _mean(values: Matrix) -> Matrix:
    """Over each row, [B, 1]."""
    return np.asarray(values.mean(axis=1, keepdims=True))


@dataclass(frozen=True)
class EmbeddingLayer:
    """Inputs in blocks, some of which become vectors: output = features, block · its vectors for those, the others.

    A block is a categorical column as one-hot, where the product picks the vector of the level, or the piecewise-linear
    encoding of a feature, where it is an interpolation between the running sums of the vectors.

    Its slice of W, from `start` on: of each such block in turn the vectors [size, width]. Those of levels start normal
    with variance 1 / width, so that a vector is about as long as the one-hot code that it stands for, and a column
    weighs as much as a standardised number; those of encodings start at 0. (Guo and Berkhahn 2016, section 3;
    Gorishniy, Rubachev and Babenko 2022, section 3.2.)

    name:      how a person calls it: embedding.
    features:  F.
    sizes:     levels of each categorical column, then bins of each encoded feature.
    widths:    length of the vectors of each; 0 for a block that goes on as it is.
    encodings: how many of the blocks, the last ones, are encoded features.
    start:     where the slice begins.
    """

    name: str
    features: int
    sizes: tuple[int, ...]
    widths: tuple[int, ...]
    encodings: int
    start: int
    activation: ClassVar[str] = "identity"

    @property
    def inputs(self) -> int:
        """Length of x: the features, then every block."""
        return self.features + sum(self.sizes)

    @property
    def vectors(self) -> int:
        """Numbers of the output that come from vectors."""
        return sum(self.widths)

    @property
    def outputs(self) -> int:
        """Length of the output."""
        return self.features + sum(width or size for size, width in zip(self.sizes, self.widths, strict=True))

    @property
    def size(self) -> int:
        """Numbers in the layer's slice of W."""
        return sum(size * width for size, width in zip(self.sizes, self.widths, strict=True))

    @property
    def bias_start(self) -> int:
        """Where biases would begin in W."""
        return self.start + self.size

    def weights(self, W: Vector) -> Vector:
        """View of all vectors in W (or in a gradient), block after block."""
        return W[self.start : self.bias_start]

    def vectors_of(self, W: Vector, block: int) -> Matrix:
        """View of the vectors of a block in W (or in a gradient), [size, width]."""
        before = sum(size * width for size, width in zip(self.sizes[:block], self.widths, strict=False))
        size, width = self.sizes[block], self.widths[block]
        return W[self.start + before : self.start + before + size * width].reshape(size, width)

    def biases(self, W: Vector) -> Vector:
        """There are none: a view of nothing, [0]."""
        return W[:0]

    def initialize(self, W: Vector, generator: np.random.Generator) -> None:
        """Writes the starting vectors of levels into W; those of encodings are 0 there."""
        for block, width in enumerate(self.widths[: len(self.widths) - self.encodings]):
            if width:
                self.vectors_of(W, block)[...] = generator.standard_normal((self.sizes[block], width)) / math.sqrt(
                    width
                )

    def forward(self, W: Vector, x: Matrix, draw: Draw | None = None) -> tuple[Matrix, Backward]:
        """X [B, inputs] -> output [B, outputs], and the function that goes back."""
        output = np.empty((len(x), self.outputs), x.dtype)
        output[:, : self.features] = x[:, : self.features]
        for block, of_x, of_output in self._blocks():
            output[:, of_output] = x[:, of_x] @ self.vectors_of(W, block) if self.widths[block] else x[:, of_x]

        def backward(d_output: Matrix, gradient: Vector) -> Matrix:
            d_x = np.empty_like(x)
            d_x[:, : self.features] = d_output[:, : self.features]
            for block, of_x, of_output in self._blocks():
                if self.widths[block]:
                    self.vectors_of(gradient, block)[...] += x[:, of_x].T @ d_output[:, of_output]
                    d_x[:, of_x] = d_output[:, of_output] @ self.vectors_of(W, block).T
                else:
                    d_x[:, of_x] = d_output[:, of_output]
            return d_x

        return output, backward

    def _blocks(self) -> Iterator[tuple[int, slice, slice]]:
        """Every block: its number, where it lies in x, and where in the output."""
        first, vector, rest = self.features, self.features, self.features + self.vectors
        for block, (size, width) in enumerate(zip(self.sizes, self.widths, strict=True)):
            of_x = slice(first, first := first + size)
            if width:
                yield block, of_x, slice(vector, vector := vector + width)
            else:
                yield block, of_x, slice(rest, rest := rest + size)


@dataclass(frozen=True)
class ResidualLayer:
    """output = x + f(x), where f goes through layers of its own. (He et al. 2016, equation 1.)

    name:   how a person calls it: residual1, residual2, …
    units:  length of x, of f(x) and of the output.
    layers: of f, at least one; their numbers in W are theirs.
    """

    name: str
    units: int
    layers: "tuple[Layer, ...]"
    size: ClassVar[int] = 0

    @property
    def outputs(self) -> int:
        """Length of the output."""
        return self.units

    def forward(self, W: Vector, x: Matrix, draw: Draw | None = None) -> tuple[Matrix, Backward]:
        """X [B, units] -> output [B, units], and the function that goes back."""
        output, backwards = x, []
        for layer in self.layers:
            output, back = layer.forward(W, output, draw)
            backwards.append(back)

        def backward(d_output: Matrix, gradient: Vector) -> Matrix:
            d_inside = d_output
            for back in reversed(backwards):
                d_inside = back(d_inside, gradient)
            return d_output + d_inside

        return x + output, backward


LayerInW: TypeAlias = DenseLayer | NormLayer | EmbeddingLayer
Layer: TypeAlias = LayerInW | DropoutLayer | ResidualLayer


def every_layer(layers: Iterable[Layer]) -> Iterator[Layer]:
    """In order; a residual block, then what is in it."""
    for layer in layers:
        yield layer
        if isinstance(layer, ResidualLayer):
            yield from every_layer(layer.layers)
