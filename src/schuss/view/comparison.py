"""Optimisers side by side: the same rows, the same starting W, and how fast each makes the loss small."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from schuss.arrays import Vector
from schuss.descent.optimizers import Optimizer, optimizer_named
from schuss.errors import SchussError, SettingError
from schuss.files import write_file
from schuss.groups import in_words
from schuss.job import JobEvent, fit
from schuss.preparing import Prepared, decided, make_settings, ready, told_apart
from schuss.settings import Settings
from schuss.training.events import Epoch
from schuss.view.charts import Line, Panel, chart

_HEAD = ("optimizer", "steps", "seconds", "loss", "least", "validation", "least", "outcome")


@dataclass(frozen=True, eq=False)
class Contender:
    """One training.

    optimizer: in words. epochs: as they ended. outcome: how it ended, or the error that ended it.
    """

    optimizer: str
    epochs: Sequence[Epoch]
    outcome: str

    @property
    def steps(self) -> Vector:
        """Taken at the end of each epoch, [epochs]."""
        return np.array([epoch.step for epoch in self.epochs], np.float64)

    @property
    def seconds(self) -> Vector:
        """Since the start, [epochs]; epochs that were judged together are spread over their time."""
        seconds = np.array([epoch.seconds for epoch in self.epochs])
        times, from_end = np.unique(seconds[::-1], return_index=True)
        ends = [0, *(len(seconds) - from_end)]
        return np.asarray(np.interp(np.arange(1, len(seconds) + 1), ends, [0.0, *times]))

    @property
    def losses(self) -> Vector:
        """Mean loss on the training rows, [epochs]."""
        return np.array([epoch.loss for epoch in self.epochs])

    @property
    def validation(self) -> Vector:
        """Loss on the validation rows, [epochs]; NaN where there are none."""
        return np.array([epoch.scores.get("loss", math.nan) for epoch in self.epochs])

    def figures(self) -> dict[str, float]:
        """Steps, seconds, and the last and the least of both losses; NaN where there is no epoch or no such loss."""
        names = ("loss", "least_loss", "validation_loss", "least_validation_loss")
        values = [of(losses) for losses in (self.losses, self.validation) for of in (_last, _least)]
        return {"steps": _last(self.steps), "seconds": _last(self.seconds), **dict(zip(names, values, strict=True))}


@dataclass(frozen=True, eq=False)
class Comparison:
    """What became of each optimiser, in the order in which they were given."""

    contenders: Sequence[Contender]

    def __str__(self) -> str:
        """A table."""
        lines: list[tuple[str, ...]] = [_HEAD]
        for each in self.contenders:
            numbers = [f"{value:,.5g}" if math.isfinite(value) else "–" for value in each.figures().values()]
            lines.append((each.optimizer, *numbers, each.outcome))
        widths = [max(len(line[at]) for line in lines) for at in range(len(_HEAD) - 1)]
        return "\n".join(
            f"{line[0]:<{widths[0]}}  "
            + "  ".join(f"{cell:>{width}}" for cell, width in zip(line[1:-1], widths[1:], strict=True))
            + f"  {line[-1]}"
            for line in lines
        )

    def svg(self) -> str:
        """Loss against steps and against seconds, of the training rows and, if there are any, the validation rows."""
        panels = []
        for name, losses in (("Training", "losses"), ("Validation", "validation")):
            if all(np.isnan(getattr(each, losses)).all() for each in self.contenders):
                continue
            for axis in ("steps", "seconds"):
                lines = [Line(each.optimizer, getattr(each, axis), getattr(each, losses)) for each in self.contenders]
                panels.append(Panel(f"{name} loss against {axis}", axis, "average loss", lines))
        return chart("Optimisers compared", f"{len(panels)} plots of this table: {self}", panels)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture. Raises OutputError where that cannot be done."""
        write_file(path, self.svg().encode())

    _repr_svg_ = svg  # what a notebook shows


def compare(
    table: object,
    target: str | int | Sequence[str],
    optimizers: Sequence[str | Optimizer] = ("adamw", "momentum", "lion"),
    *,
    observers: Iterable[Callable[[JobEvent | Contender], None]] = (),
    interrupted: Callable[[], bool] = lambda: False,
    **others: Any,
) -> Comparison:
    """Trains with each optimiser on the same encoded rows from the same W; an error of one does not end the others.

    Arguments:
        table, target, others: as in schuss.train (weight, exclude, validation, …, and settings), but without test rows
            if not asked for. What is left to the recipe, such as the learning rate, suits each optimiser; seconds are
            for each.
        optimizers: at least one: names, words such as "momentum(momentum=0.95)", or typed groups.
        observers: called with every event of every training, and with each Contender at its end.
        interrupted: asked as in train; True ends the running training and begins no other.

    Raises:
        DataError: the table cannot be used.
        SettingError: a setting is out of range, or there is no optimiser of such a name.
    """
    roles, settings = told_apart({"test": 0.0, **others})
    chosen = make_settings({**settings, "members": 1})
    rules = [optimizer_named(each) for each in optimizers]
    if not rules or chosen.optimizer is not None:
        raise SettingError("Give the optimizers to compare, at least one, as a list: optimizers=['adamw', 'lion'].")
    prepared = ready(table, target, chosen, roles)
    watch, found = tuple(observers), []
    for choice, rule in zip(optimizers, rules, strict=True):
        if interrupted():
            break
        # A plain name stays one: only then the recipe takes a weight decay for adamw.
        found.append(_trained(prepared, replace(chosen, optimizer=choice), in_words(rule), watch, interrupted))
        for observer in watch:
            observer(found[-1])
    return Comparison(found)


def _trained(
    prepared: Prepared,
    settings: Settings,
    words: str,
    watch: Sequence[Callable[[JobEvent | Contender], None]],
    interrupted: Callable[[], bool],
) -> Contender:
    """One of them."""
    epochs: list[Epoch] = []

    def remember(event: JobEvent) -> None:
        if isinstance(event, Epoch):
            epochs.append(event)

    stores = prepared.training, prepared.validation, prepared.test
    try:
        again = decided(prepared.facts, stores, settings)
        model, _ = fit(again, settings, observers=[remember, *watch], interrupted=interrupted)
        outcome = model.record.outcome
    except SchussError as error:
        outcome = str(error)
    return Contender(words, epochs, outcome)


def _last(values: Vector) -> float:
    return float(values[-1]) if len(values) else math.nan


def _least(values: Vector) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.min()) if len(finite) else math.nan
