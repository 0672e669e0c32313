"""The one loop: batches go in, events come out. It knows no file, no page and no terminal."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from schuss.arrays import Vector
from schuss.descent.schedules import Schedule
from schuss.engine.protocol import Engine
from schuss.table.store import Store
from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome

_EXPLODED = 1e12  # a loss on standardised targets, or of probabilities, that only an exploding W can have
_CHUNK_SECONDS = 0.1  # work between two looks at the clock, at progress and at commands


@dataclass(frozen=True)
class Plan:
    """What the loop is to do; every number resolved.

    learning_rate: α; schedule: its share at each step; batch_size: rows a step; epochs: at most.
    patience: epochs without a better validation loss after which to stop, None for never.
    seconds: time budget, None for none. seed: of the order of rows.
    loss_unit: what 1 of the engine's loss is in the target's own units, in which events report.
    """

    learning_rate: float
    schedule: Schedule
    batch_size: int
    epochs: int
    patience: int | None = None
    seconds: float | None = None
    seed: int = 0
    loss_unit: float = 1.0


@dataclass(frozen=True)
class Chunk:
    """Some steps were taken: the first and the last of them, their batch losses, the last learning rate.

    rows: passed so far in this epoch; seconds: since the training began.
    """

    epoch: int
    first_step: int
    last_step: int
    least: float
    mean: float
    greatest: float
    learning_rate: float
    rows: int
    seconds: float


@dataclass(frozen=True)
class Epoch:
    """An epoch ended.

    loss:    mean batch loss of the epoch, each at the W of its time.
    scores:  of the validation rows, "loss" among them; empty without validation rows.
    is_best: the validation loss is the least so far.
    """

    epoch: int
    step: int
    loss: float
    scores: Mapping[str, float]
    is_best: bool
    seconds: float


@dataclass(frozen=True, eq=False)
class Finished:
    """The end: why, and the state that was reached."""

    outcome: Outcome
    state: TrainingState


Event: TypeAlias = Chunk | Epoch | Finished
Validation: TypeAlias = Callable[[Vector], Mapping[str, float]]  # W -> named scores with "loss", the one to make small


def descend(
    engine: Engine,
    state: TrainingState,
    store: Store,
    plan: Plan,
    validate: Validation | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Trains from `state` to the end of the plan and yields what happens; the last event is Finished.

    Validation and stopping happen at the ends of epochs, so that the clock never changes W: it only decides, through
    `plan.seconds` and `interrupted`, after which chunk to stop.
    """
    engine.load(state.engine)
    clock = _Clock(state.seconds, plan.seconds)
    pace = _Pace(len(state.engine.W), plan.batch_size)
    steps_per_epoch = math.ceil(len(store) / plan.batch_size)
    outcome = Outcome.COMPLETED if state.epoch >= plan.epochs else None

    while outcome is None:
        epoch, epoch_loss, rows = state.epoch + 1, 0.0, 0
        for chunk, count, chunk_loss in _chunks(engine, store, plan, state.epoch, pace, clock):
            rows, epoch_loss = rows + count, epoch_loss + chunk_loss
            yield replace(chunk, rows=rows)
            outcome = _reason_to_stop(chunk, plan, clock, interrupted)
            if outcome is Outcome.DIVERGED or (outcome and chunk.last_step < epoch * steps_per_epoch):
                break
        else:
            reached = engine.state()
            scores = validate(reached.W) if validate else {}
            is_best = scores.get("loss", math.inf) < state.best_loss
            state = replace(state, engine=reached, epoch=epoch, seconds=clock.now())
            if is_best:
                state = replace(state, best_W=reached.W, best_loss=scores["loss"], best_epoch=epoch)
            yield Epoch(epoch, reached.step, epoch_loss / rows, scores, is_best, state.seconds)
            outcome = outcome or _reason_to_end(state, scores, plan)

    state = replace(state, engine=engine.state(), seconds=clock.now())
    if not np.isfinite(state.engine.W).all():
        outcome = Outcome.DIVERGED
        if state.best_W is not None:  # a W that is not finite is never handed on
            state = replace(state, engine=replace(state.engine, W=state.best_W))
    yield Finished(outcome, state)


def _chunks(
    engine: Engine, store: Store, plan: Plan, epoch: int, pace: "_Pace", clock: "_Clock"
) -> Iterator[tuple[Chunk, int, float]]:
    """Takes the steps of one epoch; yields after each chunk its event, its rows and Σ batch loss · rows of batch."""
    steps_per_epoch = math.ceil(len(store) / plan.batch_size)
    first = epoch * steps_per_epoch
    for rows, positions in store.windows(plan.seed, epoch, plan.batch_size):
        while len(positions):
            order, positions = np.split(positions, [pace.steps * plan.batch_size])
            steps = math.ceil(len(order) / plan.batch_size)
            shares = plan.schedule.shares(first, steps, plan.epochs * steps_per_epoch)
            began = clock.now()
            losses = plan.loss_unit * engine.train(rows, order, plan.batch_size, plan.learning_rate * shares)
            pace.took(steps, clock.now() - began)
            sizes = np.full(steps, plan.batch_size)
            sizes[-1] = len(order) - (steps - 1) * plan.batch_size
            least, mean, greatest = float(losses.min()), float(losses.mean()), float(losses.max())
            rate = plan.learning_rate * float(shares[-1])
            event = Chunk(epoch + 1, first + 1, first + steps, least, mean, greatest, rate, 0, clock.now())
            yield event, len(order), float(losses @ sizes)
            first += steps


def _reason_to_stop(chunk: Chunk, plan: Plan, clock: "_Clock", interrupted: Callable[[], bool]) -> Outcome | None:
    """Looked at after every chunk."""
    if not chunk.mean < _EXPLODED * plan.loss_unit:
        return Outcome.DIVERGED
    if interrupted():
        return Outcome.INTERRUPTED
    return Outcome.OUT_OF_TIME if clock.is_over() else None


def _reason_to_end(state: TrainingState, scores: Mapping[str, float], plan: Plan) -> Outcome | None:
    """Looked at after every epoch."""
    if not math.isfinite(scores.get("loss", 0.0)) or not np.isfinite(state.engine.W).all():
        return Outcome.DIVERGED
    if plan.patience is not None and scores and state.epoch - state.best_epoch >= plan.patience:
        return Outcome.EARLY_STOPPED
    return Outcome.COMPLETED if state.epoch >= plan.epochs else None


class _Pace:
    """How many steps a chunk takes, so that it takes about a tenth of a second; learned from chunk to chunk."""

    def __init__(self, parameters: int, batch_size: int) -> None:
        self.steps = max(1, int(_CHUNK_SECONDS * 1e9 / (6 * parameters * batch_size)))  # at a cautious 1 GFLOP/s

    def took(self, steps: int, seconds: float) -> None:
        """Takes note of a chunk; the next one has at most four times its steps."""
        wanted = int(steps * _CHUNK_SECONDS / max(seconds, 1e-6))
        self.steps = max(1, min(wanted, 4 * self.steps))


class _Clock:
    """Seconds of training, earlier ones included, and whether the budget is used up."""

    def __init__(self, earlier: float, budget: float | None) -> None:
        self._start, self._budget = time.monotonic() - earlier, budget

    def now(self) -> float:
        return time.monotonic() - self._start

    def is_over(self) -> bool:
        return self._budget is not None and self.now() >= self._budget
