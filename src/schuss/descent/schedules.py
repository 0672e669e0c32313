"""Schedules: which share of the learning rate a step takes, as a function of (step, steps) and of nothing else.

Whatever has a place or a length on the way is told in shares of the training, so that it suits any number of steps.
`plateau` alone looks at the validation loss: its shares are 1, and the loop multiplies them by what it cuts.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from schuss.arrays import Vector
from schuss.errors import SettingError
from schuss.groups import from_words


@runtime_checkable
class Schedule(Protocol):
    """Shares of the learning rate over a training of a known number of steps; the user's own may be one too."""

    name: ClassVar[str]

    def shares(self, first: int, count: int, steps: int) -> Vector:
        """Shares for `count` steps from step `first` (counted from 0) of `steps` in all, [count] float64."""


@dataclass(frozen=True, kw_only=True)
class Curve(ABC):
    """A schedule that begins with a warm-up: a straight rise to where the curve starts (Goyal et al. 2017).

    warmup: share of the steps, from 0 to 0.99. Of w such steps the k-th (from 1) takes k / (w + 1) of where the curve
        starts.

    Raises:
        SettingError: a number is out of range.
    """

    warmup: float = 0.0
    name: ClassVar[str]

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            least, most = _RANGES[item.name]
            if not all(least <= one <= most for one in (value if isinstance(value, Sequence) else (value,))):
                raise SettingError(
                    f"{item.name} of {self.name} is {value}: it must lie between {least:g} and {most:g}."
                )

    def shares(self, first: int, count: int, steps: int) -> Vector:
        """Shares for `count` steps from step `first`, [count]: the warm-up, then the curve over the steps left."""
        warm = min(round(self.warmup * steps), steps - 1)
        step = np.arange(first - warm, first - warm + count, dtype=np.float64)
        return self.curve(np.maximum(step, 0.0), steps - warm) * np.minimum(step + warm + 1, warm + 1) / (warm + 1)

    @abstractmethod
    def curve(self, step: Vector, steps: int) -> Vector:
        """The share at each step from 0 to steps − 1, without the warm-up."""


@dataclass(frozen=True, kw_only=True)
class Constant(Curve):
    """The learning rate as it was given."""

    name: ClassVar[str] = "constant"

    def curve(self, step: Vector, steps: int) -> Vector:
        """All 1."""
        return np.ones(len(step))


@dataclass(frozen=True)
class Step(Curve):
    """Times `factor` at some places.

    factor: from 0 to 1. every: after each such share of the steps. at: or at these shares of them.
    """

    factor: float = 0.1
    every: float = 1 / 3
    at: Sequence[float] = ()
    name: ClassVar[str] = "step"

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(self.at) if isinstance(self.at, Sequence) else (self.at,))
        super().__post_init__()

    def curve(self, step: Vector, steps: int) -> Vector:
        """Factor to the power of the places passed."""
        places = np.sort(self.at) if self.at else self.every * np.arange(1, np.ceil(1 / self.every))
        return np.asarray(self.factor ** np.searchsorted(np.rint(places * steps), step, side="right"))


@dataclass(frozen=True)
class Exponential(Curve):
    """From 1 down to `final` by the same factor at each step; final: above 0, to 1."""

    final: float = 0.01
    name: ClassVar[str] = "exponential"

    def curve(self, step: Vector, steps: int) -> Vector:
        """Final to the power of t."""
        if not self.final:
            return np.asarray(step == 0, np.float64)
        return np.asarray(np.exp(np.log(self.final) * _progress(step, steps)))


@dataclass(frozen=True)
class Polynomial(Curve):
    """From 1 down to `final` along a power: 1 is a straight line (Chen et al. 2018 take 0.9).

    power: above 0. final: share of the learning rate at the last step, from 0 to 1.
    """

    power: float = 1.0
    final: float = 0.01
    name: ClassVar[str] = "polynomial"

    def curve(self, step: Vector, steps: int) -> Vector:
        """Final + (1 − final) · (1 − t)^power."""
        return np.asarray(self.final + (1 - self.final) * (1 - _progress(step, steps)) ** self.power)


