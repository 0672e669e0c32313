"""Layers: what each computes, its derivative beside it, its shape and its slice of W."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from schuss.arrays import Matrix, Vector
from schuss.network.activations import activation
from schuss.network.initializers import initial_weights

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

    def forward(self, W: Vector, x: Matrix) -> tuple[Matrix, Backward]:
        """X [B, inputs] -> output [B, outputs], and the function that goes back."""
        weights, function = self.weights(W), activation(self.activation)
        z = x @ weights + self.biases(W)

        def backward(d_output: Matrix, gradient: Vector) -> Matrix:
            d_z = d_output * function.derivative(z)
            self.weights(gradient)[...] += x.T @ d_z
            self.biases(gradient)[...] += d_z.sum(axis=0)
            return np.asarray(d_z @ weights.T)

        return function.value(z), backward
