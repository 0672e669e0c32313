"""The average of W that an engine keeps: for every optimiser, average and engine."""

from dataclasses import replace

import numpy as np
import pytest
from engine_rows import some_rows

from schuss.arrays import Vector
from schuss.descent.averaging import averaging_named
from schuss.descent.optimizers import OPTIMIZERS, Optimizer
from schuss.engine import make_engine
from schuss.engine.protocol import Cost, Engine, EngineState
from schuss.errors import SettingError
from schuss.losses import loss_named
from schuss.network import Network

ENGINES = ("reference", "native")
NETWORK = Network(inputs=5, hidden=(19, 7), outputs=2, activation="tanh", categories=(40, 3), dropout=0.2)
ROWS, COST = some_rows(NETWORK, 60, seed=3), Cost(loss_named("squared_error"))
STEPS, BATCH = 12, 16  # three epochs of four batches, the last one short
ORDER = np.concatenate([np.random.default_rng(epoch).permutation(60) for epoch in range(3)])


def started(name: str, rule: Optimizer, threads: int | None = None) -> Engine:
    engine = make_engine(NETWORK, COST, rule, name, seed=5, threads=threads)
    state = EngineState.start(NETWORK.initial(seed=1), rule)
    engine.load(replace(state, average=state.W))
    return engine


def average_of(state: EngineState) -> Vector:
    assert state.average is not None
    return state.average


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("averaging", ["ema", "swa"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_average_is_that_of_each_W_and_training_does_not_feel_it(optimizer: str, averaging: str, name: str) -> None:
    rule = OPTIMIZERS[optimizer](clip_norm=5.0 if optimizer == "nesterov" else None)
    rates, averages = np.full(STEPS, 0.02), averaging_named(averaging).rates(0, STEPS, STEPS)
    engine, plain = started(name, rule), started(name, rule)
    losses = engine.train(ROWS, ORDER, BATCH, rates, 3, averages)
    plain.load(EngineState.start(NETWORK.initial(seed=1), rule))
    expected, seen = NETWORK.initial(seed=1).astype(np.float64), []
    for step in range(STEPS):
        start = step // 4 * 60 + step % 4 * BATCH
        order = ORDER[start : min(start + BATCH, (step // 4 + 1) * 60)]
        seen.append(plain.train(ROWS, order, BATCH, rates[:1]))
        expected += averages[step] * (plain.state().W - expected)
    np.testing.assert_array_equal(losses, np.concatenate(seen))
    np.testing.assert_array_equal(engine.state().W, plain.state().W)
    np.testing.assert_array_equal(engine.state().vectors, plain.state().vectors)
    assert np.abs(engine.state().W - expected).max() > 1e-3
    np.testing.assert_allclose(average_of(engine.state()), expected, rtol=0, atol=1e-6)
    assert plain.state().average is None


@pytest.mark.parametrize("name", ENGINES)
def test_the_average_is_the_same_bits_for_any_threads_calls_and_stops(name: str) -> None:
    rule = OPTIMIZERS["gradient_descent"]()  # which else visits only the levels that occur
    rates, averages = np.linspace(0.05, 0.01, STEPS), averaging_named("ema").rates(0, STEPS, STEPS)
    whole = started(name, rule, threads=4)
    whole.train(ROWS, ORDER, BATCH, rates, 3, averages)
    state = started(name, rule).state()
    for epoch in range(3):  # each in an engine of its own
        engine, steps = started(name, rule, threads=1), slice(4 * epoch, 4 * epoch + 4)
        engine.load(state)
        engine.train(ROWS, ORDER[60 * epoch : 60 * epoch + 60], BATCH, rates[steps], 1, averages[steps])
        state = engine.state()
    np.testing.assert_array_equal(average_of(whole.state()), average_of(state))
    np.testing.assert_array_equal(whole.state().W, state.W)


@pytest.mark.parametrize("name", ENGINES)
def test_what_is_watched_is_the_average(name: str) -> None:
    rule = OPTIMIZERS["adam"]()
    rates, averages = np.full(STEPS, 0.02), averaging_named("ema").rates(0, STEPS, STEPS)
    watching, training, watched = started(name, rule), started(name, rule), some_rows(NETWORK, 30, seed=4)
    seen = watching.train_watched(ROWS, ORDER, BATCH, rates, watched, 3, averages)
    for epoch in range(3):
        steps = slice(4 * epoch, 4 * epoch + 4)
        training.train(ROWS, ORDER[60 * epoch : 60 * epoch + 60], BATCH, rates[steps], 1, averages[steps])
        kept = training.state().kept
        np.testing.assert_array_equal(seen.path[epoch], kept)
        np.testing.assert_array_equal(seen.outputs[epoch], training.outputs(kept, watched))
    assert np.abs(kept - training.state().W).max() > 1e-3


@pytest.mark.parametrize("name", ENGINES)
def test_a_rate_of_1_makes_the_average_W_itself(name: str) -> None:
    engine = started(name, OPTIMIZERS["adam"]())
    engine.train(ROWS, ORDER[:16], BATCH, np.array([0.02]), 1, np.ones(1))
    np.testing.assert_array_equal(average_of(engine.state()), engine.state().W)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("averages", [True, False])
def test_rates_without_an_average_and_an_average_without_rates_are_refused(name: str, averages: bool) -> None:
    engine = started(name, OPTIMIZERS["adam"]())
    if not averages:
        engine.load(EngineState.start(NETWORK.initial(seed=1), OPTIMIZERS["adam"]()))
    with pytest.raises(SettingError, match="average"):
        engine.train(ROWS, ORDER[:16], BATCH, np.array([0.02]), 1, None if averages else np.ones(1))
