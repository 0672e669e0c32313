"""The function (W, x) -> output: layout of W, views, start, gradients."""

import numpy as np
import pytest

from schuss import Network, Objective, Rows
from schuss.arrays import Vector
from schuss.errors import SettingError
from schuss.network.activations import ACTIVATIONS
from schuss.network.initializers import INITIALIZERS, initial_weights

OUTPUTS = {"squared_error": 2, "log_loss": 1, "cross_entropy": 3}


def random_rows(loss: str, count: int = 40, weighted: bool = True) -> Rows:
    random = np.random.default_rng(5)
    targets = {
        "squared_error": random.normal(size=(count, 2)),
        "log_loss": random.integers(0, 2, count),
        "cross_entropy": random.integers(0, 3, count),
    }[loss]
    X, codes = random.normal(size=(count, 3)), random.integers(-1, 4, (count, 1))
    return Rows.from_arrays(X, targets, random.random(count) if weighted else None, codes)


def central_differences(objective: Objective, W: Vector, step: float = 1e-6) -> Vector:
    directions = np.eye(len(W)) * step
    return np.array([(objective(W + d) - objective(W - d)) / (2 * step) for d in directions])


@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_agrees_with_central_differences(activation: str, loss: str) -> None:
    network = Network(inputs=3, hidden=(5, 4), outputs=OUTPUTS[loss], activation=activation, categories=(4,))
    objective = Objective(network, loss, random_rows(loss), l2=0.1)
    W = network.initial(seed=1) + 0.1 * np.random.default_rng(2).normal(size=network.parameters)
    expected = central_differences(objective, W)
    assert np.linalg.norm(objective.gradient(W) - expected) < 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_derivative_of_an_activation_agrees_with_central_differences(activation) -> None:  # type: ignore[no-untyped-def]
    z = np.array([-30.0, -4.0, -0.7, 0.3, 2.0, 30.0])
    expected = (activation.value(z + 1e-6) - activation.value(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(activation.derivative(z), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations_pass_nan_on_and_do_not_overflow(activation) -> None:  # type: ignore[no-untyped-def]
    extremes = np.array([np.nan, -1e30, 1e30])
    with np.errstate(over="raise"):
        value, far = activation.value(extremes[:1]), activation.value(np.array([-500.0, 500.0]))
    assert np.isnan(value[0])
    assert np.isfinite(far).all()


def test_views_of_W_are_never_copies() -> None:
    network = Network(inputs=2, hidden=(3,), outputs=1)
    W = network.initial(seed=0)
    network.weights(W, "hidden1")[1, 2] = 7
    network.biases(W, "output")[0] = 8
    assert W[1 * 3 + 2] == 7
    assert W[-1] == 8
    assert np.shares_memory(network.weights(W, "output"), W)


def test_slices_of_the_layers_cover_W_exactly_once() -> None:
    network = Network(inputs=4, hidden=(5, 6), outputs=2, categories=(3, 2))
    seen = np.zeros(network.parameters)
    for layer in network.dense:
        layer.weights(seen)[...] += 1
        layer.biases(seen)[...] += 1
    assert (seen == 1).all()
    assert network.is_weight.sum() == sum(layer.inputs * layer.outputs for layer in network.dense)


def test_dropout_stands_behind_every_hidden_layer_and_has_no_numbers_in_W() -> None:
    network = Network(inputs=4, hidden=(5, 6), dropout=0.25)
    assert [layer.name for layer in network.layers] == ["hidden1", "dropout1", "hidden2", "dropout2", "output"]
    plain = Network(inputs=4, hidden=(5, 6))
    assert plain.layers == plain.dense == network.dense
    assert (network.initial(3) == plain.initial(3)).all()
    assert Network(inputs=4, dropout=0.25).layers == Network(inputs=4).layers  # no hidden layer, nothing to drop
    with pytest.raises(SettingError, match="no layer 'dropout1': choose one of hidden1, hidden2, output"):
        network.layer("dropout1")


def test_the_description_makes_the_same_network_again() -> None:
    network = Network(inputs=4, hidden=(5, 6), outputs=2, activation="tanh", categories=(3,), dropout=0.25)
    assert Network(**network.description()) == network != Network(**network.description() | {"dropout": 0.0})


def test_same_seed_gives_the_same_start_and_another_seed_another() -> None:
    network = Network(inputs=3, hidden=(4,))
    assert (network.initial(7) == network.initial(7)).all()
    assert (network.initial(7) != network.initial(8)).any()
    assert network.initial(7).dtype == np.float32


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_the_activation_chooses_how_weights_start(activation) -> None:  # type: ignore[no-untyped-def]
    network = Network(inputs=3, hidden=(4,), activation=activation.name)
    assert network.dense[0].initializer == activation.initializer in INITIALIZERS
    assert (network.biases(network.initial(0), "hidden1") == 0).all()


@pytest.mark.parametrize(
    ("name", "variance"),
    [("he", 2 / 300), ("lecun", 1 / 300), ("glorot", 2 / 700)],
)
@pytest.mark.parametrize("shape", ["normal", "uniform"])
def test_initial_weights_have_the_variance_of_their_scheme(name: str, variance: float, shape: str) -> None:
    weights = initial_weights(f"{name}_{shape}", np.random.default_rng(0), (300, 400), fan_in=300)
    assert abs(weights.mean()) < 4 * np.sqrt(variance / weights.size)
    assert weights.var() == pytest.approx(variance, rel=0.02)
    if shape == "uniform":
        assert abs(weights).max() <= np.sqrt(3 * variance)


def test_zeros_start_at_zero() -> None:
    assert (Network(inputs=3, hidden=(2,), initializer="zeros").initial(0) == 0).all()


def test_a_code_of_minus_one_is_no_level() -> None:
    network = Network(inputs=1, outputs=1, categories=(2, 3))
    x = network.input_matrix(np.array([[5.0], [6.0]]), np.array([[1, -1], [-1, 2]], np.int32))
    assert x.tolist() == [[5, 0, 1, 0, 0, 0], [6, 0, 0, 0, 0, 1]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": 3, "hidden": (0,)},
        {"inputs": -1},
        {"inputs": 3, "outputs": 0},
        {"inputs": 3, "activation": "rely", "hidden": (2,)},
        {"inputs": 3, "initializer": "she_normal"},
        {"inputs": 3, "hidden": (2,), "dropout": 1.0},
        {"inputs": 3, "hidden": (2,), "dropout": -0.1},
        {"inputs": 3, "hidden": (2,), "dropout": float("nan")},
    ],
)
def test_impossible_networks_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        Network(**wrong).initial(0)  # type: ignore[arg-type]
