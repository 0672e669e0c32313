"""Losses and optimisers that a person wrote, from the function to the file."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import schuss
from schuss import OwnLoss, TorchLoss
from schuss.arrays import Matrix, Rows, Vector
from schuss.errors import SettingError
from schuss.losses import CrossEntropy, LogLoss, SquaredError
from schuss.own import check_loss
from schuss.training.events import Epoch

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 3))
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(
    y=5000 + 1000 * np.sin(X[:, 0]) + 30 * RANDOM.normal(size=300),
    z=np.where(X[:, 1] + 0.3 * RANDOM.normal(size=300) > 0, "yes", "no"),
    k=np.where(X[:, 2] > 0.5, "high", np.where(X[:, 2] < -0.5, "low", "middle")),
    w=RANDOM.integers(1, 4, 300),
)
QUICK: dict[str, Any] = {
    "epochs": 6,
    "hidden": (8,),
    "exclude": ["y", "z", "k", "w"],
    "optimizer": "adam",
    "members": 1,
}
slow = pytest.mark.filterwarnings("ignore:Your own")


def squared(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    return weight * np.square(output - target).sum(axis=1), 2 * weight[:, np.newaxis] * (output - target)


def absolute(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    return weight * np.abs(output - target).sum(axis=1), weight[:, np.newaxis] * np.sign(output - target)


def logistic(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    own = LogLoss()
    return weight * own.value(output, target), weight[:, np.newaxis] * own.derivative(output, target)


def softmax(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    own = CrossEntropy()
    return weight * own.value(output, target), weight[:, np.newaxis] * own.derivative(output, target)


def torch_squared(output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return weight * ((output - target) ** 2).sum(1)


def torch_softmax(output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return weight * torch.nn.functional.cross_entropy(output, target[:, 0].long(), reduction="none")


def train(target: str, **settings: Any) -> schuss.Model:
    others = [name for name in QUICK["exclude"] if name not in (target, settings.get("weight"))]
    return schuss.train(FRAME, target, **{**QUICK, "exclude": others, **settings})


# Adam does not see the scale of a loss, so that losses that differ by a factor take the same way.
@slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize(
    ("target", "own", "ours"),
    [
        ("y", OwnLoss(squared), "squared_error"),
        ("y", TorchLoss(torch_squared), "squared_error"),
        ("z", OwnLoss(logistic, "sigmoid"), "log_loss"),
        ("z", OwnLoss(softmax, "softmax"), "cross_entropy"),
        ("k", TorchLoss(torch_softmax, "softmax"), "cross_entropy"),
    ],
)
def test_a_loss_of_one_s_own_trains_as_the_same_loss_of_ours(
    target: str, own: OwnLoss, ours: str, weight: str | None, precision: str
) -> None:
    found, expected = (train(target, loss=loss, weight=weight, precision=precision) for loss in (own, ours))
    np.testing.assert_allclose(found.W, expected.W, rtol=0, atol=2e-3)
    assert np.abs(expected.W - expected.network.initial(0)).max() > 0.02
    for part in ("validation", "test"):
        assert found.record.scores[part] == pytest.approx(expected.record.scores[part], rel=0.01)


@slow
def test_a_loss_of_one_s_own_sees_the_target_s_own_units() -> None:
    seen: list[float] = []

    def asymmetric(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
        seen.extend(target[:, 0])
        return absolute(output, target, weight)

    model = train("y", loss=OwnLoss(asymmetric), epochs=30, learning_rate=0.03)
    assert 4000 - 200 < min(seen) < max(seen) < 6000 + 200
    scores = model.record.scores["test"]
    assert scores["loss"] == pytest.approx(scores["mae"], rel=1e-6)
    assert scores["mae"] is not None
    assert scores["mae"] < 300  # of a deviation of 650


@slow
def test_several_targets_are_each_in_their_own_units() -> None:
    frame = FRAME.assign(v=X[:, 1] / 100)[["a", "b", "c", "y", "v"]]
    events: list[Any] = []
    watched: dict[str, Any] = {"members": 1, "observers": [events.append]}
    model = schuss.train(frame, ["y", "v"], loss=OwnLoss(squared), epochs=2, hidden=(8,), **watched)
    rmses = [model.record.scores["validation"][f"rmse of {name}"] or 0.0 for name in ("y", "v")]
    losses = [event.scores["loss"] for event in events if isinstance(event, Epoch)]
    assert model.record.scores["validation"]["loss"] == pytest.approx(sum(rmse**2 for rmse in rmses), rel=1e-6)
    assert min(losses) == pytest.approx(model.record.scores["validation"]["loss"], rel=1e-6)


@slow
def test_losses_of_the_training_are_the_function_s_own() -> None:
    events: list[Any] = []
    still: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-30, "dropout": 0.0, "validation": 0.0, "test": 0.0}
    model = train("y", loss=OwnLoss(absolute), observers=[events.append], **still)
    (loss,) = (event.loss for event in events if isinstance(event, Epoch))
    assert loss == pytest.approx(model.evaluate(FRAME)["loss"], rel=1e-5)


def test_the_derivative_belongs_to_the_loss_in_the_units_of_training() -> None:
    loss, targets = OwnLoss(squared, mean=(5000.0, 1.0), deviation=(650.0, 0.01)), X[:, :2]
    outputs, derivatives = X[:, 1:], loss.derivative(X[:, 1:], targets)
    for k in range(2):
        move = 1e-4 * np.eye(2)[k]
        difference = loss.value(outputs + move, targets) - loss.value(outputs - move, targets)
        np.testing.assert_allclose(derivatives[:, k], difference / 2e-4, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("deviation", [1e-5, 1.0, 1e9])
def test_a_wrong_derivative_is_seen_whatever_the_units(deviation: float) -> None:
    rows = Rows(X, np.zeros((300, 0), np.int32), X[:, :1])
    check_loss(OwnLoss(squared, mean=(deviation,), deviation=(deviation,)), X[:, 1:2], rows)
    with pytest.raises(SettingError, match="differences say"):
        check_loss(OwnLoss(forgot_a_factor, mean=(deviation,), deviation=(deviation,)), X[:, 1:2], rows)


def test_a_training_says_that_it_is_slower() -> None:
    with pytest.warns(UserWarning, match="Your own loss squared: Python is called at every step") as caught:
        model = train("y", loss=OwnLoss(squared), epochs=1)
    assert len(caught) == 1
    assert model.record.reasons["loss"] == "own squared (chosen by you)"


def wrong_sign(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    losses, derivatives = squared(output, target, weight)
    return losses, -derivatives


def forgot_a_factor(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    losses, derivatives = squared(output, target, weight)
    return losses, derivatives / 2


def careless(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    return squared(output, target, np.ones(len(weight)))


def unweighted_derivative(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    return squared(output, target, weight)[0], 2 * (output - target)


def undefined(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    losses, derivatives = squared(output, target, weight)
    return losses, np.where(derivatives > 0, np.nan, derivatives)


def raising(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    raise KeyError("alpha")


def crowded(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    losses, derivatives = squared(output, target, weight)
    return losses - losses.mean(), derivatives


BROKEN: list[tuple[Any, str]] = [
    (wrong_sign, r"derivative by output 0 is -?\d+.*, and its differences say -?\d+"),
    (forgot_a_factor, r"derivative by output 0 is -?\d+.*, and its differences say -?\d+"),
    (crowded, "differences say"),
    (undefined, "derivative by output 0 is nan"),
    (careless, "ignores weights"),
    (unweighted_derivative, "ignores weights"),
    (raising, "The loss raising failed .KeyError: 'alpha'.: it must return"),
    (lambda output, target, weight: weight, "ValueError"),
    (lambda output, target, weight: (weight, weight), r"shapes \(\d+,\) and \(\d+,\)"),
    (lambda output, target, weight: (weight[:, np.newaxis], output), r"shapes \(\d+, 1\) and \(\d+, 1\)"),
    (lambda output, target, weight: ("a", "b"), "ValueError"),
    (lambda output, target: (target[:, 0], output), "TypeError"),
]


@slow
@pytest.mark.parametrize(("function", "words"), BROKEN)
def test_a_broken_loss_is_one_clear_error_before_the_first_step(function: Any, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        train("y", loss=OwnLoss(function), weight="w")


@slow
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda output, target, weight: weight * target[:, 0], "does not require grad"),
        (lambda output, target, weight: (output - target) ** 2, r"shapes \(\d+, 1\)"),
        (lambda output, target, weight: weight * (output - target)[:, 0].detach() ** 2, "RuntimeError"),
        (lambda output, target, weight: weight.numpy(), "failed"),
    ],
)
def test_a_broken_loss_of_pytorch_is_one_clear_error(function: Any, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        train("y", loss=TorchLoss(function), weight="w")


@slow
def test_lists_of_numbers_will_do() -> None:
    def lists(output: Matrix, target: Matrix, weight: Vector) -> Any:
        return tuple(part.tolist() for part in squared(output, target, weight))

    np.testing.assert_array_equal(
        train("y", loss=OwnLoss(lists), epochs=1).W, train("y", loss=OwnLoss(squared), epochs=1).W
    )


def test_a_loss_that_ignores_weights_may_where_there_are_none() -> None:
    rows = Rows(X, np.zeros((300, 0), np.int32), X[:, :1])
    check_loss(OwnLoss(careless), X[:, 1:2], rows)
    with pytest.raises(SettingError, match="ignores weights"):
        check_loss(OwnLoss(careless), X[:, 1:2], Rows(X, rows.codes, rows.targets, np.full(300, 2.0)))


def hinge(output: Matrix, target: Matrix, weight: Vector) -> tuple[Vector, Matrix]:
    sign = 2 * target - 1
    inside = sign * output < 1
    return weight * np.maximum(0, 1 - sign * output)[:, 0], weight[:, np.newaxis] * np.where(inside, -sign, 0)


def test_kinks_are_no_mistakes_wherever_they_lie() -> None:
    targets = RANDOM.integers(0, 2, (64, 1)).astype(float)
    for output in (np.zeros((64, 1)), 2 * targets - 1, np.linspace(-2, 2, 64)[:, np.newaxis]):
        noise = RANDOM.normal(size=(64, 1)) * 1e-4  # check_loss moves outputs too: these are near enough to each other
        rows = Rows(output, np.zeros((64, 0), np.int32), targets)
        check_loss(OwnLoss(hinge, "sigmoid"), output + noise, rows)
        check_loss(OwnLoss(absolute), targets - np.random.default_rng(0).normal(scale=0.1, size=(64, 1)), rows)


def test_a_loss_class_of_one_s_own_is_checked_too() -> None:
    class Mistaken(SquaredError):
        def derivative(self, outputs: Matrix, targets: Matrix) -> Matrix:
            return outputs - targets

    rows = Rows(X, np.zeros((300, 0), np.int32), X[:, :1])
    check_loss(SquaredError(), X[:, 1:2], rows)
    with pytest.raises(SettingError, match="The loss Mistaken of row"):
        check_loss(Mistaken(), X[:, 1:2], rows)


@slow
@pytest.mark.parametrize(
    ("target", "loss"),
    [("y", OwnLoss(squared)), ("z", OwnLoss(logistic, "sigmoid")), ("k", TorchLoss(torch_softmax, "softmax"))],
)
def test_a_model_file_keeps_the_link_and_predicts_without_the_function(
    target: str, loss: OwnLoss, tmp_path: Path
) -> None:
    model = train(target, loss=loss)
    model.save(tmp_path / "own.schuss")
    loaded, pickled = schuss.Model.load(tmp_path / "own.schuss"), pickle.loads(pickle.dumps(model))
    for other in (loaded, pickled):
        np.testing.assert_array_equal(other.predict(FRAME), model.predict(FRAME))
    if target != "y":
        np.testing.assert_array_equal(loaded.predict_proba(FRAME), model.predict_proba(FRAME))
    assert pickled.evaluate(FRAME) == model.evaluate(FRAME)
    with pytest.raises(SettingError, match="A file holds no function: set the model's loss"):
        loaded.evaluate(FRAME)
    loaded.loss = loss
    assert loaded.evaluate(FRAME) == model.evaluate(FRAME)


@slow
def test_an_update_goes_on_with_the_loss_and_needs_its_function(tmp_path: Path) -> None:
    model = train("y", loss=OwnLoss(squared), weight="w")
    updated = schuss.update(model, FRAME, epochs=2, learning_rate=0.01, averaging="none")
    assert isinstance(updated.loss, OwnLoss)
    assert updated.record.scores["test"]["loss"] != model.record.scores["test"]["loss"]
    model.save(tmp_path / "own.schuss")
    with pytest.raises(SettingError, match="A file holds no function"):
        schuss.update(schuss.Model.load(tmp_path / "own.schuss"), FRAME, epochs=2)


@slow
def test_a_loss_must_have_a_link_of_its_task() -> None:
    with pytest.raises(SettingError, match="choose one of identity, log, sigmoid, softmax"):
        OwnLoss(squared, "probit")
    with pytest.raises(SettingError, match="binary means two"):
        train("k", loss=OwnLoss(logistic, "sigmoid"))


class HeavyBall:
    """Momentum, remembered by the object itself."""

    def __init__(self) -> None:
        self.speed: Any = 0.0

    def step(self, W: Vector, gradient: Vector, learning_rate: float, t: int) -> None:
        self.speed = 0.9 * self.speed + gradient
        W -= learning_rate * self.speed


@slow
def test_any_object_with_a_step_is_an_optimizer_and_is_left_as_it_was() -> None:
    mine = HeavyBall()
    expected = train("y", optimizer="momentum", learning_rate=0.01, weight_decay=0.01, clip_norm=1.0)
    for _ in range(2):
        found = train("y", optimizer=mine, learning_rate=0.01, weight_decay=0.01, clip_norm=1.0)
        np.testing.assert_allclose(found.W, expected.W, rtol=0, atol=1e-5)
    assert mine.speed == 0.0
    assert found.record.reasons["optimizer"] == "HeavyBall (chosen by you)"
    estimator = schuss.SchussRegressor(optimizer=mine, hidden=(4,), epochs=2, random_state=0)
    assert estimator.fit(X, FRAME.y).predict(X).shape == (300,)


class Returning:
    def step(self, W: Vector, gradient: Vector, learning_rate: float, t: int) -> Any:
        return W - learning_rate * gradient


class Failing:
    def step(self, W: Vector, gradient: Vector, learning_rate: float, t: int) -> None:
        W -= learning_rate * gradient[: 4 if t == 3 else None]


class OfPyTorch:
    def step(self, closure: Any = None) -> None: ...


class Failure(schuss.Optimizer):
    def step(self, W: Vector, gradient: Vector, vectors: Matrix, learning_rate: float, t: int) -> None:
        raise RuntimeError("no")


@slow
@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (Returning(), "The step of Returning returns something: change W in place"),
        (Failing(), "The optimiser Failing failed at step 3 .ValueError: operands"),
        (OfPyTorch(), "The optimiser OfPyTorch failed at step 1 .TypeError"),
        (Failure(), "The optimiser Failure failed at step 1 .RuntimeError: no"),
        (schuss.Adam, "optimizer is <class"),
        (object(), "optimizer is <object"),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_broken_optimizer_is_one_clear_error(optimizer: Any, words: str, precision: str) -> None:
    with pytest.raises(SettingError, match=words):
        train("y", optimizer=optimizer, precision=precision)
