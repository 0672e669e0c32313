"""Schedules: which share of the learning rate a step takes, as a function of (step, steps) and of nothing else."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from schuss.arrays import Vector
from schuss.errors import SettingError
from schuss.groups import from_words


@runtime_checkable
class Schedule(Protocol):
    """Shares of the learning rate over a training of a known number of steps."""

    name: ClassVar[str]

    def shares(self, first: int, count: int, steps: int) -> Vector:
        """Shares for `count` steps from step `first` (counted from 0) of `steps` in all, [count] float64."""


@dataclass(frozen=True)
class Constant:
    """The learning rate as it was given."""

    name: ClassVar[str] = "constant"

    def shares(self, first: int, count: int, steps: int) -> Vector:
        """All 1."""
        return np.ones(count)


@dataclass(frozen=True)
class Cosine:
    """From 1 down to `final` along half a cosine (Loshchilov & Hutter 2017, equation 5, without restarts).

    final: share of the learning rate at the last step, from 0 to 1.
    """

    final: float = 0.01
    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        if not 0 <= self.final <= 1:
            raise SettingError(f"final of cosine is {self.final}: it must lie between 0 and 1.")

    def shares(self, first: int, count: int, steps: int) -> Vector:
        """Final + (1 − final) · (1 + cos(π · step / (steps − 1))) / 2."""
        progress = np.minimum(np.arange(first, first + count) / max(steps - 1, 1), 1.0)
        return self.final + (1 - self.final) * 0.5 * (1 + np.cos(np.pi * progress))


SCHEDULES: dict[str, type[Schedule]] = {each.name: each for each in (Constant, Cosine)}


def schedule_named(choice: str | Schedule) -> Schedule:
    """The schedule in these words (see groups.py), or the given one. Raises SettingError as from_words."""
    return from_words(choice, SCHEDULES, "schedule") if isinstance(choice, str) else choice
