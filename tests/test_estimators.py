"""The estimators: scikit-learn's own contract, and what goes beyond it."""

import inspect
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import schuss
from schuss import Adam, LayerNorm, SchussClassifier, SchussRegressor
from schuss.descent import Nesterov
from schuss.descent.schedules import Cosine
from schuss.errors import DataError, RunError, SettingError
from schuss.losses import Huber
from schuss.preparing import Prepared
from schuss.settings import Settings
from schuss.training import pace
from schuss.training.events import Epoch, Finished

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 3))
Y = X @ [1.0, -2.0, 0.5] + 3

EXPECTED_FAILURES = dict.fromkeys(
    ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"),
    "mini-batches: a row of weight 2 is met once, a row that stands twice is met in two places of the order; the "
    "checks pass for full-batch descent, which is checked below",
)


@pytest.mark.filterwarnings("ignore:Every row has the same class")
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [SchussRegressor(), SchussClassifier()], expected_failed_checks=lambda _: EXPECTED_FAILURES, xfail_strict=True
)
def test_contract_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.filterwarnings("ignore:Every row has the same class")
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        each(hidden=(), **settings)
        for each in (SchussRegressor, SchussClassifier)
        for settings in (
            {"optimizer": "lbfgs", "precision": "float64"},
            {
                "optimizer": "gradient_descent",
                "learning_rate": 0.1,
                "batch_size": 4096,
                "epochs": 500,
                "precision": "float64",
            },
        )
    ]
)
def test_contract_of_scikit_learn_with_full_batches_and_no_exception(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("estimator", [SchussRegressor, SchussClassifier])
def test_parameters_have_the_names_and_defaults_of_the_settings(estimator: type) -> None:
    parameters = {name: each.default for name, each in inspect.signature(estimator).parameters.items()}
    own = {
        "random_state": None,
        "n_jobs": None,
        "validation": None,
        "valid_by": None,
        "class_weight": None,
        "callbacks": None,
        "run": None,
        "resume": False,
        "verbose": False,
        "warm_start": False,
    }
    expected = {name: item.default for name, item in Settings.__dataclass_fields__.items()}
    assert parameters == {name: value for name, value in expected.items() if name not in ("seed", "threads")} | own


def test_linear_regressor_in_float32_reaches_the_least_squares_loss() -> None:
    features, y = load_diabetes(return_X_y=True)
    trained = SchussRegressor(
        hidden=(), optimizer=Nesterov(momentum=0.99), learning_rate=0.01, batch_size=442, epochs=3000, validation=0.0
    ).fit(features, y)
    design = np.hstack([features, np.ones((len(y), 1))])
    least = np.mean((y - design @ np.linalg.lstsq(design, y)[0]) ** 2)
    assert np.mean((y - trained.predict(features)) ** 2) - least < 1e-6 * y.var()


def test_a_linear_regressor_comes_close_to_least_squares_by_default() -> None:
    features, y = load_diabetes(return_X_y=True)
    design = np.hstack([features, np.ones((len(y), 1))])
    least = np.mean((y - design @ np.linalg.lstsq(design, y)[0]) ** 2)
    trained = SchussRegressor(hidden=(), random_state=0).fit(features, y)
    assert np.mean((y - trained.predict(features)) ** 2) < 1.005 * least


def test_logistic_classifier_in_float32_reaches_the_penalised_optimum_of_scikit_learn() -> None:
    features, y = load_breast_cancer(return_X_y=True)
    features = StandardScaler().fit_transform(features)
    penalty, count = 0.01, len(y)
    trained = SchussClassifier(
        hidden=(),
        l2=penalty,
        optimizer=Nesterov(momentum=0.95),
        learning_rate=0.02,
        batch_size=count,
        epochs=3000,
        validation=0.0,
    ).fit(features, y)
    reference = LogisticRegression(C=1 / (penalty * count), tol=1e-12, max_iter=100_000).fit(features, y)

    def cost(probability: Any, weights: Any) -> float:
        of_class = np.where(y == 1, probability, 1 - probability)
        return float(-np.log(of_class).mean() + 0.5 * penalty * np.sum(np.square(weights, dtype=np.float64)))

    reached = cost(trained.predict_proba(features)[:, 1], trained.model_.network.weights(trained.model_.W, "output"))
    assert reached - cost(reference.predict_proba(features)[:, 1], reference.coef_) < 1e-6


def test_default_estimators_learn_real_tables() -> None:
    features, y = load_iris(return_X_y=True)
    assert cross_val_score(SchussClassifier(random_state=0), features, y, cv=3).mean() > 0.9
    features, y = load_diabetes(return_X_y=True)
    assert cross_val_score(SchussRegressor(random_state=0), features, y, cv=3).mean() > 0.3


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_frames_with_categories_booleans_and_gaps_are_taken(library: Any) -> None:
    kind = RANDOM.choice(["a", "b", "c"], 300)
    known = RANDOM.random(300) < 0.8
    table = {"x": [float(i) if k else None for i, k in enumerate(known)], "kind": kind, "flag": known}
    frame, y = library(table), np.where(kind == "b", 10.0, 0.0) + known
    trained = SchussRegressor(hidden=(16,), weight_decay=0.0, random_state=0).fit(frame, y)
    assert trained.score(frame, y) > 0.95
    assert list(trained.feature_names_in_) == ["x", "kind", "flag"]


def test_several_numbers_are_predicted_at_once() -> None:
    y = np.column_stack([Y, -1000 * Y])
    trained = SchussRegressor(hidden=(), learning_rate=0.05, random_state=0).fit(X, y)
    assert trained.predict(X).shape == (200, 2)
    assert trained.score(X, y) > 0.999


def test_rows_of_weight_zero_are_as_if_they_were_not_there() -> None:
    weights = (np.arange(200) % 2).astype(float)
    spoiled = np.where(weights == 0, 1e6, Y)
    settings: dict[str, Any] = {"hidden": (8,), "random_state": 0, "epochs": 20}
    with_zeros = SchussRegressor(**settings).fit(X, spoiled, sample_weight=weights)
    without = SchussRegressor(**settings).fit(X[weights > 0], Y[weights > 0], sample_weight=weights[weights > 0])
    assert (with_zeros.predict(X) == without.predict(X)).all()


def test_weights_pull_the_prediction() -> None:
    same_x, y = np.tile([[1.0], [2.0]], (50, 1)).repeat(2, axis=0), np.array([0.0, 10.0] * 100)
    weights = np.array([3.0, 1.0] * 100)
    trained = SchussRegressor(hidden=(), epochs=200, validation=0.0, random_state=0).fit(same_x, y, weights)
    np.testing.assert_allclose(trained.predict([[1.0], [2.0]]), 2.5, atol=0.2)


def test_weights_count_in_every_call_and_in_the_validation() -> None:
    y = np.array([0.0, 10.0] * 100)
    weights = np.array([3.0, 1.0] * 100)
    same_x = np.tile([[1.0], [2.0]], (50, 1)).repeat(2, axis=0)
    trained = SchussRegressor(hidden=(), learning_rate=0.05, batch_size=200, random_state=0)  # all rows: no noise
    trained.partial_fit(same_x, y)
    for _ in range(100):
        trained.partial_fit(same_x, y, sample_weight=weights)
    np.testing.assert_allclose(trained.predict([[1.0], [2.0]]), 2.5, atol=0.3)
    held_out = (same_x, np.where(weights > 1, y, 1e6), np.where(weights > 1, 1.0, 0.0))
    scores = SchussRegressor(epochs=2, random_state=0).fit(same_x, y, validation_data=held_out).validation_scores_
    assert scores[-1]["loss"] < 1000


def test_a_feature_may_be_called_sample_weight() -> None:
    frame = pd.DataFrame({"sample_weight": X[:, 0], "y": X[:, 1]})
    trained = SchussRegressor(hidden=(), learning_rate=0.05, random_state=0).fit(frame, 2 * X[:, 0])
    assert trained.score(frame, 2 * X[:, 0]) > 0.99


def test_partial_fit_does_not_decay_the_weights_away() -> None:
    trained = SchussRegressor(hidden=(32,), random_state=0)
    for _ in range(200):
        trained.partial_fit(X, Y)
    assert trained.n_epochs_ == 200
    assert trained.score(X, Y) > 0.999


def test_validation_data_choose_the_best_W() -> None:
    trained = SchussRegressor(hidden=(8,), epochs=30, members=1, random_state=0)
    trained.fit(X, Y, validation_data=(X[:50], Y[:50]))
    record = trained.model_.record
    assert record.rows == {"training": 200, "validation": 50}
    assert record.best_epoch == 1 + int(np.argmin([scores["loss"] for scores in trained.validation_scores_]))
    assert len(trained.loss_curve_) == trained.n_epochs_


def test_a_second_fit_on_other_columns_knows_nothing_of_the_first() -> None:
    trained = SchussRegressor(hidden=(8,), epochs=3, random_state=0)
    trained.fit(pd.DataFrame(X, columns=["a", "b", "c"]), Y)
    other = pd.DataFrame({"a": X[:, 0], "new": np.where(X[:, 1] > 0, "up", "down")})
    trained.fit(other, Y, validation_data=(other[:50], Y[:50]))
    fresh = SchussRegressor(hidden=(8,), epochs=3, random_state=0).fit(other, Y, validation_data=(other[:50], Y[:50]))
    assert (trained.predict(other) == fresh.predict(other)).all()


def test_going_on_finds_a_constant_feature_called_as_the_target() -> None:
    frame = pd.DataFrame({"y": 1.0, "sample_weight": 2.0, "x": X[:, 0]})
    trained = SchussRegressor(hidden=(), random_state=0).partial_fit(frame, Y).partial_fit(frame, Y)
    assert trained.n_epochs_ == 2


def test_partial_fit_goes_on_from_the_raw_W_and_keeps_its_average() -> None:
    settings: dict[str, Any] = {"hidden": (8,), "members": 1, "random_state": 0}
    averaged, plain = (SchussRegressor(averaging=averaging, **settings) for averaging in ("ema", "none"))
    for _ in range(3):
        averaged.partial_fit(X, Y)
        plain.partial_fit(X, Y)
    assert (averaged._states[0].engine.W == plain.model_.W).all()
    assert (averaged.model_.W != plain.model_.W).any()


@pytest.mark.parametrize("kind", [SchussRegressor, SchussClassifier])
def test_partial_fit_keeps_its_network_for_any_number_of_rows(kind: Any) -> None:
    """Another number of them would make another network from the start: more bins, wider layers."""
    trained, network = kind(random_state=0), None
    for rows in (100, 250, 6000):
        x = np.random.default_rng(rows).normal(size=(rows, 3))
        trained.partial_fit(x, x[:, 0] > 0 if kind is SchussClassifier else x[:, 0])
        network = network or trained.model_.network
        assert trained.model_.network == network
    assert trained.model_.record.reasons["hidden"].endswith("(the model's)")
    assert kind(random_state=0).fit(x, x[:, 0] > 0).model_.network != network


def test_partial_fit_trains_on_what_it_is_given_with_the_scale_of_the_first_call() -> None:
    trained = SchussRegressor(hidden=(), learning_rate=0.05, random_state=0)
    for _ in range(40):
        trained.partial_fit(X, Y)
    assert trained.score(X, Y) > 0.99
    mean = trained.model_.encoding.schema.target.mean
    trained.partial_fit(X, Y + 100)
    assert trained.model_.encoding.schema.target.mean == mean


def test_partial_fit_knows_classes_that_come_later() -> None:
    labels = np.where(X[:, 0] > 0, "up", "down")
    trained = SchussClassifier(hidden=(), learning_rate=0.05, random_state=0)
    for row in range(0, 40, 2):
        trained.partial_fit(X[row : row + 2], labels[row : row + 2], classes=["up", "down", "never"])
    for _ in range(60):
        trained.partial_fit(X, labels)
    assert trained.classes_.tolist() == ["down", "never", "up"]
    assert trained.score(X, labels) > 0.9
    with pytest.raises(ValueError, match="none of the classes"):
        trained.partial_fit(X[:1], ["sideways"])


def test_warm_start_goes_on_and_a_fresh_fit_starts_again() -> None:
    settings: dict[str, Any] = {"hidden": (8,), "epochs": 3, "random_state": 0, "validation": 0.0}
    warm = SchussRegressor(warm_start=True, **settings).fit(X, Y)
    first = warm.model_.W.copy()
    cold = SchussRegressor(**settings).fit(X, Y)
    assert (cold.model_.W == first).all()
    assert (cold.fit(X, Y).model_.W == first).all()
    before = warm.score(X, Y)
    assert warm.fit(X, Y).score(X, Y) > before
    for changed in ({"hidden": (5, 3)}, {"hidden": (8,), "optimizer": "momentum"}):
        with pytest.raises(ValueError, match="warm_start=False"):
            warm.set_params(**changed).fit(X, Y)


def test_dropout_and_limits_still_learn_and_predict_without_chance() -> None:
    settings: dict[str, Any] = {"hidden": (32,), "dropout": 0.2, "clip_norm": 1.0, "precision": "float64", "epochs": 40}
    trained = SchussRegressor(random_state=0, **settings).fit(X, Y)
    assert trained.score(X, Y) > 0.9
    assert (trained.predict(X) == trained.predict(X)).all()
    again = SchussRegressor(random_state=0, **settings).fit(X, Y)
    assert (again.model_.W == trained.model_.W).all()


def test_a_typed_group_can_be_cloned_pickled_and_searched() -> None:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SchussRegressor(hidden=(), random_state=0)),
        {"schussregressor__optimizer": [Adam(beta1=0.5), "momentum"]},
        cv=2,
    )
    assert search.fit(X, Y).best_score_ > 0.8
    assert clone(SchussRegressor(optimizer=Adam(beta1=0.5))).optimizer == Adam(beta1=0.5)
    again = pickle.loads(pickle.dumps(search))
    assert (again.predict(X) == search.predict(X)).all()


