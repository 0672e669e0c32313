"""What every engine must do, over all activations, losses and optimisers: whatever is in the tables is tested here.

Tolerances: float32 rounds to 6e-8 relative. A sum of n products in float32 is off by some √n of that, so that outputs
and gradients of these small networks agree with float64 to about 1e-6 of their largest entry; 1e-5 leaves room for
other orders of summation. Over 50 steps the differences of W add up, and rules that divide by √s enlarge them: at most
2e-6 was seen, 2e-5 is allowed. That is far below what any mistake in a rule does (a missing penalty moves W by 1e-3).
"""

from dataclasses import replace

import numpy as np
import pytest
from engine_rows import some_targets

from schuss.arrays import Rows, Vector
from schuss.descent.optimizers import OPTIMIZERS, Adam, GradientDescent, Optimizer
from schuss.engine import make_engine, reference
from schuss.engine.protocol import Cost, Engine, EngineState
from schuss.losses import LOSSES, loss_named
from schuss.network import Network
from schuss.network.activations import ACTIVATIONS
from schuss.network.masks import Draw
from schuss.table.order import permutation

ENGINES = ("reference", "native")
LEVELS = (4, 3)
STEPS, BATCH = 50, 32
# Outputs of the network for each loss; a new loss needs an entry here and in `some_targets`.
OUTPUTS = {
    "squared_error": 3,
    "absolute_error": 3,
    "huber(delta=0.5)": 3,
    "quantile(levels=[0.1, 0.5, 0.8])": 3,
    "gaussian": 2,
    "poisson": 2,
    "gamma": 2,
    "tweedie(power=1.3)": 2,
    "log_loss": 1,
    "log_loss(smoothing=0.2)": 2,
    "cross_entropy": 4,
    "cross_entropy(smoothing=0.2)": 4,
    "focal(gamma=1.5)": 4,
}

# Every loss with one activation, and every activation with a few losses.
PAIRS = [
    (activation, loss)
    for activation in ACTIVATIONS
    for loss in OUTPUTS
    if activation == "silu" or loss in ("squared_error", "log_loss", "cross_entropy")
]


def rows_for(loss: str, count: int, seed: int = 0) -> Rows:
    """Rows with features, codes (some of them -1), weights (some of them 0) and offsets, all exact in float32."""
    generator = np.random.default_rng(seed)
    return Rows.from_arrays(
        generator.normal(size=(count, 5)).astype(np.float32),
        some_targets(loss.partition("(")[0], count, OUTPUTS[loss], generator).astype(np.float32),
        generator.integers(0, 4, count) * 0.5,
        np.stack([generator.integers(-1, levels, count) for levels in LEVELS], axis=1),
        0.5 * generator.normal(size=count).astype(np.float32),
    )


def network_for(activation: str, loss: str) -> Network:
    return Network(inputs=5, hidden=(19, 7), outputs=OUTPUTS[loss], activation=activation, categories=LEVELS)


def dropping(activation: str, loss: str) -> Network:
    """The same with dropout."""
    return replace(network_for(activation, loss), dropout=0.3)


def start(network: Network) -> Vector:
    """A starting W with biases that are not 0, so that they are tested too."""
    W = network.initial(seed=1)
    W[~network.is_weight] = np.random.default_rng(2).normal(size=int((~network.is_weight).sum())) * 0.1
    return W


def away_from_kinks(network: Network, rows: Rows, W: Vector) -> bool:
    """No z of a hidden layer is so near 0 that a small step of W could move it across."""
    x = network.input_matrix(rows.features.astype(np.float64), rows.codes)
    for layer in network.dense[:-1]:
        z = x @ layer.weights(W) + layer.biases(W)
        if np.abs(z).min() < 1e-4:
            return False
        x, _ = layer.forward(W, x)
    return True


def test_every_loss_has_an_entry() -> None:
    assert {words.partition("(")[0] for words in OUTPUTS} == set(LOSSES)


