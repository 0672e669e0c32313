"""Layers: what each computes, its derivative beside it, its shape and its slice of W."""

from collections.abc import Callable
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
class Dense:
    """output = activation(x · weights + biases).

    Its slice of W, from `start` on: the weights [inputs, outputs] row by row, then the biases [outputs].

    name:        how a person calls it: hidden1, hidden2, …, output.
    inputs:      length of x.
    outputs:     width of the layer.
    activation:  name of the function applied to every element of the sum.
    initializer: name of the scheme by which the weights start; the biases start at 0.
    fan_in:      how many inputs are on at a time.
    start:       where the slice begins.
    """

    name: str
    inputs: int
    outputs: int
    activation: str
    initializer: str
    fan_in: int
    start: int

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
        shape = (self.inputs, self.outputs)
        self.weights(W)[...] = initial_weights(self.initializer, generator, shape, self.fan_in)

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
class Dropout:
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


Layer: TypeAlias = Dense | Dropout
