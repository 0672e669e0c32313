"""What every engine must do with every kind of layer: first, last, behind dropout, in residual blocks, of odd widths.

Tolerances are those of test_contract.py. A kind that stands nowhere in the table fails.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from engine_rows import some_rows

from schuss import _core
from schuss.arrays import Rows, Vector
from schuss.descent.optimizers import OPTIMIZERS, Adam, GradientDescent, Optimizer
from schuss.engine.native import NativeEngine
from schuss.engine.protocol import Cost, Engine, EngineState
from schuss.engine.reference import ReferenceEngine
from schuss.losses import loss_named
from schuss.network import Network, specifications
from schuss.network.layers import DropoutLayer, EmbeddingLayer, Layer, NormLayer, ResidualLayer, every_layer

WEIGHTS = (0.0, 0.5, 1.0, 1.5)
PLAIN = Cost(loss_named("squared_error"), mean_weight=0.8)
COST = replace(PLAIN, l2=0.05, l1=0.01)
# Of five features; some have one bin, some none, some are beyond all values.
KNOTS = ((-0.5, 0.25), (), (-1.5, -0.75, 0.0, 0.5, 2.0), tuple(np.linspace(-2, 2, 33).tolist()), (5.0, 6.0))
# f: an activation; words, categories, embedding, knots, numeric embedding
TABLE: dict[str, tuple[Any, ...]] = {
    "norm behind dense": ("dense(7, identity), layer_norm(f), 33, layer_norm", (4, 3), None),
    "norm behind embedding": ("layer_norm(f), 33, layer_norm(f)", (4, 3), 3),
    "norm first": ("layer_norm(f), 7", (), None),
    "norm of one unit": ("1, layer_norm(f), 16", (), None),
    "norm behind dropout": ("16, dropout(0.3), layer_norm(f), dropout(0.2)", (), None),
    "dropout first": ("dropout(0.2), 16, dropout(0.1), dropout(0.4), 33, dropout(0.1)", (4, 30), 20),
    "dropout of features alone": ("dropout(0.5), residual(dropout(0.5)), residual(dropout(0.3), 5), 7", (), None),
    "dropout alone": ("dropout(0.5)", (9,), 1),
    "residual first": ("residual(layer_norm(f), 33, dense(5, identity)), 1, residual(1), 7", (), None),
    "norm last": ("16, layer_norm(f)", (4,), None),
    "residual last": ("33, residual(dropout(0.4), 33, layer_norm(f), dropout(0.2))", (3,), None),
    "residual behind dropout": ("16, dropout(0.3), residual(layer_norm, 7, 16), dropout(0.1)", (3,), 40),
    "residual in residual": (
        "16, residual(dropout(0.1), residual(7, dropout(0.2), dense(16, identity)), 16), 4",
        (),
        8,
    ),
    "embedding, linear": ("none", (3, 50), 40),
    "embedding, dense": ("7, dropout(0.1)", (3, 50), 17),
    "one-hot beside embedding": ("33, 7", (3, 50, 4), (0, 17, 2)),
    "piecewise, dense": ("33, dropout(0.1)", (), None, KNOTS),
    "piecewise, linear": ("none", (), None, KNOTS),
    "piecewise beside one-hot and embedding": ("33, 7", (3, 50, 4), (0, 17, 0), KNOTS),
    "piecewise, embedded": ("7", (), None, KNOTS, 3),
    "piecewise, embedded beside one-hot and embedding": ("33, 7", (3, 50, 4), (0, 17, 0), KNOTS, 20),
    "piecewise, embedded, norm first": ("layer_norm(f), 7", (), None, KNOTS, 2),
    "piecewise, embedded, dropout first": ("dropout(0.3), 7", (9,), 2, KNOTS, 2),
}
ISAS = (*_core.available_isas(), *(["bf16"] if _core.has_bf16() else []))


def network_for(name: str, activation: str = "tanh") -> Network:
    words, categories, *of_inputs = TABLE[name]
    inputs = dict(zip(("embedding", "knots", "numeric_embedding"), of_inputs, strict=False))
    hidden = words.replace("(f)", f"({activation})")
    return Network(5, hidden, 3, activation, categories, **inputs)


def start(network: Network) -> Vector:
    """A starting W of which no number of a bias or of layer norm is 0 or 1."""
    W, free = network.initial(seed=1), ~network.is_weight
    W[free] += (np.random.default_rng(2).normal(size=int(free.sum())) * 0.1).astype(np.float32)
    return W


def trained(engine: Engine, W: Vector, rows: Rows, rule: Optimizer, steps: int = 50) -> tuple[Vector, Vector]:
    """Losses of the steps, the last of them with fewer rows, and the W that is reached."""
    order = np.random.default_rng(3).integers(0, len(rows), steps * 32 - 9)
    engine.load(EngineState.start(W, rule))
    losses = engine.train(rows, order, 32, rule.usual_learning_rate * np.linspace(0.5, 0.1, steps))
    return losses, engine.state().W


def off(found: Vector, expected: Vector) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_every_kind_of_layer_stands_in_every_place() -> None:
    networks = [network_for(name) for name in TABLE]
    chains = [network.layers for network in networks]
    blocks = [each.layers for chain in chains for each in every_layer(chain) if isinstance(each, ResidualLayer)]
    pairs = [pair for chain in (*chains, *blocks) for pair in pairwise(chain)]
    kinds: set[type[Layer]] = {type(each) for chain in chains for each in every_layer(chain)}
    assert len(kinds) == len(specifications.LAYERS) + 1 == len(Layer.__args__)
    assert {type(chain[0]) for chain in chains} == kinds
    assert {type(chain[-2]) for chain in chains if len(chain) > 1} == kinds
    assert {type(b) for a, b in pairs if isinstance(a, DropoutLayer)} == kinds - {EmbeddingLayer}
    assert {type(layer) for block in blocks for layer in block} == kinds - {EmbeddingLayer}


@pytest.mark.parametrize("name", TABLE)
def test_the_gradient_of_a_step_agrees_with_central_differences(name: str) -> None:
    network, rule = network_for(name), GradientDescent()
    rows, W = some_rows(network, 12, weights=WEIGHTS), start(network).astype(np.float64)
    engine = ReferenceEngine(network, COST, rule, seed=11)

    def step(W: Vector, rate: float) -> tuple[float, Vector]:
        """The cost at W with the masks of step 5, and the W that the step reaches."""
        engine.load(EngineState(W, np.zeros((0, len(W))), 5))
        (loss,) = engine.train(rows, np.arange(12), 12, np.array([rate]))
        return float(loss) + COST.penalty(W[network.is_weight]), engine.state().W

    gradient, width, generator = W - step(W, 1.0)[1], 1e-6, np.random.default_rng(4)
    units = np.eye(len(W))[generator.permutation(len(W))[:60]]
    for direction in (*units, *generator.normal(size=(10, len(W)))):
        difference = (step(W + width * direction, 0)[0] - step(W - width * direction, 0)[0]) / (2 * width)
        assert abs(direction @ gradient - difference) < 1e-6 * np.abs(gradient).max() * np.linalg.norm(direction)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "identity", "gelu"])
@pytest.mark.parametrize("name", TABLE)
def test_native_agrees_with_the_reference(
    name: str, activation: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHUSS_ISA", isa.replace("bf16", "v4"))
    network, rule = network_for(name, activation), GradientDescent()
    rows, W = some_rows(network, 333, weights=WEIGHTS), start(network)
    precision = "bf16" if isa == "bf16" else "float32"
    native = NativeEngine(network, COST, rule, seed=2**40 + 1, threads=2, settle=False, precision=precision)
    reference = ReferenceEngine(network, COST, rule, seed=2**40 + 1)
    near = 0.04 if isa == "bf16" else 1e-5
    assert off(native.outputs(W, rows), reference.outputs(W, rows)) < near
    total, gradient = native.gradient(W, rows)
    expected_total, expected_gradient = reference.gradient(W, rows)
    assert abs(total - expected_total) < near * expected_total
    np.testing.assert_allclose(native.total_loss(W, rows), total, rtol=1e-6)
    assert off(gradient, expected_gradient) < near
    (losses, reached), (expected_losses, expected) = (trained(each, W, rows, rule) for each in (native, reference))
    np.testing.assert_allclose(losses, expected_losses, rtol=2 * near)
    assert off(reached, expected) < near


@pytest.mark.parametrize("limits", [{}, {"clip_norm": 0.3}, {"clip_value": 0.02}, {"weight_decay": 0.1}], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_native_training_agrees_with_the_reference(optimizer: str, limits: dict[str, float]) -> None:
    rule = OPTIMIZERS[optimizer](**limits)
    for name in ("norm behind embedding", "residual behind dropout"):
        network = network_for(name, "silu")
        rows, W = some_rows(network, 333, weights=WEIGHTS), start(network)
        for cost in (replace(PLAIN, l1=0.01), COST):
            (losses, reached), (expected_losses, expected) = (
                trained(engine(network, cost, rule, seed=5), W, rows, rule)
                for engine in (NativeEngine, ReferenceEngine)
            )
            np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
            assert np.abs(reached - W).max() > 1e-3
            assert off(reached, expected) < 1e-4


@pytest.mark.parametrize("optimizer", ["adagrad", "gradient_descent", "adam"])
def test_what_goes_straight_into_W_is_what_is_stored_first(optimizer: str) -> None:
    """A norm that limits nothing makes the core store the gradient, and visit all levels, touched or not."""
    network, rule = network_for("embedding, dense"), OPTIMIZERS[optimizer]()
    rows, W = some_rows(network, 40, weights=WEIGHTS), start(network)
    rows.codes[rows.codes[:, 1] > 20, 1] = 3
    stored = replace(rule, clip_norm=1e30)
    losses, reached = trained(NativeEngine(network, PLAIN, rule), W, rows, rule)
    expected_losses, expected = trained(NativeEngine(network, PLAIN, stored), W, rows, stored)
    np.testing.assert_array_equal(losses, expected_losses)
    np.testing.assert_array_equal(reached, expected)
    moved = network.weights(reached, "embedding") != network.weights(W, "embedding")
    moved = moved.reshape(-1, 17).any(axis=1)
    assert moved[3 + 3]
    assert not moved[3 + 21 :].any()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", TABLE)
def test_any_number_of_threads_gives_the_same_bits(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_ISA", isa.replace("bf16", "v4"))
    monkeypatch.setenv("SCHUSS_THREADS", "3")
    network, precision = network_for(name, "relu"), "bf16" if isa == "bf16" else "float32"
    rows, W, rule = some_rows(network, 333, weights=WEIGHTS), start(network), Adam(clip_norm=0.1)
    looks = []
    for threads in (1, 2, 3):
        engine = NativeEngine(network, COST, rule, seed=9, threads=threads, settle=False, precision=precision)
        looks.append((*engine.gradient(W, rows), engine.outputs(W, rows), *trained(engine, W, rows, rule, 5)))
    for look in looks[1:]:
        for one, other in zip(looks[0], look, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("precision", ["float32", *(["bf16"] if _core.has_bf16() else [])])
@pytest.mark.parametrize("name", TABLE)
def test_a_row_does_not_depend_on_the_others_and_keeps_its_NaN(name: str, precision: str) -> None:
    network = network_for(name)
    rows, W = some_rows(network, 130, weights=WEIGHTS), start(network)
    engine = NativeEngine(network, PLAIN, GradientDescent(), precision=precision)
    together = engine.outputs(W, rows)
    for size in (1, 7, 64):
        np.testing.assert_array_equal(together, np.concatenate([engine.outputs(W, b) for b in rows.batches(size)]))
    rows.features[11, 2] = np.nan
    spoilt = engine.outputs(W, Rows(rows.features, rows.codes, rows.targets))
    assert np.isnan(spoilt[11]).all()
    np.testing.assert_array_equal(np.delete(spoilt, 11, axis=0), np.delete(together, 11, axis=0))


@pytest.mark.parametrize("hidden", ["8192, layer_norm(relu), dropout(0.2)", "8192, residual(layer_norm(relu))"])
def test_gradients_of_batches_longer_than_a_segment_agree_with_the_reference(hidden: str) -> None:
    network = Network(3, hidden, 1, categories=(3, 40), embedding=3)
    rows, W = some_rows(network, 1100, weights=WEIGHTS), start(network)  # worked on 1,024 rows at a time
    expected = ReferenceEngine(network, PLAIN, GradientDescent()).gradient(W, rows)[1]
    native = NativeEngine(network, PLAIN, GradientDescent())
    for _ in range(2):  # what is added up starts from 0 the second time too
        assert off(native.gradient(W, rows)[1], expected) < 1e-5


@pytest.mark.parametrize("units", [1, 7, 16, 33])
def test_layer_norm_is_that_of_torch(units: int) -> None:
    network = Network(units, "layer_norm(epsilon=0.003)", 2)
    (norm, _), W, generator = network.layers_in_W, start(network).astype(np.float64), np.random.default_rng(6)
    x, d_output, gradient = generator.normal(3, 2, (9, units)), generator.normal(size=(9, units)), np.zeros(len(W))
    output, backward = norm.forward(W, x)
    d_x = backward(d_output, gradient)
    theirs = torch.nn.LayerNorm(units, eps=0.003, dtype=torch.float64)
    theirs.load_state_dict({"weight": torch.tensor(norm.weights(W)), "bias": torch.tensor(norm.biases(W))})
    their_x = torch.tensor(x, requires_grad=True)
    their_output = theirs(their_x)
    their_output.backward(torch.tensor(d_output))
    for ours, expected in (
        (output, their_output.detach()),
        (d_x, their_x.grad),
        (norm.weights(gradient), theirs.weight.grad),
        (norm.biases(gradient), theirs.bias.grad),
    ):
        np.testing.assert_allclose(ours, np.asarray(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", [NativeEngine, ReferenceEngine])
@pytest.mark.parametrize(("inputs", "hidden"), [(7, "layer_norm"), (1, "layer_norm"), (7, "1, layer_norm(relu)")])
def test_layer_norm_is_defined_for_equal_numbers_and_for_huge_ones(
    inputs: int, hidden: str, engine: type[NativeEngine] | type[ReferenceEngine]
) -> None:
    network = Network(inputs, hidden, 2)
    features = np.random.default_rng(0).normal(size=(8, inputs)).astype(np.float32)
    features[:6] = np.array([[0.1], [0], [1e30], [3e38 if hidden == "layer_norm" else 1e30], [-1e-40], [7]])
    features[6] *= np.float32(1e30)
    rows = Rows(features, np.zeros((8, 0), np.int32), np.ones((8, 2), np.float32))
    trial = engine(network, PLAIN, Adam())
    outputs = trial.outputs(network.initial(0), rows)
    losses, W = trained(trial, network.initial(0), rows, Adam())
    assert np.isfinite(outputs).all()
    assert np.isfinite(losses).all()
    assert np.isfinite(W).all()
    if hidden == "layer_norm":
        np.testing.assert_allclose(outputs[:6], 0, atol=1e-6)  # β of rows whose units are equal


def test_layer_norm_is_free_of_penalties_and_decay() -> None:
    network = Network(5, "layer_norm", 1)
    assert isinstance(network.layers[0], NormLayer)
    rows = replace(some_rows(network, 32, weights=WEIGHTS), weights=np.zeros(32, np.float32))
    rule = GradientDescent(weight_decay=0.5)
    for engine in (NativeEngine, ReferenceEngine):
        _, reached = trained(engine(network, COST, rule), start(network), rows, rule)
        changed = reached != start(network)
        np.testing.assert_array_equal(changed, network.is_weight)
