"""What only the native engine promises: every bit of it, for every instruction set that this processor runs."""

import gc
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from engine_rows import at_once, loss_for, outputs_for, some_rows
from hypothesis import given, settings, strategies as st
from scipy.special import erf, expit

from schuss import _core
from schuss.arrays import Rows, Vector
from schuss.descent.optimizers import OPTIMIZERS, Adam, GradientDescent, Optimizer
from schuss.engine import make_engine
from schuss.engine.native import NativeEngine
from schuss.engine.protocol import Cost, Engine, EngineState
from schuss.errors import DataError, EngineError, SettingError
from schuss.losses import LOSSES, loss_named
from schuss.network import Network
from schuss.network.activations import ACTIVATIONS

ISAS = _core.available_isas()


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every native engine of the test uses this instruction set."""
    name = str(request.param)
    monkeypatch.setenv("SCHUSS_ISA", name)
    return name


def native(network: Network, loss: str = "squared_error", optimizer: Optimizer | None = None) -> NativeEngine:
    return NativeEngine(network, Cost(loss_for(loss, network.outputs)), optimizer or GradientDescent())


def trained(engine: Engine, network: Network, rows: Rows, optimizer: Optimizer, steps: int = 20) -> Vector:
    generator = np.random.default_rng(5)
    order = np.concatenate([generator.permutation(len(rows)) for _ in range(steps)])
    engine.load(EngineState.start(network.initial(seed=4), optimizer))
    engine.train(rows, order, 32, np.full(steps, 0.01))
    return engine.state().W


def test_the_engine_uses_the_instruction_set_that_the_environment_names(isa: str) -> None:
    assert native(Network(inputs=1)).isa == isa == _core.isa()


def test_an_instruction_set_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_ISA", "v9")
    with pytest.raises(EngineError, match=r"v9.*baseline"):
        native(Network(inputs=1))


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=15, deadline=None)
@given(
    inputs=st.integers(1, 40),
    hidden=st.lists(st.sampled_from([1, 2, 7, 15, 16, 17, 33]), max_size=3),
    outputs=st.sampled_from([1, 2, 5, 17, 33]),
    activation=st.sampled_from(list(ACTIVATIONS)),
    categories=st.lists(st.integers(1, 5), max_size=2),
    count=st.integers(1, 128),
    name=st.sampled_from(ISAS),
)
def test_a_row_does_not_depend_on_the_others_by_a_bit(
    loss: str,
    inputs: int,
    hidden: list[int],
    outputs: int,
    activation: str,
    categories: list[int],
    count: int,
    name: str,
) -> None:
    network = Network(inputs, tuple(hidden), outputs_for(loss, outputs), activation, tuple(categories))
    rows, W = some_rows(network, count, loss), network.initial(seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHUSS_ISA", name)
        engine = native(network, loss)
    together = engine.outputs(W, rows)
    alone = [rows.slice(i, i + 1) for i in range(count)]
    np.testing.assert_array_equal(together, np.concatenate([engine.outputs(W, row) for row in alone]))
    # float64 sums: so near to each other only if every row's float32 loss is the same
    total = sum(engine.total_loss(W, row) for row in alone)
    assert abs(engine.total_loss(W, rows) - total) <= 1e-13 * abs(total)
    reverse = rows.take(np.arange(count)[::-1])
    np.testing.assert_array_equal(together, engine.outputs(W, reverse)[::-1])


def test_a_row_of_many_tiles_is_the_row_alone(isa: str) -> None:
    network = Network(13, (33,), 2, "gelu")
    rows, W, engine = some_rows(network, 1000), network.initial(seed=1), native(network)
    together = engine.outputs(W, rows)
    for size in (1, 3, 127, 129, 500):
        np.testing.assert_array_equal(together, np.concatenate([engine.outputs(W, b) for b in rows.batches(size)]))


def outputs_at(activation: str, z: Vector) -> Vector:
    """activation(z): one unit that hands its z through."""
    network = Network(1, (1,), 1, activation)
    rows = Rows(z[:, np.newaxis], np.zeros((len(z), 0), np.int32), np.zeros((len(z), 1), np.float32))
    return native(network).outputs(np.array([1, 0, 1, 0], np.float32), rows)[:, 0]


def derivative_at(activation: str, z: Vector) -> Vector:
    """activation'(z): the gradient of the hidden bias, over the slope of the loss at the target 0."""
    network, slopes = Network(1, (1,), 1, activation), []
    engine, W = native(network), np.array([1, 0, 1, 0], np.float32)
    for value in z:
        row = Rows(np.full((1, 1), value), np.zeros((1, 0), np.int32), np.zeros((1, 1), np.float32))
        _, gradient = engine.gradient(W, row)
        slopes.append(gradient[1] / gradient[3] if gradient[3] else np.nan)
    return np.array(slopes)


