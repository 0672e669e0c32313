"""The one loop: batches go in, events come out. It knows no file, no page and no terminal."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec
import numpy as np

from schuss.arrays import Matrix, Outputs, RowIndex, Rows, Vector
from schuss.descent.schedules import Schedule
from schuss.engine.protocol import Engine, EngineState
from schuss.table.store import MemoryStore, Store
from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome

_EXPLODED = 1e12  # a loss on standardised targets, or of probabilities, that only an exploding W can have
_CHUNK_SECONDS = 0.1  # work between two looks at the clock, at progress and at commands
_NO_SCORES: Mapping[str, float] = {}
_MOST_WATCHED = 1 << 19  # numbers of W and of outputs that are kept until the epochs of a chunk are judged


@dataclass(frozen=True)
class Plan:
    """What the loop is to do; every number resolved.

    learning_rate: α; schedule: its share at each step; batch_size: rows a step; epochs: at most.
    patience: epochs without a better validation loss after which to stop, None for never.
    seconds: time budget, None for none. seed: of the order of rows.
    loss_unit, loss_shift: a loss of the engine is loss_unit · loss + loss_shift in the target's own units, in which
        events report.
    """

    learning_rate: float
    schedule: Schedule
    batch_size: int
    epochs: int
    patience: int | None = None
    seconds: float | None = None
    seed: int = 0
    loss_unit: float = 1.0
    loss_shift: float = 0.0


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


class Epoch(msgspec.Struct, frozen=True):  # a tenth of what a frozen dataclass takes to make
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


@dataclass(frozen=True, eq=False)
class Validation:
    """Rows by which the best W is chosen.

    outputs: K. scores: blocks of these rows, each with its outputs [epochs, n, K] -> the named scores of each epoch,
    with "loss", the one to make small.
    """

    store: Store
    outputs: int
    scores: Callable[[Iterable[tuple[Outputs, Rows]]], Sequence[Mapping[str, float]]]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What there is to judge some epochs by: W after each, [epochs, P], and what Validation.scores takes."""

    path: Matrix
    blocks: Iterable[tuple[Outputs, Rows]]


