"""What numbers become before the network sees them, by name.

standard:  (x − mean) / deviation.
robust:    (x − median) / (third quartile − first quartile), then x / √(1 + (x/3)²), which stays between ±3 (Holzmüller
           et al. 2024, RealMLP: "robust scale and smooth clip").
quantile:  to a normal distribution through the column's quantiles.
piecewise: robust, and a layer that is linear between knots (Gorishniy et al. 2022).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from schuss.errors import SettingError
from schuss.groups import from_words

Scaling: TypeAlias = Literal["standard", "robust", "quantile"]
MOST_BINS = 128  # as many parts as the quantiles of a schema have


@runtime_checkable
class Numeric(Protocol):
    """What numbers become; scaling: that of the features, see table/encoding.py."""

    name: ClassVar[str]
    scaling: ClassVar[Scaling]


@dataclass(frozen=True)
class Standard:
    """Numbers less their mean, in units of their deviation."""

    name: ClassVar[str] = "standard"
    scaling: ClassVar[Scaling] = "standard"


@dataclass(frozen=True)
class Robust:
    """Numbers less their median, in units of the distance between their quartiles, smoothly clipped at ±3."""

    name: ClassVar[str] = "robust"
    scaling: ClassVar[Scaling] = "robust"


@dataclass(frozen=True)
class Quantile:
    """Numbers spread to a normal distribution."""

    name: ClassVar[str] = "quantile"
    scaling: ClassVar[Scaling] = "quantile"


@dataclass(frozen=True)
class Piecewise:
    """Robust numbers, and a learned function of each that is linear between knots.

    bins: between the knots of a column, from 2 to 128. embedding: numbers that this function gives for each column, at
    least 1; None for one for each unit of the first layer.
    """

    bins: int = 64
    embedding: int | None = None
    name: ClassVar[str] = "piecewise"
    scaling: ClassVar[Scaling] = "robust"

    def __post_init__(self) -> None:
        if not isinstance(self.bins, int) or not 2 <= self.bins <= MOST_BINS:
            raise SettingError(f"bins of piecewise is {self.bins}: it must be a whole number from 2 to {MOST_BINS}.")
        if self.embedding is not None and (not isinstance(self.embedding, int) or self.embedding < 1):
            raise SettingError(f"embedding of piecewise is {self.embedding}: it must be a whole number, at least 1.")


NUMERICS: dict[str, type[Numeric]] = {each.name: each for each in (Standard, Robust, Quantile, Piecewise)}


def numeric_named(choice: str | Numeric) -> Numeric:
    """The group in these words (see groups.py), or the given one. Raises SettingError as from_words."""
    return from_words(choice, NUMERICS, "numeric") if isinstance(choice, str) else choice