def test_the_model_inside_predicts_the_same_labels() -> None:
    labels = np.where(X[:, 0] > 0, 7, -3)
    trained = SchussClassifier(hidden=(8,), random_state=0).fit(X, labels)
    frame = pd.DataFrame(X, columns=[f"column_{i + 1}" for i in range(3)])
    assert (trained.model_.predict(frame) == trained.predict(X)).all()
    assert trained.model_.predict(frame).dtype.kind == "i"


def test_fault_15_missing_and_infinite_targets_are_refused() -> None:
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="y contains"):
            SchussRegressor().fit(X, np.where(np.arange(200) == 7, wrong, Y))


def test_fault_15_an_infinite_feature_is_refused() -> None:
    with pytest.raises(ValueError, match="infinity"):
        SchussRegressor().fit(np.where(X == X[0, 0], np.inf, X), Y)
    with pytest.raises(DataError, match="inf"):
        SchussRegressor().fit(pd.DataFrame({"a": np.where(np.arange(200) == 7, np.inf, Y)}), Y)


def test_fault_17_one_row_is_refused_and_two_are_trained_on() -> None:
    with pytest.raises(ValueError, match="1 sample"):
        SchussRegressor().fit(X[:1], Y[:1])
    assert np.isfinite(SchussRegressor(epochs=3).fit(X[:2], Y[:2]).predict(X)).all()


