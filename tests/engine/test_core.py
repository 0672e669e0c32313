"""What lies inside the core, seen from outside: shares of threads, segments of long batches, stored gradients, masks.

A relative error is the norm of a difference over the norm of what is expected. Float32 gradients of these networks come
to 1e-6; one wrong entry of the 20 million in a long batch makes some 1e-4.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from engine_rows import loss_for, outputs_for, some_rows
from numpy.typing import NDArray

from schuss import _core
from schuss.arrays import Matrix, RowIndex, Rows, Vector
from schuss.descent.optimizers import OPTIMIZERS, GradientDescent, Optimizer
from schuss.engine.native import NativeEngine
from schuss.engine.protocol import Cost, EngineState
from schuss.engine.reference import ReferenceEngine
from schuss.losses import LOSSES, loss_named
from schuss.network import Network
from schuss.network.activations import ACTIVATIONS
from schuss.network.masks import Draw

THREADS = (1, 2, 3, 4, 7)
LONG = 2500  # rows of a batch that is more than two segments of WIDE: it is worked on 1,024 rows at a time
WIDE = Network(3, (8192,), 1)
SQUARED_ERROR = Cost(loss_named("squared_error"), mean_weight=0.75)


@pytest.fixture(autouse=True)
def _many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_THREADS", str(max(THREADS)))


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every native engine of the test uses this instruction set."""
    monkeypatch.setenv("SCHUSS_ISA", str(request.param))
    return str(request.param)


class Reached(NamedTuple):
    W: Vector
    vectors: Matrix
    losses: Vector


def start(network: Network) -> Vector:
    """A starting W with biases that are not 0."""
    W = network.initial(seed=1)
    W[~network.is_weight] = np.random.default_rng(2).normal(size=int((~network.is_weight).sum())) * 0.1
    return W