def both(network: Network, cost: Cost, optimizer: Optimizer) -> tuple[Engine, Engine]:
    return make_engine(network, cost, optimizer, "native"), make_engine(network, cost, optimizer, "reference")


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_the_gradient_of_the_reference_agrees_with_central_differences(activation: str, loss: str) -> None:
    network = network_for(activation, loss)
    W = start(network).astype(np.float64)
    rows = next(rows for seed in range(99) if away_from_kinks(network, rows := rows_for(loss, 12, seed), W))
    engine = make_engine(network, Cost(loss_named(loss)), GradientDescent(), "reference")
    total, gradient = engine.gradient(W, rows)
    assert total == engine.total_loss(W, rows)
    step, differences = 1e-5, np.empty(len(W))
    for i in range(len(W)):
        left, right = W.copy(), W.copy()
        left[i] -= step
        right[i] += step
        differences[i] = (engine.total_loss(right, rows) - engine.total_loss(left, rows)) / (2 * step)
    assert np.abs(gradient - differences).max() < 1e-6 * np.abs(gradient).max()


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_native_outputs_losses_and_gradients_agree_with_the_reference(activation: str, loss: str) -> None:
    network, rows = network_for(activation, loss), rows_for(loss, 333)
    native, reference = both(network, Cost(loss_named(loss)), GradientDescent())
    W = start(network)
    outputs, expected = native.outputs(W, rows), reference.outputs(W, rows)
    assert outputs.shape == expected.shape
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    total, gradient = native.gradient(W, rows)
    expected_total, expected_gradient = reference.gradient(W, rows)
    np.testing.assert_allclose(total, expected_total, rtol=1e-6)
    np.testing.assert_allclose(native.total_loss(W, rows), expected_total, rtol=1e-6)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-5 * np.abs(expected_gradient).max())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_native_training_agrees_with_the_reference(activation: str, loss: str, optimizer: str) -> None:
    network, rows = network_for(activation, loss), rows_for(loss, 333)
    rule = replace(OPTIMIZERS[optimizer](), weight_decay=0.1)
    native, reference = both(network, Cost(loss_named(loss), l2=0.05, mean_weight=0.8), rule)
    state = EngineState.start(start(network), rule)
    generator = np.random.default_rng(3)
    order = np.concatenate([generator.permutation(333) for _ in range(5)])
    order = order[: STEPS * BATCH - 9]  # the last batch is short
    rates = rule.usual_learning_rate * np.linspace(2, 0.5, STEPS)
    native.load(state)
    reference.load(state)
    losses = native.train(rows, order, BATCH, rates)
    np.testing.assert_allclose(losses, reference.train(rows, order, BATCH, rates), rtol=1e-5)
    reached, expected = native.state(), reference.state()
    assert reached.step == expected.step == STEPS
    assert np.abs(reached.W - state.W).max() > 1e-3  # it did move
    np.testing.assert_allclose(reached.vectors, expected.vectors, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(reached.W, expected.W, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ENGINES)
def test_one_step_of_gradient_descent_is_W_minus_the_rate_times_the_average_gradient(name: str) -> None:
    for count in (1, 7, 128, 129, 1000):
        rows = replace(rows_for("squared_error", count), weights=None)
        network = network_for("tanh", "squared_error")
        engine = make_engine(network, Cost(loss_named("squared_error")), GradientDescent(), name)
        W = start(network)
        W[~network.is_weight] = 0
        _, gradient = engine.gradient(W, rows)
        engine.load(EngineState.start(W, GradientDescent()))
        engine.train(rows, np.arange(count), count, np.array([0.03]))
        expected = (W - 0.03 * gradient / count).astype(np.float32)
        assert (np.abs(engine.state().W - expected) <= 2 * np.spacing(np.abs(expected))).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ENGINES)