def test_fault_18_a_single_class_is_predicted_always() -> None:
    with pytest.warns(UserWarning, match="same class"):
        trained = SchussClassifier(epochs=2).fit(X, ["same"] * 200)
    assert set(trained.predict(X)) == {"same"}
    assert (trained.predict_proba(X) == 1).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": (0,)},
        {"hidden": "many"},
        {"dropout": 0.1, "hidden": [8, LayerNorm()]},
        {"embedding": -1},
        {"l1": -1},
        {"activation": "rely"},
        {"optimizer": "adamm"},
        {"learning_rate": 0.0},
        {"learning_rate": np.nan},
        {"l2": -1},
        {"batch_size": 0},
        {"epochs": 1.5},
        {"seconds": -1},
        {"patience": 0},
        {"validation": 1.0},
        {"precision": "float8"},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"clip_norm": 0.0},
        {"clip_value": -1.0},
        {"loss": "log_loss"},
        {"schedule": "cosinus"},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        SchussRegressor(**wrong).fit(X, Y)


def test_numbers_of_groups_are_parameters_and_are_searched() -> None:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SchussRegressor(loss="huber", optimizer="adam", epochs=20, random_state=0)),
        {"schussregressor__optimizer__learning_rate": [1e-6, 0.01], "schussregressor__loss__delta": [1.0, 2.0]},
        cv=2,
        n_jobs=2,
    ).fit(X, Y)
    assert search.best_params_["schussregressor__optimizer__learning_rate"] == 0.01
    assert isinstance(search.best_estimator_[-1].loss, Huber)
    alone = SchussRegressor(loss=Huber(search.best_params_["schussregressor__loss__delta"]), epochs=20, random_state=0)
    alone.set_params(optimizer=Adam(learning_rate=0.01))
    assert (search.predict(X) == make_pipeline(StandardScaler(), alone).fit(X, Y).predict(X)).all()