@dataclass(frozen=True)
class Cosine(Curve):
    """From 1 down to `final` along half a cosine, once or again and again (Loshchilov & Hutter 2017, equation 5).

    final: share of the learning rate at the last step, from 0 to 1.
    cycles: how often, each from 1 again; a whole number. growth: each cycle has so many times the steps of the last.
    """

    final: float = 0.01
    cycles: int = 1
    growth: float = 1.0
    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cycles != int(self.cycles):
            raise SettingError(f"cycles of cosine is {self.cycles}: it must be a whole number.")

    def curve(self, step: Vector, steps: int) -> Vector:
        """Final + (1 − final) · (1 + cos(π · t)) / 2, with t from 0 to 1 in each cycle."""
        lengths = float(self.growth) ** np.arange(self.cycles)
        edges = np.rint(np.append(0.0, lengths.cumsum() / lengths.sum()) * max(steps - 1, 1))
        cycle = np.searchsorted(edges[1:-1], step, side="right")
        progress = np.minimum((step - edges[cycle]) / np.maximum(edges[cycle + 1] - edges[cycle], 1), 1.0)
        return np.asarray(self.final + (1 - self.final) * 0.5 * (1 + np.cos(np.pi * progress)))


@dataclass(frozen=True)
class OneCycle(Curve):
    """Up to the learning rate and down to almost nothing, each along half a cosine (Smith & Topin 2018).

    start: share at the first step. peak: share of the steps after which it is 1. final: share at the last step.
    """

    start: float = 1 / 25
    peak: float = 0.3
    final: float = 4e-6
    name: ClassVar[str] = "one_cycle"

    def curve(self, step: Vector, steps: int) -> Vector:
        """Between two shares a and b: b + (a − b) · (1 + cos(π · t)) / 2."""
        progress = _progress(step, steps)
        up, down = progress / max(self.peak, 1e-9), (progress - self.peak) / max(1 - self.peak, 1e-9)
        rising = 1 + (self.start - 1) * 0.5 * (1 + np.cos(np.pi * np.minimum(up, 1.0)))
        falling = self.final + (1 - self.final) * 0.5 * (1 + np.cos(np.pi * np.clip(down, 0.0, 1.0)))
        return np.asarray(np.where(progress < self.peak, rising, falling))


@dataclass(frozen=True, kw_only=True)
class Coslog4(Curve):
    """Four waves between 0 and 1, each twice as long as the one before (RealMLP: Holzmüller et al. 2024)."""

    name: ClassVar[str] = "coslog4"

    def curve(self, step: Vector, steps: int) -> Vector:
        """½ (1 − cos(2π · log₂(1 + 15 t))), with t in the middle of the step: not 0 for the one step of a short run."""
        progress = np.minimum((step + 0.5) / steps, 1.0)
        return np.asarray(0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * progress))))


@dataclass(frozen=True)
class Plateau(Curve):
    """Times `factor` whenever the validation loss has not become better for more than `patience` epochs.

    factor: from 0 to 1. patience: epochs, a whole number. threshold: by which share of the best loss a better one must
    differ. cooldown: epochs after a cut in which none is counted. least: share below which it is not cut.
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    least: float = 0.0
    name: ClassVar[str] = "plateau"

    def curve(self, step: Vector, steps: int) -> Vector:
        """All 1: what to multiply by is told by `cut`."""
        return np.ones(len(step))

    def cut(self, losses: Sequence[float]) -> float:
        """The share for the next epoch after epochs with these validation losses, from the first to the last."""
        share, best, idle, resting = 1.0, np.inf, 0, 0
        for loss in losses:
            if loss < best - self.threshold * abs(best if np.isfinite(best) else 0.0):
                best, idle = loss, 0
            else:
                idle += 1
            if resting:
                idle, resting = 0, resting - 1
            if idle > self.patience:
                share, idle, resting = max(share * self.factor, self.least), 0, self.cooldown
        return share


# Least and greatest value of each number.
_RANGES = {name: (0.0, 1.0) for name in ("final", "start", "peak", "factor", "at", "threshold", "least")} | {
    "warmup": (0.0, 0.99),
    "every": (1e-6, 1.0),
    "power": (1e-3, 1e3),
    "cycles": (1, 1000),
    "growth": (1e-3, 1e3),
    "patience": (0, 1e9),
    "cooldown": (0, 1e9),
}
SCHEDULES: dict[str, type[Schedule]] = {
    each.name: each for each in (Constant, Step, Exponential, Polynomial, Cosine, OneCycle, Coslog4, Plateau)
}


def schedule_named(choice: str | Schedule) -> Schedule:
    """The schedule in these words (see groups.py), or the given one. Raises SettingError as from_words."""
    return from_words(choice, SCHEDULES, "schedule") if isinstance(choice, str) else choice


def _progress(step: Vector, steps: int) -> Vector:
    """T: 0 at the first step, 1 at the last and after it."""
    return np.asarray(np.minimum(step / max(steps - 1, 1), 1.0))
