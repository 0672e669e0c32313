"""Averages of W along the way: how far the average goes to W after each step, as a function of (step, steps) alone.

    average ← average + rate · (W − average)

Training goes on with W; its average is what is validated, kept and returned.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from schuss.arrays import Vector
from schuss.errors import SettingError
from schuss.groups import from_words


@runtime_checkable
class Averaging(Protocol):
    """An average of W over a training of a known number of steps."""

    name: ClassVar[str]

    def rates(self, first: int, count: int, steps: int) -> Vector:
        """Rates of `count` steps from step `first` (counted from 0) of `steps` in all, [count] from 0 to 1."""


@dataclass(frozen=True)
class EMA:
    """Exponential moving average: average ← d · average + (1 − d) · W, with d = min(decay, (1 + t) / (10 + t)).

    t counts steps from 1. The smaller d at first forgets the starting W, and lets the average of a short training reach
    over about its last tenth (as TensorFlow's ExponentialMovingAverage does with num_updates).

    decay: from 0 to below 1. Its average reaches over about 1 / (1 − decay) steps.
    """

    decay: float = 0.999
    name: ClassVar[str] = "ema"

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise SettingError(f"decay of ema is {self.decay}: it must be at least 0 and below 1.")

    def rates(self, first: int, count: int, steps: int) -> Vector:
        """1 − d."""
        t = np.arange(first + 1, first + count + 1)
        return np.asarray(1 - np.minimum(self.decay, (1 + t) / (10 + t)))


@dataclass(frozen=True)
class SWA:
    """Stochastic weight averaging: the mean of W after each of the last steps (Izmailov et al. 2018, algorithm 1).

    Until then the average is W itself. It goes well with a learning rate that stays high: schedule="constant".

    start: share of the steps that are not averaged, from 0 to below 1.
    """

    start: float = 0.75
    name: ClassVar[str] = "swa"

    def __post_init__(self) -> None:
        if not 0 <= self.start < 1:
            raise SettingError(f"start of swa is {self.start}: it must be at least 0 and below 1.")

    def rates(self, first: int, count: int, steps: int) -> Vector:
        """1 / how many were averaged, this step's W among them."""
        averaged = np.arange(first + 1, first + count + 1) - int(self.start * steps)
        return np.asarray(1 / np.maximum(averaged, 1))


@dataclass(frozen=True)
class Last:
    """No average: the last W."""

    name: ClassVar[str] = "none"

    def rates(self, first: int, count: int, steps: int) -> Vector:
        """1."""
        return np.ones(count)


AVERAGINGS: dict[str, type[Averaging]] = {each.name: each for each in (EMA, SWA, Last)}


def averaging_named(choice: str | Averaging) -> Averaging:
    """The averaging in these words (see groups.py), or the given one. Raises SettingError as from_words."""
    return from_words(choice, AVERAGINGS, "averaging") if isinstance(choice, str) else choice