def test_one_call_of_ten_steps_equals_ten_calls_of_one(name: str, optimizer: str) -> None:
    network, rows, rule = network_for("relu", "log_loss"), rows_for("log_loss", 100), OPTIMIZERS[optimizer]()
    order, rates = np.random.default_rng(0).permutation(100)[:95], np.linspace(0.01, 0.001, 10)
    reached = []
    for cut in (10, 1):
        engine = make_engine(network, Cost(loss_named("log_loss"), l2=0.01), rule, name)
        engine.load(EngineState.start(start(network), rule))
        losses = [engine.train(rows, order[i * 10 : (i + cut) * 10], 10, rates[i : i + cut]) for i in range(0, 10, cut)]
        reached.append((np.concatenate(losses), engine.state().W, engine.state().vectors))
    for one, ten in zip(*reached, strict=True):
        np.testing.assert_array_equal(one, ten)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ENGINES)
def test_a_state_that_was_loaded_comes_out_as_it_went_in(name: str, optimizer: str) -> None:
    network, rule = network_for("relu", "cross_entropy"), OPTIMIZERS[optimizer]()
    generator = np.random.default_rng(0)
    W = generator.normal(size=network.parameters).astype(np.float32)
    vectors = generator.normal(size=(rule.memory, network.parameters)).astype(np.float32)
    engine = make_engine(network, Cost(loss_named("cross_entropy")), rule, name)
    engine.load(EngineState(W, vectors, 17))
    state = engine.state()
    np.testing.assert_array_equal(state.W, W)
    np.testing.assert_array_equal(state.vectors, vectors)
    assert state.step == 17
    state.W[:] = 0  # a copy: the engine keeps its own
    np.testing.assert_array_equal(engine.state().W, W)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("batch_size", [1, 6, 7, 12, 50])
