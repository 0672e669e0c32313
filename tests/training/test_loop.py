"""The loop: what it yields, when it stops, what it keeps, and that nothing but the seed decides W."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from schuss import Network, Rows
from schuss.arrays import Matrix, Outputs, Vector
from schuss.descent import EMA, SWA, Adam, Constant, Cosine, GradientDescent, Plateau
from schuss.engine.protocol import Cost, EngineState
from schuss.engine.reference import ReferenceEngine
from schuss.losses import SquaredError
from schuss.table.store import MemoryStore
from schuss.training import loop, pace
from schuss.training.control import Command
from schuss.training.events import Chunk, Epoch, Event, Finished, Reached, Retried, Steered
from schuss.training.judging import Validation
from schuss.training.loop import NewRate, Plan, descend
from schuss.training.state import TrainingState
from schuss.training.stopping import Goal, Outcome

NETWORK = Network(inputs=2, hidden=(4,), activation="tanh")
PLAN = Plan(learning_rate=0.01, schedule=Cosine(), batch_size=8, epochs=5, seed=3)
RANDOM = np.random.default_rng(0)
ROWS = Rows.from_arrays(RANDOM.normal(size=(50, 2)), RANDOM.normal(size=50))


def run(plan: Plan = PLAN, rows: Rows = ROWS, **options) -> list[Event]:  # type: ignore[no-untyped-def]
    engine = ReferenceEngine(NETWORK, Cost(SquaredError()), Adam())
    state = TrainingState(EngineState.start(NETWORK.initial(0), Adam()))
    return list(descend(engine, state, MemoryStore(rows), plan, **options))


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def losses_in_turn(values: list[float], rows: Rows = ROWS) -> Validation:
    """A validation that says these losses after one another."""
    left = iter(values)

    def scores(blocks: Iterable[tuple[Outputs, Rows]]) -> list[dict[str, float]]:
        ((outputs, _),) = blocks
        return [{"loss": next(left)} for _ in outputs]

    return Validation(MemoryStore(rows), NETWORK.outputs, scores)


def test_every_epoch_ends_once_and_the_last_event_is_finished() -> None:
    events = run()
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [1, 2, 3, 4, 5]
    assert finished(events).outcome is Outcome.COMPLETED
    assert finished(events).state.engine.step == 5 * math.ceil(50 / 8)


def test_chunks_follow_one_another_without_a_gap() -> None:
    chunks = [event for event in run() if isinstance(event, Chunk)]
    assert chunks[0].first_step == 1
    for one, following in pairwise(chunks):
        assert following.first_step == one.last_step + 1
    assert all(chunk.least <= chunk.mean <= chunk.greatest for chunk in chunks)


def test_same_seed_gives_the_same_W_bit_for_bit_and_another_seed_another() -> None:
    assert (finished(run()).state.W == finished(run()).state.W).all()
    assert (finished(run()).state.W != finished(run(replace(PLAN, seed=4))).state.W).any()


def test_what_is_validated_and_kept_is_the_average_and_the_raw_W_goes_on() -> None:
    plain = finished(run()).state
    averaged = finished(run(replace(PLAN, averaging=SWA(start=0.5)))).state
    assert averaged.engine.average is not None
    assert (averaged.engine.W == plain.engine.W).all()
    assert (averaged.W == averaged.engine.average).all()
    assert (averaged.W != plain.W).any()

    def of_the_path(blocks: Iterable[tuple[Outputs, Rows]]) -> list[dict[str, float]]:
        ((outputs, rows),) = blocks
        return [{"loss": float(np.square(each - rows.targets).mean())} for each in outputs]

    validation = Validation(MemoryStore(ROWS), NETWORK.outputs, of_the_path)
    events = run(replace(PLAN, averaging=SWA(start=0.5)), validation=validation)
    last = [event for event in events if isinstance(event, Epoch)][-1]
    engine = ReferenceEngine(NETWORK, Cost(SquaredError()), Adam())
    assert last.scores["loss"] == pytest.approx(engine.total_loss(averaged.W, ROWS) / len(ROWS), rel=1e-12)


def test_an_average_is_the_same_bits_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = []
    for seconds in (1e-9, 1e9):
        monkeypatch.setattr(pace, "_CHUNK_SECONDS", seconds)
        reached.append(finished(run(replace(PLAN, averaging=EMA(decay=0.9)))).state.W)
    assert (reached[0] == reached[1]).all()


def test_the_length_of_chunks_never_changes_W(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-9)
    short = run()
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e9)
    long = run()
    assert len(short) > len(long)
    assert (finished(long).state.W == finished(short).state.W).all()


def test_short_epochs_are_taken_together_and_come_out_as_if_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e9)
    together = run()
    monkeypatch.setattr(loop, "_MOST_WATCHED", 1)
    apart = run(validation=losses_in_turn([5.0, 4.0, 3.0, 2.0, 1.0]))
    chunks = [[event for event in events if isinstance(event, Chunk)] for events in (together, apart)]
    assert [len(some) for some in chunks] == [1, 5]
    assert (chunks[0][0].epoch, chunks[0][0].first_step, chunks[0][0].last_step, chunks[0][0].rows) == (5, 1, 35, 50)
    epochs = [
        [(event.epoch, event.step, event.loss) for event in events if isinstance(event, Epoch)]
        for events in (together, apart)
    ]
    assert epochs[0] == epochs[1]
    assert (finished(together).state.W == finished(apart).state.W).all()
    assert (finished(together).state.engine.vectors == finished(apart).state.engine.vectors).all()


def test_no_more_epochs_are_taken_together_than_patience_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e9)
    events = run(replace(PLAN, goal=Goal(patience=2)), validation=losses_in_turn([5.0, 4.0, 3.0, 3.0, 2.0]))
    assert [event.epoch for event in events if isinstance(event, Chunk)] == [2, 4, 5]


def test_one_exploded_epoch_among_many_is_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e9)
    losses = [event.loss for event in run() if isinstance(event, Epoch)]
    monkeypatch.setattr(loop, "_EXPLODED", (max(losses) + np.mean(losses)) / 2)
    assert finished(run()).outcome is Outcome.DIVERGED


@pytest.mark.parametrize("seconds_of_a_chunk", [1e-9, 1e9])
def test_stops_early_and_keeps_the_best_W(seconds_of_a_chunk: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", seconds_of_a_chunk)
    events = run(replace(PLAN, goal=Goal(patience=2)), validation=losses_in_turn([3.0, 1.0, 2.0, 2.0, 0.0]))
    end = finished(events)
    assert end.outcome is Outcome.EARLY_STOPPED
    assert (end.state.epoch, end.state.best_epoch, end.state.best_score) == (4, 2, 1.0)
    assert [event.is_best for event in events if isinstance(event, Epoch)] == [True, True, False, False]
    assert end.state.engine.step == 4 * 7
    assert (end.state.W == finished(run(validation=losses_in_turn([2.0, 1.0, 3.0, 3.0, 3.0]))).state.W).all()


def test_scores_are_of_the_validation_rows_at_the_W_of_their_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e9)
    found: list[Matrix] = []
    held_out = ROWS.slice(40, 50)

    def scores(blocks: Iterable[tuple[Outputs, Rows]]) -> list[dict[str, float]]:
        ((outputs, rows),) = blocks
        assert rows is held_out
        found.extend(outputs)
        return [{"loss": float(np.abs(own).sum())} for own in outputs]

    events = run(validation=Validation(MemoryStore(held_out), NETWORK.outputs, scores))
    least = min((event for event in events if isinstance(event, Epoch)), key=lambda event: event.scores["loss"])
    state = finished(events).state
    assert (state.best_epoch, state.best_score) == (least.epoch, least.scores["loss"])
    engine = ReferenceEngine(NETWORK, Cost(SquaredError()), Adam())
    assert len(found) == 5
    assert (found[-1] == engine.outputs(state.engine.W, held_out)).all()
    assert (found[least.epoch - 1] == engine.outputs(state.W, held_out)).all()


def test_without_patience_all_epochs_are_done_and_the_best_W_is_kept() -> None:
    end = finished(run(validation=losses_in_turn([3.0, 1.0, 2.0, 2.0, 2.0])))
    assert end.outcome is Outcome.COMPLETED
    assert end.state.best_epoch == 2


def test_time_budget_ends_training_and_says_so() -> None:
    end = finished(run(replace(PLAN, epochs=10**6, seconds=0.2)))
    assert end.outcome is Outcome.OUT_OF_TIME
    assert 0 < end.state.epoch < 10**6


def test_an_interruption_ends_training_after_the_running_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-9)
    end = finished(run(interrupted=lambda: True))
    assert end.outcome is Outcome.INTERRUPTED
    assert end.state.engine.step == 1


@pytest.mark.parametrize("seconds_of_a_chunk", [1e-9, 1e9])
def test_divergence_is_a_named_outcome_and_what_is_handed_on_is_the_best_W(
    seconds_of_a_chunk: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", seconds_of_a_chunk)

    class Exploding(Constant):
        """A learning rate that is too long from the fourth epoch on."""

        def shares(self, first: int, count: int, steps: int) -> Vector:
            return np.where(np.arange(first, first + count) < 3 * 7, 1.0, 1e308)

    plan = replace(PLAN, schedule=Exploding(), epochs=20, retries=0)
    events = run(plan, validation=losses_in_turn([1.0 / epoch for epoch in range(1, 21)]))
    end = finished(events)
    assert end.outcome is Outcome.DIVERGED
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [1, 2, 3]
    assert (end.state.epoch, end.state.best_epoch, end.state.engine.step) == (3, 3, 3 * 7)
    assert np.isfinite(end.state.W).all()
    assert (end.state.engine.W == end.state.W).all()
    assert not end.state.engine.vectors.any()
    assert "learning rate" in end.outcome.advice


@pytest.mark.parametrize("stop", [{"interrupted": lambda: True}, {"seconds": 1e-9}])
def test_a_W_that_is_not_finite_is_divergence_whatever_else_ended_the_training(stop: dict[str, Any]) -> None:
    seconds = stop.pop("seconds", None)
    plan = replace(PLAN, learning_rate=1e308, schedule=Constant(), batch_size=50, epochs=1, seconds=seconds)
    engine = ReferenceEngine(NETWORK, Cost(SquaredError()), GradientDescent())
    state = TrainingState(EngineState.start(NETWORK.initial(0) * 1e3, GradientDescent()))
    assert finished(list(descend(engine, state, MemoryStore(ROWS), plan, **stop))).outcome is Outcome.DIVERGED


def test_a_validation_loss_that_is_no_number_is_divergence() -> None:
    end = finished(run(replace(PLAN, retries=0), validation=losses_in_turn([1.0, float("nan"), 0.1, 0.1, 0.1])))
    assert end.outcome is Outcome.DIVERGED
    assert end.state.best_epoch == 1


def test_losses_are_reported_in_the_unit_of_the_target() -> None:
    plain = [event.loss for event in run() if isinstance(event, Epoch)]
    scaled = [event.loss for event in run(replace(PLAN, loss_unit=100.0)) if isinstance(event, Epoch)]
    np.testing.assert_allclose(scaled, np.multiply(plain, 100.0))


def test_the_loss_of_an_epoch_counts_every_row_once_in_spite_of_a_short_batch() -> None:
    events = run(replace(PLAN, learning_rate=1e-300, epochs=1))
    (epoch,) = (event for event in events if isinstance(event, Epoch))
    engine = ReferenceEngine(NETWORK, Cost(SquaredError()), Adam())
    assert epoch.loss == pytest.approx(engine.total_loss(NETWORK.initial(0), ROWS) / 50, rel=1e-6)


def test_training_goes_on_from_a_state() -> None:
    end = finished(run())
    engine = ReferenceEngine(NETWORK, Cost(SquaredError()), Adam())
    state = replace(end.state, outcome=None)
    events = list(descend(engine, state, MemoryStore(ROWS), replace(PLAN, epochs=7)))
    assert [type(event) for event in descend(engine, end.state, MemoryStore(ROWS), replace(PLAN, epochs=7))] == [
        Finished
    ]
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [6, 7]
    assert finished(events).state.engine.step == 7 * 7


class Exploding(Constant):
    """A learning rate that is too long from the fourth epoch on."""

    def shares(self, first: int, count: int, steps: int) -> Vector:
        return np.where(np.arange(first, first + count) < 3 * 7, 1.0, 1e10)


@pytest.mark.parametrize("seconds_of_a_chunk", [1e-9, 1e9])
@pytest.mark.parametrize("validated", [False, True])
def test_fault_32_after_a_divergence_training_goes_on_from_the_last_good_W_with_shorter_steps(
    seconds_of_a_chunk: float, validated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", seconds_of_a_chunk)
    plan = replace(PLAN, schedule=Exploding(), learning_rate=1.0, epochs=6, retries=40)
    events = run(plan, validation=losses_in_turn([1.0] * 99) if validated else None)
    retries = [event for event in events if isinstance(event, Retried)]
    assert finished(events).outcome is Outcome.COMPLETED
    assert [event.tries for event in retries] == list(range(1, len(retries) + 1))
    assert all((event.epoch, event.step) == (4, 3 * 7) for event in retries)
    assert finished(events).state.share == retries[-1].share < 1
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [1, 2, 3, 4, 5, 6]
    # What is left is a training that had the shorter steps from there on.
    rates = (NewRate(21, retries[-1].share),)
    expected = finished(run(replace(plan, rates=rates, retries=0)))
    np.testing.assert_array_equal(finished(events).state.engine.W, expected.state.engine.W)


def test_fault_32_the_number_of_tries_is_bounded_and_the_best_W_is_kept() -> None:
    plan = replace(PLAN, schedule=Exploding(), learning_rate=1.0, retries=2)
    events = run(plan, validation=losses_in_turn([3.0, 2.0, 1.0] + [1.0] * 9))
    assert sum(isinstance(event, Retried) for event in events) == 2
    assert finished(events).outcome is Outcome.DIVERGED
    assert finished(events).state.best_epoch == 3
    assert np.isfinite(finished(events).state.W).all()


def test_a_W_that_explodes_in_the_very_last_step_is_tried_again() -> None:
    class AtTheEnd(Constant):
        def shares(self, first: int, count: int, steps: int) -> Vector:
            return np.where(np.arange(first, first + count) < steps - 1, 1.0, 1e308)

    events = run(replace(PLAN, schedule=AtTheEnd(), learning_rate=1.7, epochs=1, retries=9))
    assert finished(events).outcome is Outcome.COMPLETED
    assert [event.step for event in events if isinstance(event, Retried)]
    assert np.isfinite(finished(events).state.W).all()


@pytest.mark.parametrize("seconds_of_a_chunk", [1e-9, 1e9])
def test_a_new_learning_rate_counts_from_its_step_on(
    seconds_of_a_chunk: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", seconds_of_a_chunk)
    plan = replace(PLAN, schedule=Constant(), epochs=3)
    found = finished(run(replace(plan, rates=(NewRate(10, 0.05), NewRate(15, 0.002)))))
    engine = ReferenceEngine(NETWORK, Cost(SquaredError()), Adam())
    engine.load(EngineState.start(NETWORK.initial(0), Adam()))
    rates = np.array([0.01] * 10 + [0.05] * 5 + [0.002] * 6)
    for _, order in MemoryStore(ROWS).windows(plan.seed, range(3), 8):
        for epoch, own in enumerate(order.reshape(3, -1)):
            engine.train(ROWS, own, 8, rates[7 * epoch : 7 * epoch + 7])
    np.testing.assert_allclose(found.state.W, engine.state().W, rtol=1e-12)


@pytest.mark.parametrize("seconds_of_a_chunk", [1e-9, 1e9])
def test_training_ends_after_the_steps_that_were_asked_for(
    seconds_of_a_chunk: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", seconds_of_a_chunk)
    end = finished(run(replace(PLAN, steps=17)))
    assert end.outcome is Outcome.STEPS_DONE
    assert (end.state.engine.step, end.state.epoch, end.state.batch) == (17, 2, 3)


class Script:
    """Commands for one look after another; and it wants every state."""

    def __init__(self, *commands: Sequence[Command]) -> None:
        self._left = list(commands)

    def commands(self) -> Sequence[Command]:
        return self._left.pop(0) if self._left else ()

    def wants_state(self) -> bool:
        return True


@pytest.mark.parametrize("stop", ["stop", "abandon"])
def test_commands_take_effect_after_a_chunk_and_are_told_with_their_step(
    stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-9)
    script = Script((), [Command("learning_rate", 0.5, "a")], [Command("pause", id="b")], (), (),
                    [Command("resume", id="c")], (), [Command(stop, id="d")])  # fmt: skip
    events = run(control=script)
    told = [(event.step, event.action, event.value, event.id) for event in events if isinstance(event, Steered)]
    assert told == [
        (2, "learning_rate", 0.5, "a"),
        (3, "pause", None, "b"),
        (3, "resume", None, "c"),
        (5, stop, None, "d"),
    ]
    end = finished(events)
    assert end.outcome is (Outcome.STOPPED if stop == "stop" else Outcome.ABANDONED)
    steered = replace(PLAN, rates=(NewRate(2, 0.5),), steps=5)
    np.testing.assert_array_equal(end.state.engine.W, finished(run(steered)).state.engine.W)


def test_a_pause_ends_with_an_interruption_and_takes_nothing_from_the_time_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = iter([False] * 4 + [True] * 9)
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-9)
    events = run(replace(PLAN, seconds=0.15), control=Script([Command("pause")]), interrupted=lambda: next(asked))
    assert finished(events).outcome is Outcome.INTERRUPTED
    assert finished(events).state.seconds < 0.15


@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, schedule=Exploding(), learning_rate=1.0, epochs=6, retries=40)])
def test_whoever_goes_on_from_any_state_reaches_the_same_W(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-9)
    monkeypatch.setattr(loop, "_MARKED_STEPS", 3)
    held_out = ROWS.slice(40, 50)

    def scores(blocks: Iterable[tuple[Outputs, Rows]]) -> list[dict[str, float]]:
        ((outputs, rows),) = blocks
        return [{"loss": float(np.abs(own - rows.targets).sum())} for own in outputs]

    validation = Validation(MemoryStore(held_out), NETWORK.outputs, scores)
    events = run(plan, validation=validation, control=Script())
    states = [event.state for event in events if isinstance(event, Reached)]
    expected = finished(events).state
    assert len(states) >= 30
    for state in states[::2]:
        engine = ReferenceEngine(NETWORK, Cost(SquaredError()), Adam())
        end = finished(list(descend(engine, state, MemoryStore(ROWS), plan, validation)))
        np.testing.assert_array_equal(end.state.engine.W, expected.engine.W)
        np.testing.assert_array_equal(end.state.W, expected.W)
        assert (end.state.best_epoch, end.state.tries, end.state.share) == (
            expected.best_epoch, expected.tries, expected.share)  # fmt: skip


def test_a_score_that_was_asked_for_ends_the_training_there() -> None:
    losses = [5.0, 4.0, 3.0, 2.0, 1.0]
    end = finished(run(replace(PLAN, goal=Goal(target=3.0)), validation=losses_in_turn(losses)))
    assert (end.outcome, end.state.epoch, end.state.engine.step) == (Outcome.REACHED, 3, 21)
    np.testing.assert_array_equal(end.state.engine.W, finished(run(replace(PLAN, steps=21))).state.engine.W)
    without = [event.loss for event in run() if isinstance(event, Epoch)]
    end = finished(run(replace(PLAN, goal=Goal(target=without[2]))))
    assert (end.outcome, end.state.epoch) == (Outcome.REACHED, 1 + [loss <= without[2] for loss in without].index(True))


def test_patience_wants_a_least_improvement_and_the_best_W_does_not() -> None:
    goal = Goal(patience=2, improvement=0.5)
    end = finished(run(replace(PLAN, goal=goal), validation=losses_in_turn([3.0, 2.8, 2.6, 0.1, 0.1])))
    assert (end.outcome, end.state.epoch, end.state.best_epoch) == (Outcome.EARLY_STOPPED, 3, 3)


def test_any_score_can_decide_and_more_of_it_can_be_better() -> None:
    found = iter([0.5, 0.9, float("nan"), 0.7, 0.8])

    def scores(blocks: Iterable[tuple[Outputs, Rows]]) -> list[dict[str, float]]:
        ((outputs, _),) = blocks
        return [{"loss": 1.0, "auc": next(found)} for _ in outputs]

    validation = Validation(MemoryStore(ROWS), NETWORK.outputs, scores)
    end = finished(run(replace(PLAN, goal=Goal("auc", greater=True)), validation=validation))
    assert (end.state.best_epoch, end.state.best_score) == (2, 0.9)


def test_plateau_cuts_the_learning_rate_when_the_validation_loss_no_longer_falls() -> None:
    plan = replace(PLAN, schedule=Plateau(factor=0.5, patience=1), epochs=6)
    losses = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    events = run(plan, validation=losses_in_turn(losses), control=Script())
    rates = {event.epoch: event.learning_rate for event in events if isinstance(event, Chunk)}
    assert list(rates.values()) == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.005, 0.005])
    states = [event.state for event in events if isinstance(event, Reached)]
    for number, state in enumerate(states, 1):  # who goes on remembers
        engine = ReferenceEngine(NETWORK, Cost(SquaredError()), Adam())
        rest = losses_in_turn(losses[number:])
        end = finished(list(descend(engine, state, MemoryStore(ROWS), plan, rest)))
        np.testing.assert_array_equal(end.state.engine.W, finished(events).state.engine.W)
