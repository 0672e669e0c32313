"""What a person says about hidden layers: specifications without sizes. Network finds each its place in W.

A list may mix them with plain widths and with words: [256, LayerNorm("relu"), "dropout(0.1)"].
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from schuss.errors import SettingError
from schuss.groups import from_words, in_words
from schuss.network.activations import activation


@dataclass(frozen=True)
class Dense:
    """activation(x · weights + biases).

    Arguments:
        width: units, at least 1.
        activation: of this layer; None is the activation of the network, as with a plain width.

    Raises:
        SettingError: the width is no whole number of at least 1, or there is no such activation.
    """

    name: ClassVar[str] = "dense"
    width: int
    activation: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", _width(self.width))
        if self.activation is not None:
            activation(self.activation)


@dataclass(frozen=True)
class LayerNorm:
    """activation(γ · (x − mean) / √(variance + ε) + β), with mean and variance over the units of a row.

    γ and β are a number each for every unit, start at 1 and 0, and are free of penalties and decay, as biases are.
    The usual order is Dense(256, "identity"), LayerNorm("relu"). (Ba, Kiros and Hinton 2016, section 3.)

    Arguments:
        activation: of the normalised units.
        epsilon: ε, above 0: a row whose units are all equal gives activation(β).

    Raises:
        SettingError: there is no such activation, or ε is not above 0.
    """

    name: ClassVar[str] = "layer_norm"
    activation: str = "identity"
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        activation(self.activation)
        _check(self, "epsilon", 1e-30 <= _number(self.epsilon) < float("inf"), "a number of at least 1e-30")


@dataclass(frozen=True)
class Dropout:
    """Leaves out each unit with this probability in a training step, and enlarges the others to make up for it.

    Arguments:
        probability: at least 0 and below 1. (Srivastava et al. 2014.)

    Raises:
        SettingError: the probability is out of range.
    """

    name: ClassVar[str] = "dropout"
    probability: float

    def __post_init__(self) -> None:
        _check(self, "probability", 0 <= _number(self.probability) < 1, "at least 0 and below 1")


@dataclass(frozen=True, init=False)
class Residual:
    """x + f(x), where f is a chain of layers whose last has the width of x. (He et al. 2016, equation 1.)

    Arguments:
        layers: of f, at least one; as in a list of hidden layers.

    Raises:
        SettingError: there is no layer, or one cannot be read.
    """

    name: ClassVar[str] = "residual"
    layers: "tuple[int | HiddenLayer, ...]"

    def __init__(self, layers: "Hidden") -> None:
        object.__setattr__(self, "layers", hidden_layers(layers))
        if not self.layers:
            raise SettingError(
                "A residual block has no layers: give some, such as residual(256, dense(256, identity))."
            )


HiddenLayer: TypeAlias = Dense | LayerNorm | Dropout | Residual
Hidden: TypeAlias = Sequence[int | str | HiddenLayer] | str
LAYERS: dict[str, type[Any]] = {kind.name: kind for kind in (Dense, LayerNorm, Dropout, Residual)}


def hidden_layers(given: Hidden) -> tuple[int | HiddenLayer, ...]:
    """The hidden layers that somebody gives: plain widths as whole numbers, all else as specifications.

    Arguments:
        given: widths, specifications and words for them; one width; or words for all: "256, layer_norm(relu)".

    Raises:
        SettingError: something in it is no layer.

    >>> hidden_layers("256, residual(dense(256), dropout(0.1), dense(256, identity))")[1].layers[1]
    Dropout(probability=0.1)
    """
    if isinstance(given, str):
        return () if given.strip() in ("", "none", "()") else _read(given)
    if isinstance(given, int | HiddenLayer) or not isinstance(given, Iterable):
        given = (given,)
    found: list[int | HiddenLayer] = []
    for layer in given:
        if isinstance(layer, str):
            found += _read(layer)
        else:
            found.append(layer if isinstance(layer, HiddenLayer) else _width(layer))
    return tuple(found)


def layer_in_words(layer: int | HiddenLayer) -> str:
    """The layer as hidden_layers reads it: 256, layer_norm(activation=relu)."""
    if isinstance(layer, Residual):
        return f"residual({', '.join(map(layer_in_words, layer.layers))})"
    return str(layer) if isinstance(layer, int) else in_words(layer)


def _read(words: str) -> tuple[int | HiddenLayer, ...]:
    try:
        tree = ast.parse(f"[{words}\n]", mode="eval").body
        if not isinstance(tree, ast.List):
            raise ValueError
        return tuple(map(_layer, tree.elts))
    except SettingError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise SettingError(
            f"The hidden layers {words!r} cannot be read: write them as 256, layer_norm(relu), 64."
        ) from None


def _layer(tree: ast.expr) -> int | HiddenLayer:
    if isinstance(tree, ast.Constant):
        return _width(tree.value)
    if isinstance(tree, ast.Call) and ast.unparse(tree.func) == Residual.name and not tree.keywords:
        return Residual([_layer(each) for each in tree.args])
    made: HiddenLayer = from_words(ast.unparse(tree), LAYERS, "hidden layer")
    return made


def _width(value: Any) -> int:
    number = _number(value)
    if not (1 <= number < float("inf") and number == int(number)):
        raise SettingError(
            f"A hidden layer is {value!r}: give a width of at least 1, or a layer ({', '.join(LAYERS)})."
        )
    return int(number)


def _number(value: Any) -> float:
    """NaN for what is no number."""
    try:
        return float("nan") if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _check(layer: HiddenLayer, name: str, holds: bool, wanted: str) -> None:
    value = getattr(layer, name)
    if not holds:
        raise SettingError(f"The {name} of {layer.name} is {value!r}: it must be {wanted}.")
    object.__setattr__(layer, name, float(value))