# z from tiny to where everything is flat. Left of -10, gelu is below 1e-22 and no longer relatively accurate.
POINTS = np.concatenate([s * np.geomspace(1e-6, 80, 301) for s in (-1, 1)]).astype(np.float32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_accurate_to_a_few_units_in_the_last_place(activation: str, isa: str) -> None:
    function, z = ACTIVATIONS[activation], POINTS.astype(np.float64)
    tiny = 1e-7 if activation == "gelu" else 1e-37
    np.testing.assert_allclose(outputs_at(activation, POINTS), function.value(z), rtol=4e-7, atol=tiny)
    slopes = derivative_at(activation, POINTS)
    there = np.isfinite(slopes)
    assert there.sum() > 250
    np.testing.assert_allclose(slopes[there], function.derivative(z)[there], rtol=1e-6, atol=3e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_do_not_overflow(activation: str, isa: str) -> None:
    function, z = ACTIVATIONS[activation], np.array([-1e30, -1e10, -300, 300, 1e10, 1e30], np.float32)
    found = outputs_at(activation, z)
    np.testing.assert_allclose(found, function.value(z.astype(np.float64)), rtol=4e-7, atol=1e-30)
    network, W = Network(1, (1,), 1, activation), np.array([0, 0, 1, 0], np.float32)
    engine = native(network, "absolute_error")
    for each, value in zip(z, found, strict=True):
        W[1] = each  # the bias, whose gradient is the slope: the output is greater than the target
        row = Rows(np.zeros((1, 1), np.float32), np.zeros((1, 0), np.int32), np.full((1, 1), value - np.abs(value) - 1))
        slope = function.derivative(each.astype(np.float64)[np.newaxis])[0]
        np.testing.assert_allclose(engine.gradient(W, row)[1][1], slope, rtol=1e-6, atol=1e-30)


def test_gelu_is_the_exact_form(isa: str) -> None:
    z = np.linspace(-5, 5, 1001, dtype=np.float32)
    exact = 0.5 * z.astype(np.float64) * (1 + erf(z.astype(np.float64) / np.sqrt(2)))
    np.testing.assert_allclose(outputs_at("gelu", z), exact, rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize("loss", ["log_loss", "cross_entropy"])
def test_losses_do_not_overflow_and_keep_small_values(loss: str, isa: str) -> None:
    network = Network(1, (), 1 if loss == "log_loss" else 2)
    W = np.array([1, 0] if loss == "log_loss" else [0, 1, 0, 0], np.float32)
    engine = native(network, loss)
    for value in (-300.0, -87.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 60.0, 300.0):
        for target in (0, 1):
            row = Rows(np.full((1, 1), value, np.float32), np.zeros((1, 0), np.int32), np.full((1, 1), float(target)))
            total, gradient = engine.gradient(W, row)
            wrong = -value if target else value  # how far the output is on the wrong side
            np.testing.assert_allclose(total, np.logaddexp(0, wrong), rtol=4e-7, atol=1e-37)
            slope = gradient[-1]  # of the bias of class 1
            np.testing.assert_allclose(slope, expit(value) - target, rtol=4e-7, atol=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_NaN_passes_through_every_activation_and_stays_in_its_row(activation: str, isa: str) -> None:
    network = Network(6, (7, 17), 3, activation)
    rows, W, engine = some_rows(network, 40), network.initial(seed=1), native(network)
    clean = engine.outputs(W, rows)
    rows.features[11, 2] = np.nan
    spoilt = Rows(rows.features, rows.codes, rows.targets)
    outputs = engine.outputs(W, spoilt)
    assert np.isnan(outputs[11]).all()
    np.testing.assert_array_equal(np.delete(outputs, 11, axis=0), np.delete(clean, 11, axis=0))
    total, gradient = engine.gradient(W, spoilt)
    assert np.isnan(total)
    assert np.isnan(network.weights(gradient, "output")).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_NaN_in_W_comes_out_as_NaN_in_loss_and_W(activation: str, loss: str) -> None:
    network = Network(4, (5,), 1 if loss == "log_loss" else 2, activation)
    W = network.initial(seed=0)
    network.biases(W, "hidden1")[:] = np.nan
    engine, rows = native(network, loss), some_rows(network, 9, loss)
    engine.load(EngineState.start(W, GradientDescent()))
    losses = engine.train(rows, np.arange(9), 9, np.array([0.1]))
    assert np.isnan(losses).all()
    assert np.isnan(network.weights(engine.state().W, "output")).all()


@pytest.mark.parametrize(
    ("network", "loss"),
    [
        (Network(0, (7,), 1, "tanh", categories=(3, 1, 9)), "squared_error"),
        (Network(0, (), 2, categories=(5,)), "cross_entropy"),
        (Network(3, (), 1), "log_loss"),
        (Network(3, (), 1), "cross_entropy"),
        (Network(1, (1,), 1, "sigmoid"), "squared_error"),
        (Network(7, (7, 7), 7, "mish"), "cross_entropy"),
        (Network(16, (16, 16), 16, "relu"), "squared_error"),
        (Network(33, (33, 1, 33), 33, "selu"), "cross_entropy"),
        (Network(2, (5,), 300, "softplus"), "cross_entropy"),
        (Network(257, (3,), 4, "silu"), "log_loss"),
    ],
    ids=str,
)
def test_odd_shapes_agree_with_the_reference(network: Network, loss: str, isa: str) -> None:
    rows, W = some_rows(network, 139, loss), network.initial(seed=3)
    cost, rule = Cost(loss_named(loss), l2=0.01), Adam(weight_decay=0.01)
    engine, reference = NativeEngine(network, cost, rule), make_engine(network, cost, rule, "reference")
    expected_total, expected = reference.gradient(W, rows)
    total, gradient = engine.gradient(W, rows)
    np.testing.assert_allclose(total, expected_total, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(engine.outputs(W, rows), reference.outputs(W, rows), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        trained(engine, network, rows, rule), trained(reference, network, rows, rule), rtol=0, atol=5e-5
    )


def test_no_rows_give_no_outputs_and_no_loss(isa: str) -> None:
    network = Network(3, (4,), 2)
    nothing, engine = some_rows(network, 5).slice(0, 0), native(network)
    assert engine.outputs(network.initial(), nothing).shape == (0, 2)
    assert engine.total_loss(network.initial(), nothing) == 0
    engine.gradient(network.initial(), some_rows(network, 5))
    np.testing.assert_array_equal(engine.gradient(network.initial(), nothing)[1], 0)  # not that of the rows before
    assert len(engine.train(nothing, np.arange(0), 8, np.empty(0))) == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_input_gives_the_same_bits(optimizer: str, isa: str) -> None:
    network, rule = Network(5, (17, 3), 1, "silu", (4,)), OPTIMIZERS[optimizer]()
    rows = some_rows(network, 300)
    first, second = (trained(native(network, optimizer=rule), network, rows, rule) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_instruction_sets_agree_within_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(20, (64, 33), 5, "gelu", (7,))
    rows, W = some_rows(network, 500, "cross_entropy"), network.initial(seed=1)
    found = []
    for name in ISAS:
        monkeypatch.setenv("SCHUSS_ISA", name)
        engine = native(network, "cross_entropy", Adam())
        found.append((engine.gradient(W, rows)[1], trained(engine, network, rows, Adam())))
    for gradient, reached in found:
        np.testing.assert_allclose(gradient, found[0][0], rtol=0, atol=1e-5 * np.abs(found[0][0]).max())
        np.testing.assert_allclose(reached, found[0][1], rtol=0, atol=5e-5)


def test_float64_rows_are_trained_as_float32_and_converted_once() -> None:
    network = Network(5, (8,), 1)
    rows = some_rows(network, 64)
    wide = Rows(rows.features.astype(np.float64), rows.codes, rows.targets.astype(np.float64), np.ones(64))
    engine = native(network)
    np.testing.assert_array_equal(
        trained(engine, network, wide, GradientDescent()), trained(engine, network, rows, GradientDescent())
    )
    assert engine._checked_inputs(wide)[0] is engine._checked_inputs(wide)[0]
    assert engine._checked_inputs(rows)[0] is rows.features  # nothing was copied
    del wide
    gc.collect()
    assert len(engine._inputs) == 1  # converted rows do not outlive their Rows


def test_arrays_that_are_not_contiguous_are_read_right() -> None:
    network = Network(4, (8,), 1)
    rows = some_rows(network, 50)
    odd = Rows(np.asfortranarray(rows.features), rows.codes, np.repeat(rows.targets, 2, axis=1)[:, ::2])
    engine, W = native(network), network.initial(seed=0)
    np.testing.assert_array_equal(engine.gradient(W, rows)[1], engine.gradient(W, odd)[1])
    np.testing.assert_array_equal(engine.outputs(np.repeat(W, 2)[::2], odd), engine.outputs(W, rows))


def test_rows_that_do_not_fit_the_network_are_refused() -> None:
    network = Network(4, (3,), 2, categories=(3,))
    engine, W, rows = native(network), network.initial(), some_rows(network, 6)
    with pytest.raises(DataError, match="this network takes"):
        engine.outputs(W, replace(rows, features=rows.features[:, :3]))
    with pytest.raises(DataError, match="this network takes"):
        engine.outputs(W, replace(rows, codes=np.zeros((6, 0), np.int32)))
    with pytest.raises(DataError, match="this network takes"):
        engine.outputs(W, replace(rows, features=rows.features[:5]))
    with pytest.raises(DataError, match="targets have shape"):
        engine.total_loss(W, replace(rows, targets=rows.targets[:, :1]))
    with pytest.raises(DataError, match="must be as many"):
        engine.total_loss(W, replace(rows, weights=np.ones(5)))
    with pytest.raises(SettingError, match="W has shape"):
        engine.gradient(W[:-1], rows)


def test_codes_and_class_numbers_out_of_range_are_refused() -> None:
    network = Network(4, (3,), 2, categories=(3, 2))
    engine, W, rows = native(network, "cross_entropy"), network.initial(), some_rows(network, 6, "cross_entropy")
    for code in (-2, 2):
        codes = rows.codes.copy()
        codes[4, 1] = code
        with pytest.raises(DataError, match="categorical column 1"):
            engine.outputs(W, replace(rows, codes=codes))
    for target in (-1, 2, 0.5, np.nan):
        targets = rows.targets.copy()
        targets[3] = target
        with pytest.raises(DataError, match="row 3"):
            engine.gradient(W, replace(rows, targets=targets))


def test_impossible_chunks_are_refused() -> None:
    network = Network(4, (3,), 1)
    engine, rows, rate = native(network), some_rows(network, 6), np.array([0.1])
    for wrong in (-1, 6):
        with pytest.raises(DataError, match="rows 0 to 5"):
            engine.train(rows, np.array([0, wrong]), 2, rate)
    with pytest.raises(SettingError, match="batch_size"):
        engine.train(rows, np.arange(6), 0, rate)
    with pytest.raises(SettingError, match="need more"):
        engine.train(rows, np.arange(6), 3, np.full(3, 0.1))
    with pytest.raises(SettingError, match="no 4 epochs"):
        engine.train(rows, np.arange(6), 3, np.full(4, 0.1), 4)
    with pytest.raises(SettingError, match="leave some out"):
        engine.train(rows, np.arange(6), 2, np.full(2, 0.1), 2)
    with pytest.raises(SettingError, match="no step"):
        engine.train_watched(rows, np.arange(0), 2, np.empty(0), rows)
    with pytest.raises(SettingError, match="vectors have shape"):
        engine.load(EngineState(network.initial(), np.zeros((1, network.parameters))))


def test_the_interpreter_runs_on_while_the_core_trains() -> None:
    network = Network(20, (128, 128), 1)
    rows, engine = some_rows(network, 20_000), native(network)
    engine.load(EngineState.start(network.initial(), GradientDescent()))
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.001):
            ticks.append(time.perf_counter())

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        engine.gradient(network.initial(), rows)
        began = time.perf_counter()
        engine.train(rows, np.tile(np.arange(20_000), 4), 80_000, np.array([0.001]))
        ended = time.perf_counter()
    finally:
        done.set()
        ticker.join()
    assert sum(began < moment < ended for moment in ticks) >= 5


def test_engines_in_threads_give_the_bits_they_give_alone() -> None:
    network, rule = Network(9, (33, 17), 1, "tanh", (5,)), Adam()
    tables = [some_rows(network, 400, seed=seed) for seed in range(4)]
    alone = [trained(native(network, optimizer=rule), network, rows, rule, 100) for rows in tables]
    together: list[Vector | None] = [None] * 4

    def work(number: int) -> None:
        together[number] = trained(native(network, optimizer=rule), network, tables[number], rule, 100)

    at_once(4, work)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_engine_called_from_two_threads_takes_turns() -> None:
    network = Network(9, (33,), 1)
    rows, engine, W = some_rows(network, 3000), native(network), network.initial()
    expected = engine.gradient(W, rows)[1]
    found: list[Vector] = []

    def work(number: int) -> None:
        found.extend(engine.gradient(W, rows)[1] for _ in range(20))

    at_once(2, work)
    assert len(found) == 40
    for gradient in found:
        np.testing.assert_array_equal(gradient, expected)


def test_the_core_refuses_names_and_constants_that_it_does_not_know() -> None:
    good = {
        "layers": [("dense", 2, 1, 0, "identity", 0.0)],
        "parameters": 3,
        "features": 2,
        "levels": [],
        "widths": [],
        "knot_counts": [0, 0],
        "knots": [],
        "knot_width": 0,
        "targets": 1,
        "loss": "squared_error",
        "loss_numbers": [],
        "l1": 0.0,
        "l2": 0.0,
        "mean_weight": 1.0,
        "optimizer": "momentum",
        "constants": [("momentum", 0.9)],
        "weight_decay": 0.0,
    }
    _core.Engine(**good)  # type: ignore[arg-type]
    bad: list[tuple[str, object, str]] = [
        ("layers", [("dense", 2, 1, 0, "swish", 0.0)], "swish"),
        ("layers", [("dense", 2, 1, 0, "relu", 0.0)], "relu"),  # the last layer is linear
        ("layers", [("convolution", 2, 1, 0, "identity", 0.0)], "convolution"),
        ("layers", [("dense", 2, 1, 0, "identity", 0.0), ("dropout", 1, 1, 0, "", 0.1)], "dropout"),
        ("layers", [("join", 2, 2, 0, "", 0.0), ("dense", 2, 1, 0, "identity", 0.0)], "join"),
        ("layers", [("fork", 2, 2, 0, "", 0.0), ("dense", 2, 1, 0, "identity", 0.0)], "identity"),
        ("layers", [("layer_norm", 2, 2, 0, "swish", 1e-5), ("dense", 2, 1, 4, "identity", 0.0)], "swish"),
        ("knot_counts", [0], "count of its knots"),
        ("widths", [2], "width"),
        ("loss", "hinge", "hinge"),
        ("loss", "huber", "huber"),  # δ is not there
        ("loss_numbers", [1.0], "squared_error"),
        ("optimizer", "adamax", "adamax"),
        ("constants", [], "momentum"),
        ("constants", [("momentum", 0.9), ("dampening", 0.1)], "momentum"),
    ]
    for argument, value, named in bad:
        with pytest.raises(ValueError, match=named):
            _core.Engine(**(good | {argument: value}))  # type: ignore[arg-type]
