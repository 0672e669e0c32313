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

    epoch: of the last step; rows: passed so far in this epoch; seconds: since the training began.
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
    `plan.seconds` and `interrupted`, after which chunk to stop. Without validation nothing is looked at between the
    epochs of a chunk: short ones are taken together.
    """
    engine.load(state.engine)
    clock = _Clock(state.seconds, plan.seconds)
    pace = _Pace(len(state.engine.W), plan.batch_size)
    steps_per_epoch = math.ceil(len(store) / plan.batch_size)
    outcome = Outcome.COMPLETED if state.epoch >= plan.epochs else None

    while outcome is None:
        together = 1 if validate else max(1, pace.steps // steps_per_epoch)
        epochs = range(state.epoch, min(state.epoch + together, plan.epochs))
        losses: list[float] = []
        for chunk, losses_of_ended in _chunks(engine, store, plan, epochs, pace, clock):
            losses += losses_of_ended
            yield chunk
            outcome = _reason_to_stop(chunk, plan, clock, interrupted)
            if outcome:
                break
        if losses and outcome is not Outcome.DIVERGED:
            step, reached, seconds = state.engine.step, engine.state(), clock.now()
            scores = validate(reached.W) if validate else {}
            is_best = scores.get("loss", math.inf) < state.best_loss
            state = replace(state, engine=reached, epoch=state.epoch + len(losses), seconds=seconds)
            if is_best:
                state = replace(state, best_W=reached.W, best_loss=scores["loss"], best_epoch=state.epoch)
            for epoch, loss in enumerate(losses, start=epochs.start + 1):
                step += steps_per_epoch
                yield Epoch(epoch, step, loss, scores, is_best, seconds)
            outcome = outcome or _reason_to_end(state, max(losses), scores, plan)

    state = replace(state, engine=engine.state(), seconds=clock.now())
    if not np.isfinite(state.engine.W).all():
        outcome = Outcome.DIVERGED
        if state.best_W is not None:  # a W that is not finite is never handed on
            state = replace(state, engine=replace(state.engine, W=state.best_W))
    yield Finished(outcome, state)


def _chunks(
    engine: Engine, store: Store, plan: Plan, epochs: range, pace: "_Pace", clock: "_Clock"
) -> Iterator[tuple[Chunk, list[float]]]:
    """Takes the steps of these epochs; yields after each chunk its event, and the loss of each epoch that it ended.

    A chunk is a part of one epoch, or whole epochs.
    """
    rows_per_epoch, steps_per_epoch = len(store), math.ceil(len(store) / plan.batch_size)
    step, epoch, passed, sum_so_far = epochs.start * steps_per_epoch, epochs.start, 0, 0.0
    for rows, positions in store.windows(plan.seed, epochs, plan.batch_size):
        while len(positions):
            most = pace.steps * plan.batch_size
            order, positions = positions[:most], positions[most:]
            together = max(1, len(order) // rows_per_epoch)
            sizes = _batch_sizes(len(order) // together, plan.batch_size)
            steps = together * len(sizes)
            shares = plan.schedule.shares(step, steps, plan.epochs * steps_per_epoch)
            began = clock.now()
            losses = plan.loss_unit * engine.train(rows, order, plan.batch_size, plan.learning_rate * shares, together)
            pace.took(steps, clock.now() - began)
            passed += len(order) // together
            event = Chunk(
                epoch=epoch + together,
                first_step=step + 1,
                last_step=step + steps,
                least=float(losses.min()),
                mean=float(losses.mean()),
                greatest=float(losses.max()),
                learning_rate=plan.learning_rate * float(shares[-1]),
                rows=passed,
                seconds=clock.now(),
            )
            sums = (losses.reshape(together, -1) * sizes).sum(axis=1) + sum_so_far
            if passed < rows_per_epoch:
                yield event, []
                sum_so_far = float(sums[0])
            else:
                yield event, (sums / rows_per_epoch).tolist()
                epoch, passed, sum_so_far = epoch + together, 0, 0.0
            step += steps


def _batch_sizes(rows: int, batch_size: int) -> Vector:
    """Rows of each batch, of which the last may be short."""
    sizes = np.full(math.ceil(rows / batch_size), float(batch_size))
    sizes[-1] = rows - (len(sizes) - 1) * batch_size
    return sizes


def _reason_to_stop(chunk: Chunk, plan: Plan, clock: "_Clock", interrupted: Callable[[], bool]) -> Outcome | None:
    """Looked at after every chunk."""
    if not chunk.mean < _EXPLODED * plan.loss_unit:
        return Outcome.DIVERGED
    if interrupted():
        return Outcome.INTERRUPTED
    return Outcome.OUT_OF_TIME if clock.is_over() else None


def _reason_to_end(state: TrainingState, loss: float, scores: Mapping[str, float], plan: Plan) -> Outcome | None:
    """Looked at after every epoch, or several that were taken together; loss: of the worst of them."""
    if not math.isfinite(scores.get("loss", 0.0)) or not np.isfinite(state.engine.W).all():
        return Outcome.DIVERGED
    if loss >= _EXPLODED * plan.loss_unit:
        return Outcome.DIVERGED
    if plan.patience is not None and scores and state.epoch - state.best_epoch >= plan.patience:
        return Outcome.EARLY_STOPPED
    return Outcome.COMPLETED if state.epoch >= plan.epochs else None


class _Pace:
    """How many steps a chunk takes, so that it takes about a tenth of a second; learned from chunk to chunk."""

    def __init__(self, parameters: int, batch_size: int) -> None:
        cautious = 1e-4 + 6e-9 * parameters * batch_size  # seconds a step: the call, and 1 GFLOP/s
        self.steps = max(1, int(_CHUNK_SECONDS / cautious))

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
