"""Activations: value and derivative side by side, each a function of the layer's sum z."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from schuss.arrays import Matrix
from schuss.errors import SettingError

_LEAK = 0.01  # slope of leaky relu left of zero (Maas et al. 2013)
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, equation 14


@dataclass(frozen=True)
class Activation:
    """A function applied to every element of a layer's sum z, and how weights before it should start."""

    name: str
    value: Callable[[Matrix], Matrix]
    derivative: Callable[[Matrix], Matrix]
    initializer: str


def activation(name: str) -> Activation:
    """The activation of that name.

    Raises:
        SettingError: there is none.
    """
    if name not in ACTIVATIONS:
        raise SettingError(f"There is no activation {name!r}: choose one of {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


def sigmoid(z: Matrix) -> Matrix:
    """1 / (1 + exp(−z)), exact in both tails."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z < 0, small, 1) / (1 + small))


def softplus(z: Matrix) -> Matrix:
    """log(1 + exp(z)), which is −log sigmoid(−z)."""
    return np.asarray(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))


_erfc = np.frompyfunc(math.erfc, 1, 1)


def _normal_share(z: Matrix) -> Matrix:
    """Φ(z), the share of a standard normal below z."""
    return np.asarray(0.5 * _erfc(-z / math.sqrt(2)), np.float64)


def _normal_density(z: Matrix) -> Matrix:
    return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


def _exp_of_negative(z: Matrix) -> Matrix:
    """exp(z) where z < 0, else 1: never overflows."""
    return np.exp(np.minimum(z, 0))


def _mish_derivative(z: Matrix) -> Matrix:
    gate = np.tanh(softplus(z))
    return np.asarray(gate + z * (1 - gate * gate) * sigmoid(z))


def _silu_derivative(z: Matrix) -> Matrix:
    gate = sigmoid(z)
    return np.asarray(gate + z * gate * (1 - gate))


# np.where(z < 0, …, z) and not maximum(z, 0): a NaN must come out as NaN.
ACTIVATIONS = {
    each.name: each
    for each in (
        Activation("identity", lambda z: z, np.ones_like, "lecun_normal"),
        Activation("relu", lambda z: np.where(z < 0, 0, z), lambda z: np.where(z > 0, 1.0, 0 * z), "he_normal"),
        Activation(
            "leaky_relu",
            lambda z: np.where(z < 0, _LEAK * z, z),
            lambda z: np.where(z > 0, 1.0, _LEAK),
            "he_normal",
        ),
        Activation("tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2, "glorot_normal"),
        Activation("sigmoid", sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z)), "glorot_normal"),
        # x Φ(x), the exact form (Hendrycks & Gimpel 2016, section 2)
        Activation(
            "gelu", lambda z: z * _normal_share(z), lambda z: _normal_share(z) + z * _normal_density(z), "he_normal"
        ),
        Activation("silu", lambda z: z * sigmoid(z), _silu_derivative, "he_normal"),
        Activation(
            "selu",
            lambda z: _SELU_SCALE * np.where(z < 0, _SELU_ALPHA * np.expm1(np.minimum(z, 0)), z),
            lambda z: _SELU_SCALE * np.where(z > 0, 1.0, _SELU_ALPHA * _exp_of_negative(z)),
            "lecun_normal",
        ),
        # x tanh(softplus(x)) (Misra 2019)
        Activation("mish", lambda z: z * np.tanh(softplus(z)), _mish_derivative, "he_normal"),
        Activation("softplus", softplus, sigmoid, "he_normal"),
    )
}
