"""The function (W, x) -> output: layout of W, views, start, gradients."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as some

from schuss import Network, Objective, Rows
from schuss.arrays import Vector
from schuss.errors import SettingError
from schuss.network.activations import ACTIVATIONS
from schuss.network.initializers import INITIALIZERS, initial_weights
from schuss.network.layers import DropoutLayer, every_layer
from schuss.network.specifications import (
    Dense,
    Dropout,
    Hidden,
    HiddenLayer,
    LayerNorm,
    Residual,
    hidden_layers,
    layer_in_words,
)

MIXED = "dense(16), layer_norm(relu), dropout(0.2), residual(8, dropout(0.1), layer_norm, dense(16, identity))"
simple = (
    some.integers(1, 9999)
    | some.builds(Dense, some.integers(1, 99), some.sampled_from([None, *ACTIVATIONS]))
    | some.builds(LayerNorm, some.sampled_from(list(ACTIVATIONS)), some.floats(1e-9, 1))
    | some.builds(Dropout, some.floats(0, 0.99))
)
layers = some.lists(simple | some.builds(Residual, some.lists(simple, min_size=1, max_size=3)), max_size=4).map(tuple)
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
    objective = Objective(network, loss, random_rows(loss), l2=0.1, l1=0.05)
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
    extremes = np.array([-1e30, -500.0, 500.0, 1e30])
    assert np.isnan(activation.value(np.array([np.nan])))
    with np.errstate(over="raise"):
        assert np.isfinite(activation.value(extremes)).all()
        assert np.isfinite(activation.derivative(extremes)).all()


def test_views_of_W_are_never_copies() -> None:
    network = Network(inputs=2, hidden=(3,), outputs=1)
    W = network.initial(seed=0)
    network.weights(W, "hidden1")[1, 2] = 7
    network.biases(W, "output")[0] = 8
    assert W[1 * 3 + 2] == 7
    assert W[-1] == 8
    assert np.shares_memory(network.weights(W, "output"), W)


@pytest.mark.parametrize("hidden", [(5, 6), MIXED], ids=str)
@pytest.mark.parametrize("embedding", [None, 3])
def test_slices_of_the_layers_cover_W_exactly_once(hidden: Hidden, embedding: int | None) -> None:
    network = Network(inputs=4, hidden=hidden, outputs=2, categories=(3, 2), embedding=embedding)
    seen = np.zeros(network.parameters)
    for layer in network.layers_in_W:
        layer.weights(seen)[...] += 1
        layer.biases(seen)[...] += 1
    assert (seen == 1).all()
    free = [layer.name for layer in network.layers_in_W if not network.is_weight[layer.start]]
    assert free == ([] if hidden == (5, 6) else ["norm1", "norm2"])
    biases = sum(layer.biases(seen).size for layer in network.layers_in_W)
    assert (~network.is_weight).sum() == biases + sum(network.weights(seen, name).size for name in free)


def test_dropout_stands_behind_every_hidden_layer_and_has_no_numbers_in_W() -> None:
    network = Network(inputs=4, hidden=(5, 6), dropout=0.25)
    assert [layer.name for layer in network.layers] == ["hidden1", "dropout1", "hidden2", "dropout2", "output"]
    plain = Network(inputs=4, hidden=(5, 6))
    assert plain.layers == plain.dense == network.dense
    assert (network.initial(3) == plain.initial(3)).all()
    assert Network(inputs=4, dropout=0.25).layers == Network(inputs=4).layers  # no hidden layer, nothing to drop
    with pytest.raises(SettingError, match="no layer 'dropout1': choose one of hidden1, hidden2, output"):
        network.layer("dropout1")


def test_layers_have_readable_names_and_sizes() -> None:
    network = Network(inputs=4, hidden=MIXED, categories=(3, 2), embedding=7, activation="tanh")
    layers = list(every_layer(network.layers))
    assert [(layer.name, layer.outputs) for layer in layers] == [
        ("embedding", 18), ("hidden1", 16), ("norm1", 16), ("dropout1", 16), ("residual1", 16), ("hidden2", 8),
        ("dropout2", 8), ("norm2", 8), ("hidden3", 16), ("output", 1),
    ]  # fmt: skip
    assert [layer.number for layer in layers if isinstance(layer, DropoutLayer)] == [0, 1]
    assert [layer.activation for layer in network.layers_in_W] == [
        "identity", "tanh", "relu", "tanh", "identity", "identity", "identity",
    ]  # fmt: skip
    W = network.initial(0)
    assert network.weights(W, "embedding").shape == (35,)
    assert network.biases(W, "embedding").shape == (0,)
    assert (network.weights(W, "norm1") == 1).all()
    assert (network.biases(W, "norm1") == 0).all()
    with pytest.raises(SettingError, match="no layer 'dropout1': choose one of embedding, hidden1, norm1"):
        network.layer("dropout1")


def test_vectors_of_an_embedding_start_as_long_as_one_hot_codes() -> None:
    network = Network(inputs=0, categories=(4000,), embedding=9)
    vectors = network.weights(network.initial(0), "embedding").reshape(4000, 9)
    assert abs(vectors.mean()) < 0.01
    assert (vectors**2).sum(axis=1).mean() == pytest.approx(1, rel=0.03)


def test_an_embedding_looks_up_what_one_hot_codes_would_multiply() -> None:
    network = Network(inputs=1, categories=(2, 3), embedding=2)
    W = network.initial(0)
    vectors = network.weights(W, "embedding").reshape(5, 2)
    x, _ = network.layers[0].forward(W, network.input_matrix(np.array([[5.0]]), np.array([[-1, 2]], np.int32)))
    np.testing.assert_array_equal(x, [[5, 0, 0, *vectors[2 + 2]]])


def test_some_columns_stay_one_hot_beside_an_embedding() -> None:
    network = Network(inputs=1, categories=(2, 3), embedding=(0, 2))
    W = network.initial(0)
    x, _ = network.layers[0].forward(W, network.input_matrix(np.array([[5.0]]), np.array([[1, 0]], np.int32)))
    np.testing.assert_array_equal(x, [[5, *network.weights(W, "embedding")[:2], 0, 1]])
    assert network.dense[0].inputs == 1 + 2 + 2
    with pytest.raises(SettingError, match="embeddings of 1 columns: this network has 1 features and 2 categorical"):
        Network(inputs=1, categories=(2, 3), embedding=(2,))


def test_a_feature_with_knots_is_itself_and_its_share_of_each_bin() -> None:
    network = Network(inputs=2, hidden=(3,), knots=((), (0.0, 1.0, 3.0)))
    x = network.input_matrix(np.array([[7.0, -1.0], [8.0, 0.25], [9.0, 2.0], [9.0, 4.0]]), np.empty((4, 0), np.int32))
    assert x.tolist() == [[7, -1, 0, 0], [8, 0.25, 0.25, 0], [9, 2, 1, 0.5], [9, 4, 1, 1]]
    W = network.initial(0)
    weights = network.weights(W, "hidden1")
    assert (weights[:2] != 0).all()
    assert (weights[2:] == 0).all()  # as if there were no knots
    plain = Network(inputs=2, hidden=(3,))
    np.testing.assert_array_equal(weights[:2], plain.weights(plain.initial(0), "hidden1"))
    embedded = replace(network, numeric_embedding=2)
    assert (embedded.weights(embedded.initial(0), "embedding") == 0).all()
    assert Network(**json.loads(json.dumps(embedded.description()))) == embedded


@pytest.mark.parametrize("knots", [((), (1.0,)), ((), (1.0, 1.0)), ((), (2.0, 1.0)), ((), (0.0, 0.1)), ((0.0, 1.0),)])
def test_knots_that_cannot_be_are_refused(knots: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(SettingError, match="knots of"):
        Network(inputs=2, knots=knots)


@given(layers)
def test_layers_in_words_are_the_same_layers_again(hidden: tuple[int | HiddenLayer, ...]) -> None:
    assert hidden_layers(", ".join(map(layer_in_words, hidden))) == hidden == hidden_layers(hidden)


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        ("residual(3)", "residual1 adds 3 units to the 4 that come in: let its last layer have 4"),
        ("8, residual(dropout(0.1), 4)", "adds 4 units to the 8"),
        ("dropout(1.5)", "probability of dropout is 1.5"),
        ("layer_norm(rely)", "no activation 'rely'"),
        ("layer_norm(epsilon=-1)", "epsilon of layer_norm is -1"),
        ("dense(2.5)", "hidden layer is 2.5"),
        ("residual()", "no layers"),
        ("convolution(3)", "no hidden layer 'convolution'"),
        ("8 8", "cannot be read"),
        ("1] + [2", "cannot be read"),
        (f"{'-' * 9999}1", "cannot be read"),
        ([8, None], "hidden layer is None"),
        ([True], "hidden layer is True"),
    ],
)
def test_layers_that_cannot_be_are_refused(hidden: Hidden, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Network(inputs=4, hidden=hidden)


@pytest.mark.parametrize("hidden", ["layer_norm", "dropout(0.1)", "residual(4)"])
def test_one_hot_codes_go_into_a_dense_layer_and_nothing_else(hidden: str) -> None:
    with pytest.raises(
        SettingError, match="one-hot codes or encodings: begin with a dense layer, or give an embedding"
    ):
        Network(inputs=4, hidden=hidden, categories=(3,))
    with pytest.raises(SettingError, match="nothing: begin"):
        Network(inputs=0, hidden=hidden)
    if hidden != "residual(4)":
        Network(inputs=4, hidden=hidden, categories=(3,), embedding=2)


def test_dropout_behind_every_width_goes_with_widths_alone() -> None:
    with pytest.raises(SettingError, match=r"put dropout\(0.1\) into the list"):
        Network(inputs=4, hidden="8, layer_norm", dropout=0.1)


def test_the_description_makes_the_same_network_again() -> None:
    mixed = Network(inputs=4, hidden=MIXED, categories=(3,), embedding=2)
    assert Network(**json.loads(json.dumps(mixed.description()))) == mixed
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