@dataclass(frozen=True)
class Descent:
    """Steps along an order, the last one short where it does not fit, which any engine can take."""

    network: Network
    rows: Rows
    order: RowIndex
    batch: int
    rate: float = 0.01
    rule: Optimizer = field(default_factory=GradientDescent)
    cost: Cost = SQUARED_ERROR
    before: int = 0  # steps taken before these
    seed: int = 0

    def by(self, kind: type[NativeEngine] | type[ReferenceEngine] = NativeEngine, **options: Any) -> Reached:
        engine, W = kind(self.network, self.cost, self.rule, seed=self.seed, **options), start(self.network)
        engine.load(EngineState(W, np.zeros((self.rule.memory, len(W))), self.before))
        losses = engine.train(self.rows, self.order, self.batch, np.full(-(-len(self.order) // self.batch), self.rate))
        return Reached(engine.state().W, engine.state().vectors, losses)


def weighted_rows(network: Network, count: int, loss: str = "squared_error", weighted: bool = True) -> Rows:
    """Rows of which some weights are 0, or rows without weights."""
    return some_rows(network, count, loss, seed=count, weights=(0.0, 0.5, 1.0, 1.5) if weighted else ())


def relative_error(found: Vector, expected: Vector) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def expect_equal(one: Reached, other: Reached) -> None:
    for array, another in zip(one, other, strict=True):
        np.testing.assert_array_equal(array, another)


# ---- threads ---------------------------------------------------------------------------------------------------------


def expect_the_same_bits(network: Network, cost: Cost, rule: Optimizer) -> None:
    """W, the optimiser's vectors and the losses of three steps, for every number of threads and batches of any size."""
    for batch, weighted in ((1, False), (7, True), (32, False), (77, True), (1024, True)):
        rows = weighted_rows(network, 600, cost.loss.name, weighted)
        order = np.random.default_rng(3).permutation(3 * batch)[: 3 * batch - batch // 3] % 600
        descent = Descent(network, rows, order, batch, rule=rule, cost=cost, seed=7)
        alone = descent.by(threads=1)
        assert np.isfinite(alone.W).all()
        assert batch == 1 or not np.array_equal(alone.W, start(network))
        for threads in THREADS[1:]:
            expect_equal(descent.by(threads=threads, settle=False), alone)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_optimizer_gives_other_bits_with_more_threads(optimizer: str) -> None:
    network = Network(9, (19, 37), 2, "tanh", (4, 3))
    expect_the_same_bits(network, SQUARED_ERROR, replace(OPTIMIZERS[optimizer](), weight_decay=0.0))
    penalised = replace(SQUARED_ERROR, l2=0.05)
    expect_the_same_bits(network, penalised, replace(OPTIMIZERS[optimizer](), weight_decay=0.1))


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_gives_other_bits_with_more_threads(loss: str) -> None:
    outputs = outputs_for(loss, 3)
    expect_the_same_bits(Network(17, (16,), outputs), Cost(loss_for(loss, outputs)), OPTIMIZERS["adam"]())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_gives_other_bits_with_more_threads(activation: str) -> None:
    expect_the_same_bits(Network(5, (33, 7), 1, activation), SQUARED_ERROR, OPTIMIZERS["momentum"]())


@pytest.mark.parametrize("limits", [{}, {"clip_value": 0.01}, {"clip_norm": 0.01}], ids=str)
@pytest.mark.parametrize(
    "network",
    [
        Network(3, (), 1),
        Network(40, (), 33, categories=(5,)),
        Network(0, (), 2, categories=(9, 1)),
        Network(0, (21,), 1, "gelu", (9, 50)),
        Network(1, (1,), 1),
        Network(9, (33, 20), 2, "silu", (4,), dropout=0.1),
        Network(9, (100,), 40, dropout=0.5),
    ],
    ids=str,
)
def test_no_layer_gives_other_bits_with_more_threads(network: Network, limits: dict[str, float]) -> None:
    expect_the_same_bits(network, SQUARED_ERROR, replace(OPTIMIZERS["adagrad"](), **limits))


@pytest.mark.parametrize("categories", [(), (3,)])
def test_long_batches_give_the_same_bits_with_more_threads(categories: tuple[int, ...]) -> None:
    network = replace(WIDE, categories=categories, dropout=0.2)
    for rule in (GradientDescent(), GradientDescent(clip_norm=0.01)):
        descent = Descent(network, weighted_rows(network, LONG), np.arange(LONG)[::-1], LONG, rule=rule)
        expect_equal(descent.by(threads=3, settle=False), descent.by(threads=1))


@pytest.mark.parametrize("loss", LOSSES)
def test_looking_at_W_gives_the_same_bits_with_more_threads(loss: str) -> None:
    network = Network(5, (64, 33), 2, "tanh", (4, 3))
    W = start(network)
    for count in (1, 999, 17_000):  # the last are more than one window of units of rows
        rows = weighted_rows(network, count, loss)
        looks = []
        for threads in THREADS:
            engine = NativeEngine(network, Cost(loss_for(loss, 2)), GradientDescent(), threads=threads, settle=False)
            looks.append((*engine.gradient(W, rows), engine.total_loss(W, rows), engine.outputs(W, rows)))
        for look in looks[1:]:
            for one, other in zip(looks[0], look, strict=True):
                np.testing.assert_array_equal(one, other)


def test_settling_gives_the_bits_of_one_thread() -> None:
    network = Network(20, (64, 64), 1)
    order = np.tile(np.arange(1000), 100)
    descent = Descent(network, weighted_rows(network, 1000), order, 100, 0.001, OPTIMIZERS["adam"]())
    alone = descent.by(threads=1)
    for threads in (3, None):
        expect_equal(descent.by(threads=threads), alone)


# ---- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 33])
@pytest.mark.parametrize(
    "network",
    [
        Network(1, (1,), 1, "tanh"),
        Network(1, (37,), 1, "sigmoid"),
        Network(9, (37, 1, 37), 2, "gelu"),
        Network(17, (37,), 1000),
        Network(33, (), 1000),
        Network(33, (17, 9), 3, "softplus", (2, 5)),
    ],
    ids=str,
)
def test_gradients_of_odd_shapes_agree_with_the_reference(network: Network, count: int, isa: str) -> None:
    for loss in LOSSES:
        own = replace(network, outputs=outputs_for(loss, network.outputs))
        W, rows = start(own), weighted_rows(own, count, loss, weighted=count > 1)
        cost, rule = Cost(loss_for(loss, own.outputs)), GradientDescent()
        total, gradient = NativeEngine(own, cost, rule).gradient(W, rows)
        expected_total, expected = ReferenceEngine(own, cost, rule).gradient(W, rows)
        np.testing.assert_allclose(total, expected_total, rtol=1e-6, atol=1e-7)
        if network.outputs > 1 or loss not in ("cross_entropy", "focal"):
            assert relative_error(gradient, expected) < 1e-5
        else:  # of one class
            np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_without_dropout(activation: str, isa: str) -> None:
    plain = Network(5, (37, 50), 2, activation)
    rows, W = weighted_rows(plain, 50), start(plain)
    expected, found = (
        NativeEngine(network, SQUARED_ERROR, GradientDescent()).gradient(W, rows)[1]
        for network in (plain, replace(plain, dropout=0.3))
    )
    assert relative_error(found, expected) < 1e-6


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_engine_that_diverged_is_as_good_as_new_once_a_state_is_loaded(activation: str, optimizer: str) -> None:
    network, rule = Network(5, (7, 3), 2, activation, (4,)), OPTIMIZERS[optimizer]()
    rows, state = weighted_rows(network, 40), EngineState.start(start(network), rule)
    order, rates = np.arange(40), np.full(4, 0.01)
    engine, fresh = (NativeEngine(network, SQUARED_ERROR, rule) for _ in range(2))
    engine.load(state)
    assert np.isnan(engine.train(replace(rows, features=rows.features * np.float32(np.nan)), order, 10, rates)).all()
    engine.load(state)
    fresh.load(state)
    np.testing.assert_array_equal(engine.train(rows, order, 10, rates), fresh.train(rows, order, 10, rates))
    np.testing.assert_array_equal(engine.state().W, fresh.state().W)


@pytest.mark.parametrize("categories", [(), (3, 2)])
def test_gradients_of_long_batches_agree_with_the_reference(categories: tuple[int, ...], isa: str) -> None:
    network = replace(WIDE, categories=categories)
    rows, W = weighted_rows(network, LONG), start(network)
    expected = ReferenceEngine(network, SQUARED_ERROR, GradientDescent()).gradient(W, rows)[1]
    native = NativeEngine(network, SQUARED_ERROR, GradientDescent())
    for _ in range(2):  # what is added up segment by segment starts from 0 the second time too
        assert relative_error(native.gradient(W, rows)[1], expected) < 1e-5


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_with_long_batches_agrees_with_the_reference(dropout: float, isa: str) -> None:
    network = replace(WIDE, categories=(3, 2), dropout=dropout)
    rows = weighted_rows(network, LONG)
    order = np.argsort(rows.codes[:, 0])  # not every level is in every segment
    order = np.concatenate([order, order[:50]])  # the second batch is short
    descent = Descent(network, rows, order, LONG, 0.002, before=9, seed=5)
    found, expected = descent.by(), descent.by(ReferenceEngine)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    moved = expected.W - start(network)  # some 1e-3 of W, which is rounded
    assert relative_error(found.W - start(network), moved) < 2e-4


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_goes_straight_into_W_is_what_is_stored_first(optimizer: str, isa: str) -> None:
    """A norm that limits nothing makes the core store the gradient, and visit all levels, touched or not."""
    network, rule = Network(5, (19,), 2, "tanh", (100, 3)), replace(OPTIMIZERS[optimizer](), weight_decay=0.0)
    order = np.random.default_rng(0).integers(0, 200, 320)
    descent = Descent(network, weighted_rows(network, 200), order, 16, rule=rule)
    expect_equal(descent.by(), replace(descent, rule=replace(rule, clip_norm=1e30)).by())


@pytest.mark.parametrize("optimizer", ["gradient_descent", "adagrad"])
def test_levels_that_no_row_has_stay_as_they_are(optimizer: str) -> None:
    network = Network(2, (17,), 1, "tanh", (50, 4))
    rows = weighted_rows(network, 12, weighted=False)
    W = Descent(network, rows, np.tile(np.arange(12), 5), 12, rule=OPTIMIZERS[optimizer]()).by().W
    moved = (network.weights(W, "hidden1") != network.weights(start(network), "hidden1")).any(axis=1)
    there = np.zeros(54, np.bool_)
    for column, first in enumerate((0, 50)):
        there[first + rows.codes[:, column][rows.codes[:, column] >= 0]] = True
    np.testing.assert_array_equal(moved[2:], there)


def test_the_norm_that_is_clipped_is_that_of_the_whole_gradient_of_a_long_batch(isa: str) -> None:
    network = replace(WIDE, categories=(3,))
    descent = Descent(
        network, weighted_rows(network, LONG), np.arange(LONG), LONG, 1.0, GradientDescent(clip_norm=0.25)
    )
    moved = descent.by(threads=3, settle=False).W.astype(np.float64) - start(network)
    np.testing.assert_allclose(np.linalg.norm(moved), 0.25, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("limits", [{"clip_value": 0.01}, {"clip_norm": 0.01}], ids=str)
def test_clipping_does_not_hide_a_loss_that_is_not_finite(limits: dict[str, float], bad: float, isa: str) -> None:
    network, rows = Network(5, (7,), 2, "tanh", (4,)), weighted_rows(Network(5, (7,), 2, categories=(4,)), 20)
    rows.targets[11, 1] = bad
    reached = Descent(network, replace(rows, weights=None), np.arange(20), 20, 1.0, GradientDescent(**limits)).by()
    assert not np.isfinite(reached.losses[0])
    column, before = (network.weights(W, "output")[:, 1] for W in (reached.W, start(network)))
    if "clip_norm" in limits or np.isnan(bad):
        assert not np.isfinite(column).any()
    else:  # an infinite component is one beyond the limit
        np.testing.assert_allclose(np.abs(column - before), 0.01, rtol=1e-4)


# ---- masks -----------------------------------------------------------------------------------------------------------


def masks(network: Network, shown: NDArray[np.int64], batch: int, seed: int, step: int) -> Matrix:
    """What the core multiplies the last hidden layer's units by, in these rows of a batch: [rows, units].

    Every unit is 1 and every output 0, and only row shown[k] has a target, in column k: the gradient of column k of the
    output weights is that row's mask.
    """
    W = np.zeros(network.parameters, np.float32)
    for layer in network.dense[:-1]:
        layer.biases(W)[:] = 1
    targets = np.zeros((batch, network.outputs), np.float32)
    targets[shown, np.arange(len(shown))] = 1
    rows = Rows(np.ones((batch, network.inputs), np.float32), np.zeros((batch, 0), np.int32), targets)
    engine = NativeEngine(
        network, Cost(loss_named("squared_error")), GradientDescent(), seed=seed, threads=3, settle=False
    )
    engine.load(EngineState(W, np.zeros((0, len(W))), step))
    engine.train(rows, np.arange(batch), batch, np.array([batch / 2]))
    return network.weights(engine.state().W, "output").T


def expected_masks(network: Network, shown: NDArray[np.int64], seed: int, step: int) -> Matrix:
    threshold, last = min(round(network.dropout * 65536), 65535), len(network.hidden) - 1
    units = network.dense[last].outputs
    kept = [Draw(seed, step, row).kept(last, 1, units, threshold)[0] for row in shown.tolist()]
    return np.stack(kept) * (65536 / (65536 - threshold))


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.99999])
@pytest.mark.parametrize("hidden", [(1,), (37,), (5, 100), (64, 33, 47)], ids=str)
def test_masks_are_those_of_the_rule(hidden: tuple[int, ...], dropout: float, isa: str) -> None:
    shown, network = np.arange(77), Network(1, hidden, 77, "relu", dropout=dropout)
    for seed, step in ((0, 0), (2**63 - 1, 5), (12345678901, 2**32 + 3)):
        expected = expected_masks(network, shown, seed, step)
        np.testing.assert_allclose(masks(network, shown, 77, seed, step), expected, rtol=1e-6)


def test_masks_of_a_long_batch_count_the_rows_of_the_batch(isa: str) -> None:
    shown = np.array([0, 1, 63, 64, 1023, 1024, 1027, 2047, 2048, LONG - 1])
    network = replace(WIDE, outputs=len(shown), dropout=0.25)
    np.testing.assert_allclose(masks(network, shown, LONG, 3, 9), expected_masks(network, shown, 3, 9), rtol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_with_dropout_agrees_with_the_reference(activation: str, isa: str) -> None:
    network = Network(5, (37, 50), 2, activation, (4,), dropout=0.3)
    descent = Descent(network, weighted_rows(network, 141), np.arange(141), 50, 0.02, before=6, seed=2**40 + 1)
    found, expected = descent.by(), descent.by(ReferenceEngine)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    assert relative_error(found.W - start(network), expected.W - start(network)) < 1e-4
