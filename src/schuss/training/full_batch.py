"""Full-batch descent: SciPy's L-BFGS on the average loss of all rows, read block by block, with the events of the loop.

SciPy's minimisers call what they minimise, and events must come out between these calls. So the minimiser runs in a
thread that asks for values and waits for each answer: two coroutines, which never work at the same time.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from threading import Thread

import numpy as np

from schuss.arrays import Mask, Rows, Vector
from schuss.descent.optimizers import LBFGS
from schuss.engine.protocol import Cost, Engine
from schuss.table.store import MemoryStore, Store
from schuss.training.control import Control, NoControl, obeyed
from schuss.training.events import Event, Finished
from schuss.training.judging import Seen, Validation, judged
from schuss.training.loop import Plan
from schuss.training.pace import Clock
from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome

_ROWS = 8192  # taken at a time: an engine may sum a gradient in float32, which is less exact for more of them
_NOISE = 100  # by so many units of rounding two costs must differ, so that their difference says something
_RISE = 10  # times what a straight line says: what is told of a place whose cost is not finite


def minimise(
    engine: Engine,
    state: TrainingState,
    store: Store,
    plan: Plan,
    validation: Validation | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    control: Control | None = None,
    *,
    rule: LBFGS,
    cost: Cost,
    is_weight: Mask,
) -> Generator[Event]:
    """As loop.descend, with iterations of L-BFGS for epochs; clock and interruption are looked at while rows are read.

    What L-BFGS remembers is no part of the state: who goes on from it learns the curvature anew, and gets another W
    than without a stop.

    Arguments:
        rule: pairs and tolerance. cost: what is minimised. is_weight: [P] what its penalty looks at.
    """
    clock, control = Clock(state.seconds, plan.seconds), control or NoControl()
    engine.load(state.engine)
    state = replace(state, engine=engine.state())  # in the type of the engine
    dtype, steps_before = state.engine.W.dtype, state.engine.step - state.epoch

    def check() -> None:
        if interrupted():
            raise _StoppedError(Outcome.INTERRUPTED)
        if clock.is_over():
            raise _StoppedError(Outcome.OUT_OF_TIME)

    ground, outcome = _Ground(engine, store, cost, is_weight, check), state.outcome
    try:
        left = 0 if outcome else plan.epochs - state.epoch
        with closing(_questions(state.engine.W.astype(np.float64), rule, left)) as questions:
            for question in questions:
                place = ground.at(question.W)
                question.answer = place.height, place.gradient
                if not np.isfinite(place.height):
                    outcome = Outcome.DIVERGED
                elif question.ends_iteration:
                    ground.settle()
                    reached = replace(state.engine, W=question.W.astype(dtype), step=steps_before + state.epoch + 1)
                    state = replace(state, engine=reached, seconds=clock.now())
                    seen = _seen(engine, reached.W, validation) if validation else None
                    loss = plan.loss_unit * place.loss + plan.loss_shift
                    state, ended, outcome = judged(
                        state, [loss], [True], seen, validation, plan.goal, plan.epochs,
                        steps_before.__add__, state.seconds,
                    )  # fmt: skip
                    yield from ended
                    if outcome is None and plan.steps is not None and state.epoch >= plan.steps:
                        outcome = Outcome.STEPS_DONE
                    if outcome is None:
                        here = partial(replace, state)
                        outcome, _ = yield from obeyed(control, interrupted, clock, state.epoch, 0, here, False)
                if outcome:
                    break
    except _StoppedError as stopped:
        outcome = stopped.reason
    if outcome is Outcome.DIVERGED and state.best_W is not None:
        state = replace(state, engine=replace(state.engine, W=state.best_W))
    outcome = outcome or (Outcome.CONVERGED if state.epoch < plan.epochs else Outcome.COMPLETED)
    state = replace(state, seconds=clock.now(), outcome=outcome if outcome.is_final else None)
    yield Finished(outcome, state)


@dataclass(frozen=True, eq=False)
class _Place:
    """What is known at a W.

    loss: average. cost: with its penalty, and gradient: of it. height: the cost as SciPy is told it, see _Ground.
    """

    W: Vector
    loss: float
    cost: float
    gradient: Vector
    height: float


class _Ground:
    """The cost over all rows as a function of W, smooth enough for a line search.

    In float32 a cost is known to 1e-7 of itself, so that within 3e-4 of the optimum one W is as good as another. The
    gradient is 0 there, and known as exactly as ever. So where costs can hardly be told apart, the difference between a
    place and the last one that was settled on is taken from the gradients of both: ½ (g + g₀) · (W − W₀), which is
    exact where the cost is quadratic (Hager & Zhang 2005 accept steps for the same reason). Errors are O(‖W − W₀‖³).

    check: called before every block; it may raise.
    """

    def __init__(self, engine: Engine, store: Store, cost: Cost, is_weight: Mask, check: Callable[[], None]) -> None:
        self._engine, self._store, self._cost, self._is_weight, self._check = engine, store, cost, is_weight, check
        self._held = list(_pieces(store)) if isinstance(store, MemoryStore) else None  # the engine checks them once
        self._noise = _NOISE * float(np.finfo(engine.state().W.dtype).eps)
        self._here: _Place | None = None
        self._settled: _Place | None = None

    @np.errstate(over="ignore", invalid="ignore")  # what is not finite is answered with a rise
    def at(self, W: Vector) -> _Place:
        """One pass over the rows, unless the last one was at the same W."""
        if self._here is None or not np.array_equal(W, self._here.W):
            loss, slope = self._average(W)
            penalty = self._cost.l2 * self._is_weight * W
            cost, gradient = loss + 0.5 * float(penalty @ W), slope + penalty
            self._here = _Place(W, loss, cost, *self._smooth(W, cost, gradient))
            self._settled = self._settled or self._here
        return self._here

    def settle(self) -> None:
        """An iteration ended at the last place."""
        self._settled = self._here

    def _average(self, W: Vector) -> tuple[float, Vector]:
        """The average loss and its gradient [P], both float64."""
        total, gradient = 0.0, np.zeros(len(W))
        for rows in self._held or _pieces(self._store):
            self._check()
            own, slope = self._engine.gradient(W, rows)
            total, gradient = total + own, gradient + slope
        weight = self._cost.mean_weight * len(self._store)
        return total / weight, gradient / weight

    def _smooth(self, W: Vector, cost: float, gradient: Vector) -> tuple[Vector, float]:
        """The gradient and the height; where they are not finite, a rise that makes the step a twentieth."""
        last = self._settled
        if last is None:
            return gradient, cost
        way = W - last.W
        if not (np.isfinite(cost) and np.isfinite(gradient).all()):
            return np.zeros(len(W)), last.height + _RISE * abs(float(last.gradient @ way))
        difference = cost - last.cost
        if abs(difference) < self._noise * abs(cost):
            difference = 0.5 * float((gradient + last.gradient) @ way)
        return gradient, last.height + difference


class _StoppedError(Exception):
    """Time is over, or someone interrupts."""

    def __init__(self, reason: Outcome) -> None:
        super().__init__(reason)
        self.reason = reason


class _EnoughError(Exception):
    """Nobody wants to know more."""


@dataclass(eq=False)
class _Question:
    """What are height and gradient at W? They are the answer. ends_iteration: it is told that W was settled on."""

    W: Vector
    ends_iteration: bool
    answer: tuple[float, Vector] | None = None


def _questions(W: Vector, rule: LBFGS, iterations: int) -> Generator[_Question, None, None]:
    """What L-BFGS asks from W on; each must have its answer before the next is asked for."""
    if iterations < 1:  # SciPy would take one
        return
    asked: SimpleQueue[_Question | Exception | None] = SimpleQueue()
    answered: SimpleQueue[bool] = SimpleQueue()

    def ask(W: Vector, ends_iteration: bool = False) -> tuple[float, Vector] | None:
        question = _Question(W.copy(), ends_iteration)
        asked.put(question)
        if not answered.get():
            raise _EnoughError
        return question.answer

    def work() -> None:
        from scipy.optimize import minimize  # a tenth of a second that only this needs
        from threadpoolctl import threadpool_limits

        options = {"maxcor": rule.pairs, "gtol": rule.tolerance, "ftol": 0.0, "maxiter": iterations, "maxfun": 10**9}
        end = None
        try:
            with threadpool_limits(1, "blas"):  # for vectors its threads only take turns with those of the engine
                minimize(ask, W, jac=True, method="L-BFGS-B", callback=lambda W: ask(W, True), options=options)
        except _EnoughError:
            pass
        except Exception as error:
            end = error
        asked.put(end)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while isinstance(question := asked.get(), _Question):
            yield question
            answered.put(True)
    finally:
        answered.put(False)
        thread.join()
    if question is not None:
        raise question


def _pieces(store: Store) -> Iterator[Rows]:
    """All rows, few enough at a time."""
    for block in store.blocks():
        yield from block.batches(_ROWS)


def _seen(engine: Engine, W: Vector, validation: Validation) -> Seen:
    """What an iteration is judged by."""
    return Seen(W[np.newaxis], ((engine.outputs(W, rows)[np.newaxis], rows) for rows in _pieces(validation.store)))
