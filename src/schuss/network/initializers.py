"""How the weights of a layer start: a variance set by the number of inputs (fan-in) and outputs (fan-out)."""

import math

import numpy as np

from schuss.arrays import Matrix
from schuss.errors import SettingError

# variance · fan = gain, with the fan that the scheme looks at
_GAINS = {"he": 2.0, "lecun": 1.0, "glorot": 2.0}  # He et al. 2015; LeCun et al. 1998; Glorot & Bengio 2010
INITIALIZERS = (*(f"{scheme}_{shape}" for scheme in _GAINS for shape in ("normal", "uniform")), "zeros")


def initial_weights(name: str, generator: np.random.Generator, shape: tuple[int, int], fan_in: int) -> Matrix:
    """Random weights of mean 0 and variance gain / fan.

    he: 2 / fan_in; lecun: 1 / fan_in; glorot: 2 / (fan_in + fan_out); uniform ones lie in ±√(3 · variance).

    Arguments:
        name: one of INITIALIZERS.
        generator: where the random numbers come from.
        shape: [inputs, outputs] of the layer.
        fan_in: how many inputs are on at a time; less than shape[0] where categories are one-hot.

    Returns:
        [inputs, outputs] float64.

    Raises:
        SettingError: there is no initializer of that name.
    """
    if name not in INITIALIZERS:
        raise SettingError(f"There is no initializer {name!r}: choose one of {', '.join(INITIALIZERS)}.")
    if name == "zeros":
        return np.zeros(shape)
    scheme, distribution = name.split("_")
    fan = fan_in + shape[1] if scheme == "glorot" else fan_in
    deviation = math.sqrt(_GAINS[scheme] / max(fan, 1))
    if distribution == "normal":
        return deviation * generator.standard_normal(shape)
    return deviation * math.sqrt(3) * generator.uniform(-1.0, 1.0, shape)