@pytest.mark.parametrize("search", [partial(RandomizedSearchCV, n_iter=2), HalvingGridSearchCV])
def test_other_searches_reach_the_numbers_too(search: Any) -> None:
    chances = {"schedule__final": [0.0, 0.1], "averaging__decay": [0.9, 0.99]}
    estimator = SchussRegressor(hidden=(), epochs=2, schedule="cosine(cycles=2)", averaging="ema", random_state=0)
    found = search(estimator, chances, cv=2, random_state=0).fit(X, Y).best_estimator_
    assert found.schedule == Cosine(cycles=2, final=found.get_params()["schedule__final"])
    assert found.averaging.decay in (0.9, 0.99)


def test_a_changed_number_is_that_of_a_copy() -> None:
    group = Adam(beta1=0.5)
    estimator = SchussRegressor(optimizer=group)
    other = clone(estimator).set_params(optimizer__beta1=0.8)
    assert (group.beta1, estimator.get_params()["optimizer__beta1"], other.optimizer) == (0.5, 0.5, Adam(beta1=0.8))
    assert SchussRegressor().set_params(loss="huber", loss__delta=2).loss == Huber(2)
    assert SchussRegressor(optimizer="adamm").get_params()["optimizer"] == "adamm"


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({}, {"optimizer__learning_rate": 0.1}),
        ({"optimizer": "adam"}, {"optimizer__delta": 1.0}),
        ({"optimizer": "adam"}, {"optimizer__learning_rate": -1.0}),
        ({"loss": "squared_error"}, {"loss__delta": 1.0}),
    ],
)
def test_numbers_that_are_not_there_or_impossible_are_refused(settings: Any, wrong: dict[str, Any]) -> None:
    name, _, number = next(iter(wrong)).partition("__")
    with pytest.raises(SettingError, match=f"{name}|{number}"):
        SchussRegressor(**settings).set_params(**wrong)


