"""What the native engine does, and what it still promises, with precision="bf16".

Tolerance: with the same numbers rounded to bf16, float32 and float64 agree to about 2e-7 of the gradient's norm, and to
1e-4 where a few of those numbers fall to different sides of a rounding, which puts each off by 4e-3. How far that is
from the exact gradient lies in the nature of bf16: 2e-3 to 8e-3 of its norm in most of these networks, 2e-2 where it is
a small difference of large terms.
"""

from typing import Any

import numpy as np
import pytest
from engine_rows import loss_for, outputs_for, some_rows

from schuss import _core
from schuss.arrays import Matrix, Rows, Vector
from schuss.descent.optimizers import Adam, GradientDescent, Optimizer
from schuss.engine import make_engine
from schuss.engine.native import NativeEngine
from schuss.engine.precision import engine_by_trial
from schuss.engine.protocol import Cost, EngineState
from schuss.errors import EngineError
from schuss.losses import LOSSES, loss_named
from schuss.network import Network
from schuss.network.activations import ACTIVATIONS

NEAR = 5e-4
WEIGHTS = (1.0, 2.0, 3.0)
here = pytest.mark.skipif(not _core.has_bf16(), reason="this processor has no instructions for bf16")


def engine_for(
    network: Network, loss: str = "squared_error", optimizer: Optimizer | None = None, **options: Any
) -> NativeEngine:
    options = {"precision": "bf16"} | options
    return NativeEngine(network, Cost(loss_for(loss, network.outputs)), optimizer or GradientDescent(), **options)


def some_W(network: Network) -> Vector:
    """A starting W with biases that are not 0."""
    W = network.initial(seed=1)
    W[~network.is_weight] = np.random.default_rng(2).normal(size=int((~network.is_weight).sum())) * 0.1
    return W


def trained(engine: NativeEngine, network: Network, rows: Rows, optimizer: Optimizer, steps: int = 20) -> Vector:
    """W after some steps, the last of them with fewer rows than the others."""
    order = np.random.default_rng(5).integers(0, len(rows), steps * 37 - 10)
    engine.load(EngineState.start(some_W(network), optimizer))
    engine.train(rows, order, 37, np.full(steps, 0.01))
    return engine.state().W


