"""The one loop: batches go in, events come out. It knows no file, no page and no terminal."""

import math
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np

from schuss.arrays import RowIndex, Rows, Vector
from schuss.descent.averaging import Averaging
from schuss.descent.schedules import Plateau, Schedule
from schuss.engine.protocol import Engine, EngineState
from schuss.table.store import MemoryStore, Store
from schuss.training.control import Control, NoControl, obeyed
from schuss.training.events import Chunk, Event, Finished, Retried
from schuss.training.judging import Seen, Validation, judged
from schuss.training.pace import Clock, Pace
from schuss.training.state import TrainingState
from schuss.training.stopping import Goal, Outcome

_EXPLODED = 1e12  # a loss on standardised targets, or of probabilities, that only an exploding W can have
_SHARE_AFTER = 0.1  # of the learning rate, after each divergence
_MOST_WATCHED = 1 << 19  # numbers of W and of outputs that are kept until the epochs of a chunk are judged
_MARKED_STEPS = 4096  # after so many of them a long epoch can be gone back into


@dataclass(frozen=True)
class NewRate:
    """A learning rate from a step of the training on; of a command that was given after so many divergences."""

    step: int
    learning_rate: float
    tries: int = 0


@dataclass(frozen=True)
class Plan:
    """What the loop is to do; every number resolved.

    learning_rate: α; schedule: its share at each step; batch_size: rows a step; epochs: at most.
    goal: which score decides, and when to stop for it.
    seconds: time budget, None for none. seed: of the order of rows.
    loss_unit, loss_shift: a loss of the engine is loss_unit · loss + loss_shift in the target's own units, in which
        events report.
    averaging: of W, whose average then is what is validated and kept; None for W itself.
    retries: divergences after which training goes on with a tenth of the learning rate.
    steps: at most, None for no limit. last_try: divergences before which that limit does not count.
    rates: learning rates that take the place of the first one.
    """

    learning_rate: float
    schedule: Schedule
    batch_size: int
    epochs: int
    goal: Goal = field(default_factory=Goal)
    seconds: float | None = None
    seed: int = 0
    loss_unit: float = 1.0
    loss_shift: float = 0.0
    averaging: Averaging | None = None
    retries: int = 3
    steps: int | None = None
    last_try: int = 0
    rates: tuple[NewRate, ...] = ()


def descend(
    engine: Engine,
    state: TrainingState,
    store: Store,
    plan: Plan,
    validation: Validation | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    control: Control | None = None,
) -> Generator[Event]:
    """Trains from `state` to the end of the plan and yields what happens; the last event is Finished.

    Whatever changes W depends on steps alone: validation and stopping happen at the ends of epochs, learning rates
    change at steps. The clock only decides, through `plan.seconds`, `interrupted` and `control`, after which chunk to
    stop. Short epochs are taken together and judged afterwards, never more of them than must pass before patience
    could end. From a state in which a training came to its end, nothing more is done.

    When the loss explodes, training goes back to the end of the last sound epoch (or the last of 4,096 steps in a long
    one) and on from there with a tenth of the learning rate, `plan.retries` times at most.
    """
    return _Descent(engine, state, store, plan, validation, interrupted, control or NoControl()).events()


@dataclass(frozen=True, eq=False)
class _Taken:
    """Steps that were taken. losses: of the epochs that they ended. sound: whether each epoch's steps are."""

    chunk: Chunk
    losses: list[float]
    sound: list[bool]
    batch: int
    sum: float
    seen: Seen | None


