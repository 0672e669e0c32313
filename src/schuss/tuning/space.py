"""What is searched: ranges around what the recipe takes of its own accord for a table of that size.

Widened to what has been searched elsewhere: 1 to 4 layers of 64 to 1,024 units, dropout none or up to 0.5, weight decay
none or over three decades, learning rate over one and a half, 2 to 128 bins for numbers (Gorishniy et al. 2025, TabM,
appendix on tuning; 2022, On embeddings for numerical features; 2021, Revisiting deep learning models for tabular data);
activations, cycles of the learning rate, 64 units in many layers (Holzmüller et al. 2024, RealMLP).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from schuss.descent.optimizers import LBFGS
from schuss.errors import SettingError
from schuss.groups import in_words
from schuss.numeric import MOST_BINS, Numeric, Piecewise, numeric_named
from schuss.preparing import Prepared

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_FEW_ROWS = 2000  # up to so many, networks are narrow
_NO_DECAY = 3  # times the least of its range; below, there is none
_WIDTHS = 16  # which they are multiples of


@dataclass(frozen=True)
class Space:
    """What is searched, by name, and where in it the recipe's own choice lies, as far as it does."""

    distributions: Mapping[str, BaseDistribution]
    own: Mapping[str, Any]

    def settings(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point of the space as plain settings, with numbers that a person can read."""
        found: dict[str, Any] = {
            name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in point.items()
        }
        if "depth" in found:
            width = max(_WIDTHS, _WIDTHS * round(found.pop("width") / _WIDTHS))
            found = {"hidden": [width] * found.pop("depth"), **found}
        if "dropout" in found:
            found["dropout"] = max(0.0, found["dropout"])
        decay: Any = self.distributions.get("weight_decay")
        if decay and point["weight_decay"] < _NO_DECAY * decay.low:
            found["weight_decay"] = 0.0
        return found


def space_for(prepared: Prepared, chosen: Collection[str]) -> Space:
    """The space around a recipe, without the settings that a person chose. Raises SettingError where there is none."""
    from optuna.distributions import (  # an extra
        CategoricalDistribution as OneOf,
        FloatDistribution as Range,
        IntDistribution as Whole,
    )

    recipe, own = prepared.recipe, prepared.recipe.chosen
    if prepared.validation is None:
        raise SettingError("A search needs validation rows, by which settings are chosen: give a fraction, or a table.")
    if isinstance(recipe.optimizer, LBFGS):
        raise SettingError("lbfgs has nothing that could be searched: leave it out, or use schuss train.")
    rate, decay, batch = own["learning_rate"], own["weight_decay"], own["batch_size"]
    width = next((layer for layer in own["hidden"] if isinstance(layer, int)), None)
    wide = Whole(32, 256, log=True) if len(prepared.training) < _FEW_ROWS else Whole(64, 512, log=True)
    # setting: (name, values, the recipe's own), …
    table: dict[str, list[tuple[str, BaseDistribution, Any]]] = {
        "hidden": [("depth", Whole(1, 4), len(own["hidden"])), ("width", wide, width)],
        "activation": [("activation", OneOf(("relu", "gelu", "silu")), own["activation"])],
        "learning_rate": [("learning_rate", Range(rate / 10, rate * 4, log=True), rate)],
        "weight_decay": [("weight_decay", Range(decay / 100, decay * 10, log=True), decay)] if decay else [],
        "dropout": [("dropout", Range(-0.1, 0.5), recipe.network.dropout)],  # below 0 there is none
        "batch_size": [("batch_size", OneOf((max(1, batch // 2), batch, 2 * batch)), batch)],
        "schedule": [("schedule", OneOf(("cosine", "coslog4")), own["schedule"])],
        "averaging": [("averaging", OneOf(("none", "ema")), own["averaging"])],
        "numeric": [("numeric", OneOf(_numerics(own["numeric"])), own["numeric"])] if recipe.network.knots else [],
    }
    without = {*chosen, *({"activation", "dropout"} if recipe.network.hidden == () else ())}
    if not isinstance(own["optimizer"], str):  # with numbers of its own
        without |= {"learning_rate", "weight_decay"}
    searched = [line for setting, lines in table.items() if setting not in without for line in lines]
    if not searched:
        raise SettingError("Nothing is left to be searched: leave some of the settings out.")
    distributions = {name: values for name, values, _ in searched}
    return Space(distributions, {name: value for name, values, value in searched if _holds(values, value)})


def _numerics(own: str | Numeric) -> tuple[str, ...]:
    """Around piecewise-linear functions of numbers: without them, with half of the bins, and with twice as many."""
    of = numeric_named(own)
    assert isinstance(of, Piecewise)
    near = (replace(of, bins=bins) for bins in (max(2, of.bins // 2), of.bins, min(2 * of.bins, MOST_BINS)))
    return tuple(dict.fromkeys(["robust", *map(in_words, near)]))


def _holds(values: BaseDistribution, value: Any) -> bool:
    """Whether a value is among them."""
    try:
        return values._contains(values.to_internal_repr(value))
    except (ValueError, TypeError):
        return False