def test_callbacks_see_every_event_and_what_they_raise_ends_the_fit() -> None:
    events: list[Any] = []
    trained = SchussRegressor(hidden=(), epochs=5, callbacks=[events.append], random_state=0).fit(X, Y)
    assert [event.loss for event in events if isinstance(event, Epoch)] == trained.loss_curve_
    assert (type(events[0]), type(events[-1])) == (Prepared, Finished)
    for optimizer in ("adam", "lbfgs"):
        threads = threading.active_count()
        with pytest.raises(ZeroDivisionError) as error:
            SchussRegressor(hidden=(), optimizer=optimizer, callbacks=[Stumble(2)]).fit(X, Y)
        assert error.traceback
        assert threading.active_count() == threads


class Stumble:
    """A callback that fails when so many epochs are over."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, event: Any) -> None:
        if isinstance(event, Epoch) and event.epoch == self.epochs:
            raise ZeroDivisionError


def test_a_fit_in_a_folder_goes_on_to_the_same_W(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-3)
    settings: dict[str, Any] = {"hidden": (8,), "members": 1, "dropout": 0.1, "epochs": 12, "random_state": 3}
    undisturbed = SchussRegressor(**settings).fit(X, Y)
    kept: dict[str, Any] = {**settings, "run": tmp_path / "run", "checkpoint_seconds": 0}
    with pytest.raises(ZeroDivisionError):
        SchussRegressor(**kept, callbacks=[Stumble(7)]).fit(X, Y)
    with pytest.raises(RunError, match="holds a run already"):
        SchussRegressor(**kept).fit(X, Y)
    for wrong in ({"hidden": (9,)}, {"random_state": 4}):
        with pytest.raises(RunError, match="not what the run was asked for"):
            SchussRegressor(**{**kept, **wrong}, resume=True).fit(X, Y)
    with pytest.raises(RunError, match="not what the run was trained on"):
        SchussRegressor(**kept, resume=True).fit(X, Y**2)
    seen: list[Any] = []
    for _ in range(2):  # the second time there is nothing left to do
        resumed = SchussRegressor(**kept, resume=True, callbacks=[seen.append]).fit(X, Y)
        assert (resumed.model_.W == undisturbed.model_.W).all()
        assert resumed.loss_curve_ == undisturbed.loss_curve_
        assert resumed.validation_scores_ == undisturbed.validation_scores_
    assert sum(isinstance(event, Epoch) for event in seen) < 12
    with pytest.raises(SettingError, match="folder of a run"):
        SchussRegressor(resume=True).fit(X, Y)


def test_a_run_knows_the_weights_of_classes_that_are_numbers(tmp_path: Path) -> None:
    kept: dict[str, Any] = {"hidden": (), "epochs": 2, "run": tmp_path / "run"}
    first = SchussClassifier(**kept, class_weight={0: 1, 1: 2.5}).fit(X, Y > 3)
    again = SchussClassifier(**kept, class_weight={0: 1, 1: 2.5}, resume=True).fit(X, Y > 3)
    assert (again.model_.W == first.model_.W).all()
    with pytest.raises(RunError, match=r"class_weight: .* 2\.5.* → .* 3"):
        SchussClassifier(**kept, class_weight={0: 1, 1: 3}, resume=True).fit(X, Y > 3)


def test_a_run_without_a_random_state_goes_on_with_the_seed_of_before(tmp_path: Path) -> None:
    kept: dict[str, Any] = {"hidden": (8,), "epochs": 4, "run": tmp_path / "run"}
    first = SchussRegressor(**kept).fit(X, Y)
    assert (SchussRegressor(**kept, resume=True).fit(X, Y).model_.W == first.model_.W).all()
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=Y)
    again = schuss.train(frame, "y", test=0.0, config=tmp_path / "run" / "config.toml")
    assert (again.W == first.model_.W).all()


def test_partial_fit_with_validation_data_keeps_the_best_and_tells_when_patience_is_over() -> None:
    trained = SchussRegressor(hidden=(8,), members=1, patience=3, random_state=0)
    held_out = (X[:50], Y[:50] + RANDOM.normal(size=50))
    for _ in range(200):
        trained.partial_fit(X[50:], Y[50:], validation_data=held_out)
        if trained.model_.record.outcome == "early_stopped":
            break
    losses = [scores["loss"] for scores in trained.validation_scores_]
    calls = trained.n_epochs_
    assert len(losses) == len(trained.loss_curve_) == calls
    assert trained.model_.record.best_epoch == 1 + int(np.argmin(losses)) == calls - 3
    assert trained.evaluate(*held_out)["loss"] == pytest.approx(min(losses))
    plain = SchussRegressor(hidden=(8,), members=1, random_state=0)
    for _ in range(calls):
        plain.partial_fit(X[50:], Y[50:])
    assert (plain._states[0].engine.W == trained._states[0].engine.W).all()
    assert plain.validation_scores_ == []


def test_an_offset_is_given_in_every_call_or_in_none() -> None:
    offset = X[:, 0] * 5
    trained = SchussRegressor(hidden=(), learning_rate=0.05, random_state=0)
    for _ in range(60):
        trained.partial_fit(X, Y + offset, offset=offset, validation_data=(X, Y + offset, None, offset))
    assert trained.score(X, Y + offset, offset=offset) > 0.99
    assert trained.evaluate(X, Y + offset, offset=offset)["r2"] > 0.99
    with pytest.raises(ValueError, match="with an offset"):
        trained.partial_fit(X, Y)
    with pytest.raises(ValueError, match="validation_data"):
        SchussRegressor().fit(X, Y, validation_data=(X, Y, None, offset))
    with pytest.raises(ValueError, match="without an offset"):
        SchussRegressor(epochs=1, warm_start=True).fit(X, Y).fit(X, Y, offset=offset)


def test_any_rows_are_scored_by_any_metrics() -> None:
    trained = SchussClassifier(hidden=(), epochs=5, metrics=["f1"], random_state=0).fit(X, Y > 3)
    weights = RANDOM.random(200)
    found = trained.evaluate(X, Y > 3, sample_weight=weights)
    assert found["f1"] == pytest.approx(f1_score(Y > 3, trained.predict(X), sample_weight=weights))
    assert trained.evaluate(csr_array(X), Y > 3, metrics=["accuracy"])["accuracy"] == trained.score(X, Y > 3)


@pytest.fixture
def _routing() -> Iterator[None]:
    with config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("_routing")
def test_weights_groups_and_offsets_are_routed() -> None:
    weights, groups, offset = RANDOM.random(200), np.arange(200) // 10, X[:, 1]
    estimator = SchussRegressor(hidden=(), epochs=20, random_state=0, validation=0.2)
    estimator.set_fit_request(sample_weight=True, groups=True, offset=True).set_predict_request(offset=True)
    estimator.set_score_request(sample_weight=True, offset=True)
    metadata = {"sample_weight": weights, "groups": groups, "offset": offset}
    found = cross_validate(
        make_pipeline(StandardScaler().set_fit_request(sample_weight=False), estimator),
        X, Y, cv=GroupKFold(2), params=metadata, return_estimator=True, return_indices=True, error_score="raise",
    )  # fmt: skip
    train, test = found["indices"]["train"][0], found["indices"]["test"][0]
    scaled = StandardScaler().fit(X[train])
    alone = clone(estimator).fit(
        scaled.transform(X[train]), Y[train], weights[train], groups=groups[train], offset=offset[train]
    )
    assert (found["estimator"][0][-1].model_.W == alone.model_.W).all()
    expected = alone.score(scaled.transform(X[test]), Y[test], weights[test], offset[test])
    assert found["test_score"][0] == expected
    routed = found["estimator"][0].predict(X[test], offset=offset[test])
    assert (routed == alone.predict(scaled.transform(X[test]), offset=offset[test])).all()