def descend(
    engine: Engine,
    state: TrainingState,
    store: Store,
    plan: Plan,
    validation: Validation | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Trains from `state` to the end of the plan and yields what happens; the last event is Finished.

    Validation and stopping happen at the ends of epochs, so that the clock never changes W: it only decides, through
    `plan.seconds` and `interrupted`, after which chunk to stop. Short epochs are taken together and judged afterwards,
    never more of them than must pass before patience could end.
    """
    engine.load(state.engine)
    clock = _Clock(state.seconds, plan.seconds)
    pace = _Pace(len(state.engine.W), plan.batch_size)
    steps_per_epoch = math.ceil(len(store) / plan.batch_size)
    steps_before = state.engine.step - state.epoch * steps_per_epoch

    def step_at(epoch: int) -> int:
        return steps_before + epoch * steps_per_epoch

    outcome = Outcome.COMPLETED if state.epoch >= plan.epochs else None

    while outcome is None:
        together = max(1, min(pace.steps // steps_per_epoch, _most_together(state, plan, validation)))
        epochs = range(state.epoch, min(state.epoch + together, plan.epochs))
        for chunk, losses, seen in _chunks(engine, store, plan, epochs, pace, clock, validation):
            yield chunk
            end = None if chunk.mean < _EXPLODED * plan.loss_unit else Outcome.DIVERGED
            if losses:
                state = replace(state, seconds=clock.now())
                state, ended, end = _judged(state, losses, seen, validation, plan, step_at)
                yield from ended
            outcome = end if end is Outcome.DIVERGED else _reason_to_stop(clock, interrupted) or end
            if outcome:
                break

    state = replace(state, engine=engine.state(), seconds=clock.now())
    if not np.isfinite(state.engine.W).all():
        outcome = Outcome.DIVERGED
    if outcome is Outcome.DIVERGED and state.best_W is not None:  # what exploded is never handed on
        nothing = np.zeros_like(state.engine.vectors)
        state = replace(state, engine=EngineState(state.best_W, nothing, step_at(state.epoch)))
    yield Finished(outcome, state)


def _most_together(state: TrainingState, plan: Plan, validation: Validation | None) -> int:
    """Epochs that may be taken before any of them is judged."""
    if validation is None:
        return plan.epochs
    if not isinstance(validation.store, MemoryStore):
        return 1
    patience = plan.epochs if plan.patience is None else plan.patience - (state.epoch - state.best_epoch)
    return min(patience, _MOST_WATCHED // (len(state.engine.W) + len(validation.store) * validation.outputs))


def _judged(
    state: TrainingState,
    losses: list[float],
    seen: _Seen | None,
    validation: Validation | None,
    plan: Plan,
    step_at: Callable[[int], int],
) -> tuple[TrainingState, list[Epoch], Outcome | None]:
    """The state after some epochs, their events, and the reason to end there, if any.

    An epoch that explodes does not count, nor do those after it. step_at: the steps taken at the end of an epoch.
    """
    outcome, ended = None, []
    scores = validation.scores(seen.blocks) if validation and seen else [_NO_SCORES] * len(losses)
    finite = np.asarray(np.isfinite(seen.path).all(axis=1)) if seen else np.ones(len(losses), np.bool_)
    best, best_loss, most = None, state.best_loss, _EXPLODED * plan.loss_unit
    for epoch, (loss, found, is_finite) in enumerate(zip(losses, scores, finite, strict=True), state.epoch + 1):
        if not (loss < most and is_finite):
            outcome = Outcome.DIVERGED
            break
        validated = found.get("loss", math.inf)
        is_best = validated < best_loss
        if is_best:
            best, best_loss = epoch, validated
        ended.append(Epoch(epoch, step_at(epoch), loss, found, is_best, state.seconds))
        if found and not math.isfinite(validated):
            outcome = Outcome.DIVERGED
            break
    if best is not None and seen:
        W = seen.path[best - state.epoch - 1].copy()
        state = replace(state, best_W=W, best_loss=best_loss, best_epoch=best)
    state = replace(state, epoch=state.epoch + len(ended))
    if outcome is None and seen and plan.patience is not None and state.epoch - state.best_epoch >= plan.patience:
        outcome = Outcome.EARLY_STOPPED
    return state, ended, outcome or (Outcome.COMPLETED if state.epoch >= plan.epochs else None)


def _chunks(
    engine: Engine,
    store: Store,
    plan: Plan,
    epochs: range,
    pace: "_Pace",
    clock: "_Clock",
    validation: Validation | None,
) -> Iterator[tuple[Chunk, list[float], _Seen | None]]:
    """Takes the steps of these epochs; yields after each chunk its event, and the epochs that it ended.

    A chunk is a part of one epoch, or whole epochs. Of those that it ended there are the losses and, with validation
    rows, what was seen of them.
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
            rates, seen = plan.learning_rate * shares, None
            passed += len(order) // together
            if validation and passed == rows_per_epoch:
                losses, seen = _watched(engine, rows, order, plan.batch_size, rates, validation.store, together)
            else:
                losses = engine.train(rows, order, plan.batch_size, rates, together)
            pace.took(steps, clock.now() - began)
            losses = plan.loss_unit * losses + plan.loss_shift
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
                yield event, [], None
                sum_so_far = float(sums[0])
            else:
                yield event, (sums / rows_per_epoch).tolist(), seen
                epoch, passed, sum_so_far = epoch + together, 0, 0.0
            step += steps


def _watched(
    engine: Engine, rows: Rows, order: RowIndex, batch_size: int, rates: Vector, watched: Store, together: int
) -> tuple[Vector, _Seen]:
    """The losses of all steps, and what is seen; rows that do not lie in memory are looked at after one epoch alone."""
    if isinstance(watched, MemoryStore):
        found = engine.train_watched(rows, order, batch_size, rates, watched.rows, together)
        return found.losses, _Seen(found.path, [(found.outputs, watched.rows)])
    losses = engine.train(rows, order, batch_size, rates)
    W = engine.state().W
    blocks = ((engine.outputs(W, block)[np.newaxis], block) for block in watched.blocks())
    return losses, _Seen(W[np.newaxis], blocks)


def _batch_sizes(rows: int, batch_size: int) -> Vector:
    """Rows of each batch, of which the last may be short."""
    sizes = np.full(math.ceil(rows / batch_size), float(batch_size))
    sizes[-1] = rows - (len(sizes) - 1) * batch_size
    return sizes


def _reason_to_stop(clock: "_Clock", interrupted: Callable[[], bool]) -> Outcome | None:
    """Looked at after every chunk."""
    if interrupted():
        return Outcome.INTERRUPTED
    return Outcome.OUT_OF_TIME if clock.is_over() else None


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