def off(found: Vector, expected: Vector) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def rounded(values: Matrix) -> Matrix:
    """To bf16, the upper half of a float32: to nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def rounded_gradient(network: Network, loss: str, W: Vector, rows: Rows) -> Vector:
    """The gradient in float64, but for what hidden layers multiply: that is rounded first.

    A code is looked up and not multiplied, so that its weights stay as they are.
    """
    assert rows.weights is not None
    W, gradient, passed = W.astype(np.float64), np.zeros(len(W)), []
    x = network.input_matrix(rows.features.astype(np.float64), rows.codes)
    *hidden, output = network.dense
    for layer in hidden:
        multiplied = network.inputs if layer is network.dense[0] else layer.inputs
        weights = layer.weights(W).copy()
        weights[:multiplied] = rounded(weights[:multiplied])
        z = rounded(x) @ weights + layer.biases(W)
        passed.append((layer, multiplied, x, weights, z))
        x = ACTIVATIONS[layer.activation].value(z)
    d = (
        loss_for(loss, network.outputs).derivative(x @ output.weights(W) + output.biases(W), rows.targets)
        * rows.weights[:, np.newaxis]
    )
    output.weights(gradient)[...] = x.T @ d
    output.biases(gradient)[...] = d.sum(axis=0)
    d = d @ output.weights(W).T
    for layer, multiplied, x, weights, z in reversed(passed):
        d = d * ACTIVATIONS[layer.activation].derivative(z)
        layer.weights(gradient)[...] = x.T @ d
        layer.weights(gradient)[:multiplied] = rounded(x[:, :multiplied]).T @ rounded(d)
        layer.biases(gradient)[...] = rounded(d).sum(axis=0)
        d = rounded(d) @ weights.T
    return gradient


@here
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_those_of_rounded_numbers(activation: str, loss: str) -> None:
    network = Network(7, (19, 33), outputs_for(loss, 1 if loss == "log_loss" else 4), activation, categories=(4, 3))
    rows, W = some_rows(network, 200, loss, weights=WEIGHTS), some_W(network)
    total, gradient = engine_for(network, loss).gradient(W, rows)
    assert off(gradient, rounded_gradient(network, loss, W, rows)) < NEAR
    if loss not in ("squared_error", "log_loss", "cross_entropy"):
        return  # the slopes of others have steps, or follow exponentials of the outputs
    cost = Cost(loss_for(loss, network.outputs))
    exact_total, exact = make_engine(network, cost, Adam(), "reference").gradient(W, rows)
    assert off(gradient, exact) < (0.025 if activation in ("relu", "leaky_relu", "selu") else 0.01)
    assert abs(total - exact_total) < 2e-3 * exact_total


@here
@pytest.mark.parametrize("count", [1, 7, 77])
@pytest.mark.parametrize(
    ("network", "loss"),
    [
        (Network(1, (1,), 1, "tanh"), "squared_error"),
        (Network(9, (1, 1), 1, "softplus"), "log_loss"),
        (Network(37, (37, 37), 3, "selu"), "squared_error"),
        (Network(5, (40,), 1000, "tanh"), "cross_entropy"),
        (Network(0, (7, 33), 2, "gelu", categories=(3, 4)), "squared_error"),
        (Network(8, (64,), 1, "sigmoid", categories=(2,)), "log_loss"),
        (Network(33, (16, 65, 3), 5, "mish"), "cross_entropy"),
        (Network(3, (), 2, categories=(3,)), "squared_error"),
    ],
    ids=str,
)
def test_gradients_of_odd_shapes_are_those_of_rounded_numbers(network: Network, loss: str, count: int) -> None:
    rows, W = some_rows(network, count, loss, weights=WEIGHTS), some_W(network)
    gradient = engine_for(network, loss).gradient(W, rows)[1]
    assert off(gradient, rounded_gradient(network, loss, W, rows)) < NEAR


@here
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_training_goes_the_way_of_float32(dropout: float) -> None:
    network = Network(20, (64, 64), 1, "relu", dropout=dropout)
    rows = some_rows(network, 2000, weights=WEIGHTS)
    rows.targets[:, 0] = np.sin(rows.features[:, 0]) + rows.features[:, 1]
    order = np.concatenate([np.random.default_rng(seed).permutation(2000) for seed in range(5)])
    losses = []
    for precision in ("float32", "bf16"):
        engine = engine_for(network, optimizer=Adam(), precision=precision, seed=3)
        engine.load(EngineState.start(network.initial(0), Adam()))
        losses.append(engine.train(rows, order, 100, np.full(100, 0.003)))
    exact, found = np.array(losses)
    assert exact[-20:].mean() < 0.3 * exact[:5].mean()
    np.testing.assert_allclose(found[-20:].mean(), exact[-20:].mean(), rtol=0.03)


@here
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_any_number_of_threads_gives_the_same_bits(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_THREADS", "7")
    network, rule = Network(9, (65, 33), 2, "silu", categories=(5,), dropout=dropout), Adam(weight_decay=0.01)
    rows = some_rows(network, 501, weights=WEIGHTS)
    alone = trained(engine_for(network, optimizer=rule, threads=1, settle=False), network, rows, rule)
    for threads in (2, 3, 4, 7):
        together = trained(engine_for(network, optimizer=rule, threads=threads, settle=False), network, rows, rule)
        np.testing.assert_array_equal(alone, together)


@here
@pytest.mark.parametrize("inputs", [3, 8, 9, 40])
def test_a_row_does_not_depend_on_the_others_by_a_bit(inputs: int) -> None:
    network = Network(inputs, (17, 40, 1, 33), 3, "tanh", categories=(4,))
    rows, W, engine = some_rows(network, 130, weights=WEIGHTS), some_W(network), engine_for(network)
    together = engine.outputs(W, rows)
    for size in (1, 7, 64):
        np.testing.assert_array_equal(together, np.concatenate([engine.outputs(W, b) for b in rows.batches(size)]))
    reverse = rows.take(np.arange(130)[::-1])
    np.testing.assert_array_equal(together, engine.outputs(W, reverse)[::-1])


@here
def test_looking_at_another_W_does_not_disturb_training() -> None:
    network = Network(9, (33, 20), 1, "tanh")
    rows, engine = some_rows(network, 100, weights=WEIGHTS), engine_for(network, optimizer=Adam())
    expected = trained(engine, network, rows, Adam(), steps=2)
    order = np.random.default_rng(5).integers(0, 100, 64)
    engine.load(EngineState.start(some_W(network), Adam()))
    engine.train(rows, order[:37], 37, np.full(1, 0.01))
    engine.outputs(np.zeros(network.parameters, np.float32), rows)
    engine.gradient(network.initial(7), rows)
    engine.train(rows, order[37:], 37, np.full(1, 0.01))
    np.testing.assert_array_equal(engine.state().W, expected)


@here
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_NaN_passes_and_stays_in_its_row(activation: str) -> None:
    network = Network(6, (7, 17), 3, activation)
    rows, W, engine = some_rows(network, 40, weights=WEIGHTS), some_W(network), engine_for(network)
    clean = engine.outputs(W, rows)
    rows.features[11, 2] = np.nan
    spoilt = Rows(rows.features, rows.codes, rows.targets)
    outputs = engine.outputs(W, spoilt)
    assert np.isnan(outputs[11]).all()
    np.testing.assert_array_equal(np.delete(outputs, 11, axis=0), np.delete(clean, 11, axis=0))
    total, gradient = engine.gradient(W, spoilt)
    assert np.isnan(total)
    assert np.isnan(network.weights(gradient, "hidden1")).all()
    assert np.isnan(network.biases(gradient, "hidden1")).all()


@here
def test_W_keeps_every_bit_of_float32() -> None:
    network = Network(5, (33,), 2)
    engine, W = engine_for(network), some_W(network)
    engine.load(EngineState.start(W, GradientDescent()))
    engine.gradient(W, some_rows(network, 10, weights=WEIGHTS))
    np.testing.assert_array_equal(engine.state().W, W)


@here
def test_bf16_is_a_build_of_its_own_that_nobody_gets_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(inputs=1)
    assert "bf16" not in _core.available_isas()
    assert engine_for(network, precision="float32").isa == "v4"
    for name in ("", "v4"):
        monkeypatch.setenv("SCHUSS_ISA", name)
        assert engine_for(network).isa == "bf16"
    monkeypatch.setenv("SCHUSS_ISA", "bf16")
    with pytest.raises(EngineError, match="SCHUSS_ISA is bf16"):
        engine_for(network, precision="float32")


@here
@pytest.mark.parametrize("name", ["v3", "baseline"])
def test_bf16_is_refused_where_the_environment_asks_for_less(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_ISA", name)
    with pytest.raises(EngineError, match=f"SCHUSS_ISA is {name}: bf16 needs v4"):
        engine_for(Network(inputs=1))


@pytest.mark.skipif(_core.has_bf16(), reason="this processor has instructions for bf16")
def test_bf16_is_refused_where_the_processor_has_none() -> None:
    with pytest.raises(EngineError, match="AVX512_BF16"):
        engine_for(Network(inputs=1))


def test_a_precision_that_the_core_does_not_have_is_refused() -> None:
    with pytest.raises(EngineError, match="no precision fp8"):
        engine_for(Network(inputs=1), precision="fp8")


@here
def test_the_trial_takes_bf16_for_a_network_that_it_fits() -> None:
    network, cost = Network(20, (64, 64), 3, "tanh"), Cost(loss_named("cross_entropy"))
    rows = some_rows(network, 1000, "cross_entropy", weights=WEIGHTS)
    state, order = EngineState.start(network.initial(0), Adam()), np.arange(1000)
    engine, words = engine_by_trial(
        lambda precision: make_engine(network, cost, Adam(), "native", precision=precision),
        state, rows, order, 100, 0.003,
    )  # fmt: skip
    assert isinstance(engine, NativeEngine)
    assert engine.isa == "bf16"
    assert words.startswith("bf16 (gradients of the first 8 steps")
