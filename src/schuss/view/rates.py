"""The learning-rate range test: which lengths of the step make the loss smaller, before a training begins."""

import itertools
import math
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from schuss.arrays import Vector
from schuss.descent.optimizers import LBFGS
from schuss.engine.protocol import Engine, EngineState
from schuss.errors import SettingError
from schuss.files import write_file
from schuss.job import engine_for
from schuss.preparing import make_settings, ready, told_apart
from schuss.table.store import Store
from schuss.training.loop import Plan
from schuss.training.state import TrainingState
from schuss.view.charts import Line, Panel, chart

_STEPS, _DECADES = 300, (-4, 3)  # of the test; from 10^-4 to 10³ times the rate that suits the optimiser
_WIDTH = 6  # standard deviation, in steps, of the weights with which losses are averaged
_EXPLODED = 4  # times the loss at the start
_FELL = 0.02  # share of the loss at the start by which it must have fallen to say anything


@dataclass(frozen=True, eq=False)
class RateTest:
    """What a range test found.

    rates:      [n] learning rates in rising order, one a step.
    losses:     [n] of each step's batch before the step, smoothed; in the target's own units.
    suggestion: a learning rate to train with; reason: why.
    """

    rates: Vector
    losses: Vector
    suggestion: float
    reason: str

    def svg(self) -> str:
        """The loss against the learning rate, as SVG."""
        line = Line("loss", self.rates, self.losses)
        mark = self.suggestion, f"suggested: {self.suggestion:.3g}"
        panel = Panel(self.reason, "learning rate", "loss of a batch, smoothed", [line], mark)
        words = f"The loss against learning rates from {self.rates[0]:.3g} to {self.rates[-1]:.3g}. {mark[1]}"
        return chart("Learning-rate range test", f"{words}, {self.reason}.", [panel])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture. Raises OutputError where that cannot be done."""
        write_file(path, self.svg().encode())

    _repr_svg_ = svg  # what a notebook shows


def find_learning_rate(
    table: object,
    target: str | int | Sequence[str],
    **others: Any,
) -> RateTest:
    """Takes 300 steps with rates that grow from far too short to far too long (Smith 2017, section 3.3).

    The suggestion is a third of the rate at which the smoothed loss was least: there it no longer fell. (A tenth, which
    is often taken, was worse in 13 of 16 trainings of 20 epochs with the cosine schedule: docs/decisions.md.)

    Arguments:
        table, target, others: as in schuss.train (weight, exclude, validation, …, and settings); the network starts
            from the same W, and sees the same batches. Weight decay is left out.

    Raises:
        DataError: the table cannot be used.
        SettingError: a setting is out of range, or is the learning rate itself, or the optimiser is lbfgs.
    """
    roles, settings = told_apart(others)
    chosen = make_settings({**settings, "members": 1})
    if chosen.learning_rate is not None or chosen.schedule is not None:
        raise SettingError("learning_rate and schedule are what the test replaces: leave them out.")
    prepared = ready(table, target, chosen, roles)
    rule, plan = prepared.recipe.optimizer, prepared.recipe.plan
    if isinstance(rule, LBFGS):
        raise SettingError("lbfgs has no learning rate: it searches for the length of each step.")
    rule = replace(rule, weight_decay=0.0)  # which is in proportion to the rate, and would end the test
    prepared = replace(prepared, recipe=replace(prepared.recipe, optimizer=rule))
    start = EngineState.start(prepared.recipe.network.initial(chosen.seed), rule)
    engine, prepared = engine_for(prepared, chosen, TrainingState(start))
    engine.load(start)
    rates = rule.usual_learning_rate * np.logspace(*_DECADES, _STEPS)
    losses = _smoothed(_losses(engine, prepared.training, plan, rates))
    rates = rates[: len(losses)]
    suggestion, reason = _suggestion(rates, losses, plan.learning_rate)
    return RateTest(rates, plan.loss_unit * losses, suggestion, reason)


def _losses(engine: Engine, store: Store, plan: Plan, rates: Vector) -> Vector:
    """The loss of each step's batch, up to the first that exploded, [n]."""
    found = np.empty(0)
    for epoch in itertools.count():
        with closing(store.windows(plan.seed, range(epoch, epoch + 1), plan.batch_size)) as windows:
            for rows, order in windows:
                steps = min(math.ceil(len(order) / plan.batch_size), len(rates) - len(found))
                used = order[: steps * plan.batch_size]
                found = np.append(found, engine.train(rows, used, plan.batch_size, rates[len(found) :][:steps]))
                most = _EXPLODED * found[: 4 * _WIDTH].mean()
                exploded = np.flatnonzero(~(found < most))
                if len(exploded) or len(found) == len(rates):
                    return found[: exploded[0]] if len(exploded) else found
    raise AssertionError("a store has rows for every epoch")


def _smoothed(losses: Vector) -> Vector:
    """Averages with weights that fall off on both sides, [n]."""
    at = np.arange(len(losses))
    weights = np.exp(-0.5 * ((at[:, np.newaxis] - at) / _WIDTH) ** 2)
    return np.asarray(weights @ losses / weights.sum(axis=1))


def _suggestion(rates: Vector, losses: Vector, usual: float) -> tuple[float, str]:
    """A third of the rate at which the loss was least, or the usual one where it did not fall."""
    least = int(losses.argmin()) if len(losses) else 0
    if not len(losses) or not losses[least] < losses[0] - _FELL * abs(losses[0]):
        return usual, "the recipe's, because the loss fell at no rate"
    return float(rates[least]) / 3, f"a third of {rates[least]:.3g}, where the loss was least"