class _Descent:
    """A training that runs: its state is known up to the engine's part, which is fetched where it is wanted."""

    def __init__(
        self,
        engine: Engine,
        state: TrainingState,
        store: Store,
        plan: Plan,
        validation: Validation | None,
        interrupted: Callable[[], bool],
        control: Control,
    ) -> None:
        self._engine, self._store, self._plan, self._validation = engine, store, plan, validation
        self._interrupted, self._control = interrupted, control
        self._state, self._before = state, state.before or state
        self._clock = Clock(state.seconds, plan.seconds)
        self._pace = Pace(len(state.engine.W), plan.batch_size)
        self._epoch_steps = math.ceil(len(store) / plan.batch_size)
        self._earlier_steps = state.engine.step - self._step
        self._load(state)

    @property
    def _step(self) -> int:
        """Steps taken in this training; the engine may have taken others before."""
        return self._state.epoch * self._epoch_steps + self._state.batch

    def _load(self, state: TrainingState) -> None:
        """Into the engine, with an average where there is to be one."""
        average = state.engine.kept if self._plan.averaging else None
        self._engine.load(replace(state.engine, average=average))

    def events(self) -> Generator[Event]:
        """All of them, to the end."""
        done = Outcome.COMPLETED if self._state.epoch >= self._plan.epochs else None
        outcome = self._state.outcome or done or self._planned()
        while outcome is None:
            outcome = yield from self._stretch()
            if outcome in (Outcome.COMPLETED, Outcome.STEPS_DONE) and not self._is_finite():
                outcome = Outcome.DIVERGED
            if outcome is Outcome.DIVERGED and self._state.tries < self._plan.retries:
                yield self._go_back()
                outcome = None
        yield self._finished(outcome)

    def _finished(self, outcome: Outcome) -> Finished:
        """What exploded is never handed on where there is something better."""
        state = self._now()
        outcome = outcome if np.isfinite(state.engine.W).all() else Outcome.DIVERGED
        if outcome is Outcome.DIVERGED:
            state = replace(state, sum=0.0)  # no checkpoint can hold what is not finite
        if outcome is Outcome.DIVERGED and state.best_W is not None:
            nothing = np.zeros_like(state.engine.vectors)
            step = self._earlier_steps + state.epoch * self._epoch_steps
            state = replace(state, engine=EngineState(state.best_W, nothing, step), batch=0, sum=0.0)
        return Finished(outcome, replace(state, outcome=outcome if outcome.is_final else None))

    def _is_finite(self) -> bool:
        return bool(np.isfinite(self._engine.state().W).all())

    def _now(self) -> TrainingState:
        """The whole state."""
        marked = self._before
        at_mark = (marked.epoch, marked.batch, marked.tries) == (
            self._state.epoch, self._state.batch, self._state.tries)  # fmt: skip
        return replace(
            self._state,
            engine=self._engine.state(),
            seconds=self._clock.now(),
            before=None if at_mark else replace(marked, before=None),
        )

    # ---- some epochs, or a part of one -----------------------------------------------------------------------------

    def _stretch(self) -> Generator[Event, None, Outcome | None]:
        """Takes what is left of the running epoch, or some epochs; why to end, if there is a reason."""
        if not self._state.batch and not self._mark():
            return Outcome.DIVERGED
        first = self._state.epoch
        epochs = range(first, min(first + self._together(), self._plan.epochs))
        with closing(self._take(self._state, epochs, self._validation)) as parts:
            for part in parts:
                yield part.chunk
                outcome = (yield from self._judged(part)) or self._planned() or (yield from self._asked())
                if outcome:
                    return outcome
                if self._state.batch and self._state.batch % _MARKED_STEPS == 0 and not self._mark():
                    return Outcome.DIVERGED
        return None

    def _mark(self) -> bool:
        """Makes this the state to go back to, unless W has exploded."""
        state = self._now()
        sound = bool(np.isfinite(state.engine.W).all())
        if sound:
            self._before = state
        return sound

    def _together(self) -> int:
        """Epochs that may be taken before any of them is judged, and before something is to change."""
        state, plan, steps = self._state, self._plan, self._epoch_steps
        if state.batch or steps >= _MARKED_STEPS or isinstance(plan.schedule, Plateau):
            return 1
        most = min(self._pace.steps, self._steps_to_change(self._step)) // steps
        if self._validation:
            if not isinstance(self._validation.store, MemoryStore):
                return 1
            watched = len(state.engine.W) + len(self._validation.store) * self._validation.outputs
            most = min(most, _MOST_WATCHED // watched)
            if plan.goal.patience is not None:
                most = min(most, plan.goal.patience - (state.epoch - state.marked_epoch))
        return max(1, most)

    def _steps_to_change(self, step: int) -> int:
        """Steps from this one to the next learning rate or to the last step."""
        plan, tries = self._plan, self._state.tries
        at = [rate.step for rate in plan.rates if rate.tries == tries]
        if plan.steps is not None and tries >= plan.last_try:
            at.append(plan.steps)
        return min((each for each in at if each > step), default=1 << 62) - step

    def _take(self, start: TrainingState, epochs: range, validation: Validation | None) -> Generator[_Taken]:
        """Takes the steps of these epochs from `start` on, in chunks: parts of one epoch, or whole epochs."""
        plan, rows_per_epoch, whole = self._plan, len(self._store), self._plan.epochs * self._epoch_steps
        epoch, batch, sum_so_far = epochs.start, start.batch, start.sum
        for rows, positions in self._store.windows(plan.seed, epochs, plan.batch_size, batch):
            while len(positions):
                step = epoch * self._epoch_steps + batch
                most = min(self._pace.steps, self._steps_to_change(step), _MARKED_STEPS - batch % _MARKED_STEPS)
                if len(positions) > rows_per_epoch:  # whole epochs: how many was asked before
                    most = len(positions)
                order, positions = positions[: most * plan.batch_size], positions[most * plan.batch_size :]
                together = max(1, len(order) // rows_per_epoch)
                sizes = _batch_sizes(len(order) // together, plan.batch_size)
                steps = together * len(sizes)
                shares = self._share(epoch) * plan.schedule.shares(step, steps, whole)
                began = self._clock.now()
                batch += len(sizes)
                ends = batch == self._epoch_steps
                averages = plan.averaging.rates(step, steps, whole) if plan.averaging else None
                rates = plan.learning_rate * shares
                losses, seen = self._train(rows, order, rates, averages, together, validation if ends else None)
                self._pace.took(steps, self._clock.now() - began)
                sound = (losses.reshape(together, -1).max(axis=1) < _EXPLODED).tolist()
                losses = plan.loss_unit * losses + plan.loss_shift
                by_epoch = losses.reshape(together, -1)
                chunk = Chunk(
                    epoch=epoch + together,
                    first_step=step + 1,
                    last_step=step + steps,
                    least=float(losses.min()),
                    mean=float(losses.mean()),
                    greatest=float(losses.max()),
                    learning_rate=plan.learning_rate * float(shares[-1]),
                    rows=min(batch * plan.batch_size, rows_per_epoch),
                    seconds=self._clock.now(),
                )
                weighted = by_epoch * sizes
                weighted[0, 0] += sum_so_far
                sums = np.cumsum(weighted, axis=1)[:, -1]  # one after another: the same however the steps are cut
                if ends:
                    epoch, batch, sum_so_far = epoch + together, 0, 0.0
                    yield _Taken(chunk, (sums / rows_per_epoch).tolist(), sound, batch, sum_so_far, seen)
                else:
                    sum_so_far = float(sums[0])
                    yield _Taken(chunk, [], sound, batch, sum_so_far, None)

    def _share(self, epoch: int) -> float:
        """Of the learning rate, before the schedule of steps."""
        schedule, state = self._plan.schedule, self._state
        return state.share * (schedule.cut(state.history[:epoch]) if isinstance(schedule, Plateau) else 1.0)

    def _train(
        self,
        rows: Rows,
        order: RowIndex,
        rates: Vector,
        averages: Vector | None,
        together: int,
        validation: Validation | None,
    ) -> tuple[Vector, Seen | None]:
        """The losses of all steps, and what is seen; rows that do not lie in memory are seen after one epoch alone."""
        engine, batch_size = self._engine, self._plan.batch_size
        if validation is None:
            return engine.train(rows, order, batch_size, rates, together, averages), None
        if isinstance(validation.store, MemoryStore):
            found = engine.train_watched(rows, order, batch_size, rates, validation.store.rows, together, averages)
            return found.losses, Seen(found.path, [(found.outputs, validation.store.rows)])
        losses = engine.train(rows, order, batch_size, rates, 1, averages)
        W = engine.state().kept
        blocks = ((engine.outputs(W, block)[np.newaxis], block) for block in validation.store.blocks())
        return losses, Seen(W[np.newaxis], blocks)

    # ---- what becomes of it ----------------------------------------------------------------------------------------

    def _judged(self, part: _Taken) -> Generator[Event, None, Outcome | None]:
        """Takes note of the steps, and of the epochs that they ended one by one; why to end, if there is a reason.

        An epoch that explodes does not count, nor do those after it.
        """
        if not part.losses:
            self._state = replace(self._state, batch=part.batch, sum=part.sum)
            return None if part.sound[0] else Outcome.DIVERGED
        passed = self._state.epoch + len(part.losses)
        state, ended, outcome = judged(
            self._state, part.losses, part.sound, part.seen, self._validation, self._plan.goal, self._plan.epochs,
            lambda epoch: self._earlier_steps + epoch * self._epoch_steps, self._clock.now(),
        )  # fmt: skip
        if isinstance(self._plan.schedule, Plateau):
            state = replace(state, history=(*state.history, *(epoch.scores["loss"] for epoch in ended)))
        self._state = state
        yield from ended
        if outcome not in (None, Outcome.DIVERGED) and state.epoch < passed:
            self._rewind()
        return outcome

    def _rewind(self) -> None:
        """Takes the engine, which has gone further, to the end of the epoch that the state tells."""
        start = self._before
        self._load(start)
        for _ in self._take(start, range(start.epoch, self._state.epoch), None):
            pass

    def _go_back(self) -> Retried:
        """The state after the last sound epoch, or the marked one where none has ended since; with shorter steps."""
        failed, marked = self._state.epoch + 1, self._before
        while self._state.epoch > marked.epoch:
            self._rewind()
            if self._is_finite():
                break
            self._state = replace(self._state, epoch=self._state.epoch - 1)
        else:
            self._load(marked)
        at_mark = self._state.epoch == marked.epoch
        self._state = replace(
            self._state,
            batch=marked.batch if at_mark else 0,
            sum=marked.sum if at_mark else 0.0,
            share=_SHARE_AFTER * self._state.share,
            tries=self._state.tries + 1,
        )
        self._before = self._now()
        return Retried(failed, self._step, self._state.share, self._state.tries)

    def _planned(self) -> Outcome | None:
        """Obeys what was planned for this step; why to end, if there is a reason."""
        plan = self._plan
        for rate in plan.rates:
            if (rate.step, rate.tries) == (self._step, self._state.tries):
                self._state = replace(self._state, share=rate.learning_rate / plan.learning_rate)
        if plan.steps is not None and self._step >= plan.steps and self._state.tries >= plan.last_try:
            return Outcome.STEPS_DONE
        return None

    def _asked(self) -> Generator[Event, None, Outcome | None]:
        """Obeys what is asked now; why to end, if there is a reason."""
        outcome, rate = yield from obeyed(
            self._control, self._interrupted, self._clock, self._step, self._state.tries, self._now
        )
        if rate is not None:
            self._state = replace(self._state, share=rate / self._plan.learning_rate)
        return outcome


def _batch_sizes(rows: int, batch_size: int) -> Vector:
    """Rows of each batch, of which the last may be short."""
    sizes = np.full(math.ceil(rows / batch_size), float(batch_size))
    sizes[-1] = rows - (len(sizes) - 1) * batch_size
    return sizes