def test_several_epochs_in_one_call_are_as_one_call_for_each(name: str, batch_size: int) -> None:
    network, rows = network_for("tanh", "squared_error"), rows_for("squared_error", 12)
    orders = np.array([permutation(0, epoch, 12) for epoch in range(5)])
    steps = -(-12 // batch_size)
    rates = np.linspace(0.05, 0.01, 5 * steps)
    engines = [make_engine(network, Cost(loss_named("squared_error")), Adam(), name) for _ in range(2)]
    for engine in engines:
        engine.load(EngineState.start(start(network), Adam()))
    together = engines[0].train(rows, orders.reshape(-1), batch_size, rates, 5)
    apart = [
        engines[1].train(rows, order, batch_size, some)
        for order, some in zip(orders, rates.reshape(5, steps), strict=True)
    ]
    np.testing.assert_array_equal(together, np.concatenate(apart))
    np.testing.assert_array_equal(engines[0].state().W, engines[1].state().W)
    assert engines[0].state().step == 5 * steps


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(("loss", "batch_size", "epochs"), [("cross_entropy", 7, 5), ("squared_error", 12, 3),
                                                           ("log_loss", 50, 1)])  # fmt: skip
def test_what_is_watched_is_W_and_outputs_after_each_epoch(name: str, loss: str, batch_size: int, epochs: int) -> None:
    network, rows, watched = dropping("gelu", loss), rows_for(loss, 12), rows_for(loss, 200, seed=1)
    orders = np.array([permutation(0, epoch, 12) for epoch in range(epochs)])
    rates = np.linspace(0.05, 0.01, epochs * -(-12 // batch_size))
    engines = [make_engine(network, Cost(loss_named(loss)), Adam(), name, seed=5) for _ in range(2)]
    for engine in engines:
        engine.load(EngineState.start(start(network), Adam()))
    seen = engines[0].train_watched(rows, orders.reshape(-1), batch_size, rates, watched, epochs)
    assert seen.path.shape == (epochs, network.parameters)
    assert seen.outputs.shape == (epochs, 200, network.outputs)
    every = zip(orders, rates.reshape(epochs, -1), seen.losses.reshape(epochs, -1), strict=True)
    for number, (order, some, losses) in enumerate(every):
        np.testing.assert_array_equal(engines[1].train(rows, order, batch_size, some), losses)
        np.testing.assert_array_equal(engines[1].state().W, seen.path[number])
        np.testing.assert_array_equal(engines[1].outputs(seen.path[number], watched), seen.outputs[number])
    np.testing.assert_array_equal(engines[0].state().vectors, engines[1].state().vectors)
    assert engines[0].state().step == len(rates)


@pytest.mark.parametrize("name", ENGINES)
def test_looking_at_a_W_does_not_disturb_training(name: str) -> None:
    network, rows = network_for("gelu", "squared_error"), rows_for("squared_error", 64)
    reached = []
    for looks in (False, True):
        engine = make_engine(network, Cost(loss_named("squared_error")), GradientDescent(), name)
        engine.load(EngineState.start(start(network), GradientDescent()))
        for _ in range(3):
            engine.train(rows, np.arange(64), 32, np.array([0.01, 0.01]))
            if looks:
                engine.gradient(start(network), rows)
                engine.outputs(start(network) * 2, rows)
        reached.append(engine.state().W)
    np.testing.assert_array_equal(reached[0], reached[1])


@pytest.mark.parametrize("name", ENGINES)
def test_the_total_loss_is_the_sum_over_batches_of_any_size(name: str) -> None:
    for loss in OUTPUTS:
        network, rows = network_for("silu", loss), rows_for(loss, 1000)
        engine = make_engine(network, Cost(loss_named(loss)), GradientDescent(), name)
        W = start(network)
        total = engine.total_loss(W, rows)
        for size in (1, 7, 77, 128, 999):
            assert abs(sum(engine.total_loss(W, batch) for batch in rows.batches(size)) - total) < 1e-12 * abs(total)


@pytest.mark.parametrize("name", ENGINES)
def test_a_batch_whose_weights_are_all_0_leaves_W_as_it_is(name: str) -> None:
    network = network_for("relu", "squared_error")
    rows = replace(rows_for("squared_error", 8), weights=np.zeros(8))
    engine = make_engine(network, Cost(loss_named("squared_error")), GradientDescent(), name)
    engine.load(EngineState.start(start(network), GradientDescent()))
    assert engine.train(rows, np.arange(8), 8, np.array([0.1]))[0] == 0
    np.testing.assert_array_equal(engine.state().W, start(network))


def one_step(engine: Engine, W: Vector, rows: Rows, rate: float, step: int = 0) -> tuple[float, Vector]:
    """The batch loss of a step of gradient descent over all rows, with the masks of that step, and the W it reaches."""
    engine.load(EngineState(W, np.zeros((0, len(W))), step))
    (loss,) = engine.train(rows, np.arange(len(rows)), len(rows), np.array([rate]))
    return float(loss), engine.state().W


@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus"])
def test_the_gradient_of_a_step_with_masks_agrees_with_central_differences(activation: str, loss: str) -> None:
    network, rows = dropping(activation, loss), rows_for(loss, 12)
    engine = make_engine(network, Cost(loss_named(loss)), GradientDescent(), "reference", seed=11)
    W = start(network).astype(np.float64)
    gradient = W - one_step(engine, W, rows, rate=1.0, step=5)[1]
    width, differences = 1e-5, np.empty(len(W))
    for i in range(len(W)):
        move = np.zeros(len(W))
        move[i] = width
        right, left = (one_step(engine, W + sign * move, rows, rate=0.0, step=5)[0] for sign in (1, -1))
        differences[i] = (right - left) / (2 * width)
    assert np.abs(gradient - differences).max() < 1e-6 * np.abs(gradient).max()
    without = make_engine(network_for(activation, loss), Cost(loss_named(loss)), GradientDescent(), "reference")
    assert np.abs(gradient - (W - one_step(without, W, rows, rate=1.0)[1])).max() > 0.1 * np.abs(gradient).max()


@pytest.mark.parametrize("name", ENGINES)
def test_dropout_is_in_training_and_in_nothing_else(name: str) -> None:
    rows, cost = rows_for("squared_error", 64), Cost(loss_named("squared_error"))
    network, plain = dropping("silu", "squared_error"), network_for("silu", "squared_error")
    engine = make_engine(network, cost, GradientDescent(), name, seed=3)
    without = make_engine(plain, cost, GradientDescent(), name)
    W = start(network)
    np.testing.assert_array_equal(engine.outputs(W, rows), without.outputs(W, rows))
    np.testing.assert_array_equal(engine.gradient(W, rows)[1], without.gradient(W, rows)[1])
    assert engine.total_loss(W, rows) == without.total_loss(W, rows)
    assert one_step(engine, W, rows, rate=0.1)[0] != one_step(without, W, rows, rate=0.1)[0]


@pytest.mark.parametrize("name", ENGINES)
def test_the_masks_of_a_step_are_those_of_its_seed_its_number_and_each_layer(name: str) -> None:
    network, rows = dropping("tanh", "squared_error"), rows_for("squared_error", 50)
    W, x = start(network), network_for("tanh", "squared_error").input_matrix(rows.features, rows.codes)
    for number, layer in enumerate(network.dense):
        x = x @ layer.weights(W) + layer.biases(W)
        if layer.name != "output":
            kept = Draw(seed=2**40 + 9, step=17).kept(number, 50, layer.outputs, threshold=19661)  # 0.3 · 65536
            x = np.where(kept, np.tanh(x) * 65536 / (65536 - 19661), 0)
    assert rows.weights is not None
    assert rows.offset is not None
    x[:, 0] += rows.offset
    expected = np.mean(rows.weights * np.square(rows.targets - x).sum(axis=1))
    engine = make_engine(network, Cost(loss_named("squared_error")), GradientDescent(), name, seed=2**40 + 9)
    np.testing.assert_allclose(one_step(engine, W, rows, rate=0.1, step=17)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
def test_masks_depend_on_seed_step_and_place_in_the_batch_and_on_nothing_else(name: str) -> None:
    rows, cost = replace(rows_for("log_loss", 64), weights=None), Cost(loss_named("log_loss"))
    network = dropping("tanh", "log_loss")
    W = start(network)

    def loss(seed: int = 3, step: int = 7, table: Rows = rows) -> float:
        return one_step(make_engine(network, cost, GradientDescent(), name, seed=seed), W, table, 0.1, step)[0]

    assert loss() == loss()
    others = [loss(seed=4), loss(seed=3 + 2**32), loss(step=8), loss(table=rows.take(np.arange(64)[::-1]))]
    assert len({loss(), *others}) == 5


@pytest.mark.parametrize("name", ENGINES)
def test_training_with_dropout_goes_on_after_a_stop_as_if_there_had_been_none(name: str) -> None:
    network, rows, rule = dropping("relu", "cross_entropy"), rows_for("cross_entropy", 100), OPTIMIZERS["adam"]()
    order, rates = np.random.default_rng(0).permutation(100)[:95], np.linspace(0.01, 0.001, 10)
    reached = []
    for cut in (10, 5, 1):
        state, losses = EngineState.start(start(network), rule), []
        for i in range(0, 10, cut):  # every part in an engine of its own
            engine = make_engine(network, Cost(loss_named("cross_entropy"), l2=0.01), rule, name, seed=9)
            engine.load(state)
            losses.append(engine.train(rows, order[i * 10 : (i + cut) * 10], 10, rates[i : i + cut]))
            state = engine.state()
        reached.append((np.concatenate(losses), state.W, state.vectors))
    for parts in zip(*reached, strict=True):
        np.testing.assert_array_equal(parts[0], parts[1])
        np.testing.assert_array_equal(parts[0], parts[2])


def test_a_row_keeps_its_place_in_the_batch_however_the_reference_cuts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network, rows = dropping("tanh", "squared_error"), rows_for("squared_error", 333)
    reached = []
    for tile in (1024, 100, 7):
        monkeypatch.setattr(reference, "_TILE", tile)
        engine = make_engine(network, Cost(loss_named("squared_error")), GradientDescent(), "reference", seed=2)
        reached.append(one_step(engine, start(network).astype(np.float64), rows, rate=0.1)[1])
    np.testing.assert_allclose(reached[1], reached[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(reached[2], reached[0], rtol=1e-12, atol=1e-14)


LIMITS: list[dict[str, float]] = [{"clip_norm": 0.3}, {"clip_value": 0.02}]


@pytest.mark.parametrize(
    ("dropout", "limits"), [(0.3, {}), *((dropout, limits) for dropout in (0.0, 0.3) for limits in LIMITS)], ids=str
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", OUTPUTS)
def test_native_training_with_dropout_and_limits_agrees_with_the_reference(
    loss: str, optimizer: str, dropout: float, limits: dict[str, float]
) -> None:
    network, rows = replace(network_for("silu", loss), dropout=dropout), rows_for(loss, 333)
    rule = replace(OPTIMIZERS[optimizer](), weight_decay=0.1, **limits)
    cost = Cost(loss_named(loss), l2=0.05, mean_weight=0.8)
    state = EngineState(start(network), np.zeros((rule.memory, network.parameters)), 1000)
    generator = np.random.default_rng(3)
    order = np.concatenate([generator.permutation(333) for _ in range(5)])[: STEPS * BATCH - 9]
    rates = rule.usual_learning_rate * np.linspace(2, 0.5, STEPS)
    reached = []
    for name in ENGINES:
        engine = make_engine(network, cost, rule, name, seed=2**33 + 5)
        engine.load(state)
        reached.append((engine.train(rows, order, BATCH, rates), engine.state()))
    (expected_losses, expected), (losses, found) = reached
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(found.vectors, expected.vectors, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(found.W, expected.W, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_what_is_clipped_is_the_gradient_of_the_cost_with_its_penalty_and_not_the_decay(
    name: str, limits: dict[str, float]
) -> None:
    network, rows = network_for("tanh", "squared_error"), rows_for("squared_error", 64)
    W, l1, l2, rate, decay = start(network), 0.3, 0.5, 0.1, 0.2
    cost = Cost(loss_named("squared_error"), l2=l2, mean_weight=0.8, l1=l1)
    engine = make_engine(network, cost, GradientDescent(weight_decay=decay, **limits), name)
    whole = engine.gradient(W, rows)[1] / (64 * 0.8) + np.where(network.is_weight, l1 * np.sign(W) + l2 * W, 0)
    assert np.linalg.norm(whole) > 1  # the limits are felt
    if "clip_norm" in limits:
        limited = whole * limits["clip_norm"] / np.linalg.norm(whole)
    else:
        limited = np.clip(whole, -limits["clip_value"], limits["clip_value"])
    expected = np.where(network.is_weight, (1 - rate * decay) * W, W) - rate * limited
    np.testing.assert_allclose(one_step(engine, W, rows, rate)[1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_a_gradient_that_is_not_a_number_is_not_hidden_by_clipping(name: str, limits: dict[str, float]) -> None:
    network, rows = network_for("tanh", "squared_error"), rows_for("squared_error", 8)
    rows.targets[3, 1] = np.nan
    engine = make_engine(network, Cost(loss_named("squared_error")), GradientDescent(**limits), name)
    W = start(network)
    W[network.dense[-1].bias_start] = np.nan
    loss, reached = one_step(engine, W, replace(rows, weights=None), rate=0.1)
    assert np.isnan(loss)
    assert np.isnan(network.weights(reached, "hidden1")).any()
