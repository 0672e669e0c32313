"""Losses from a table to a model: units, tasks, targets, constants, files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import norm
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    TweedieRegressor,
)
from sklearn.metrics import log_loss, mean_pinball_loss, mean_tweedie_deviance

import schuss
from schuss import Model, SchussClassifier, SchussRegressor
from schuss.arrays import Vector
from schuss.errors import CellError, DataError, SettingError
from schuss.evaluating import Evaluated
from schuss.groups import in_words
from schuss.losses import LOSSES, loss_named
from schuss.model.model import read_for
from schuss.model.predictions import write_predictions

COUNT = 400
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(COUNT, 3))
MEAN = np.exp(0.5 * X[:, 0] - 0.3 * X[:, 1] + 1)
NUMBERS = 100 * X[:, 0] + 30 * RANDOM.normal(size=COUNT) + 1e4
COUNTS = RANDOM.poisson(MEAN).astype(float)
AMOUNTS = RANDOM.gamma(2.0, MEAN / 2)
SUMS = COUNTS * RANDOM.gamma(2.0, 0.5, COUNT)
COLOURS = np.array(["red", "green", "blue"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)]
GENERALISED: dict[str, Any] = {"alpha": 0, "max_iter": 1000}
ANSWERS = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]


def pinball(actual: Vector, predicted: Vector, levels: tuple[float, ...]) -> float:
    parts = predicted.reshape(len(actual), -1).T
    return sum(float(mean_pinball_loss(actual, part, alpha=level)) for part, level in zip(parts, levels, strict=True))


def huber(actual: Vector, predicted: Vector) -> float:
    size = np.abs(actual - predicted)
    return float(np.mean(np.where(size <= 20, size**2 / 2, 20 * (size - 10))))


def smooth(probabilities: Vector, target: Vector) -> float:
    shares = 0.9 * target + 0.05
    return float(-np.mean(shares * np.log(probabilities) + (1 - shares) * np.log(1 - probabilities)))


# Target, and the average loss of a model's predictions in the target's units as others compute it.
CASES: dict[str, tuple[Any, Callable[[Model, Any], float]]] = {
    "squared_error": (NUMBERS, lambda m, t: float(np.mean((NUMBERS - m.predict(t)) ** 2))),
    "absolute_error": (NUMBERS, lambda m, t: float(np.mean(np.abs(NUMBERS - m.predict(t))))),
    "huber(delta=20.0)": (NUMBERS, lambda m, t: huber(NUMBERS, m.predict(t))),
    "quantile(levels=[0.3])": (NUMBERS, lambda m, t: pinball(NUMBERS, m.predict(t), (0.3,))),
    "quantile(levels=[0.1, 0.9])": (NUMBERS, lambda m, t: pinball(NUMBERS, m.predict(t), (0.1, 0.9))),
    "gaussian": (
        NUMBERS,
        lambda m, t: float(-np.mean(norm.logpdf(NUMBERS, m.predict(t), m.predict_spread(t)))),
    ),
    "poisson": (COUNTS, lambda m, t: float(mean_tweedie_deviance(COUNTS, m.predict(t), power=1))),
    "gamma": (AMOUNTS, lambda m, t: float(mean_tweedie_deviance(AMOUNTS, m.predict(t), power=2))),
    "tweedie(power=1.3)": (SUMS, lambda m, t: float(mean_tweedie_deviance(SUMS, m.predict(t), power=1.3))),
    "log_loss": (ANSWERS, lambda m, t: float(log_loss(ANSWERS, m.predict_proba(t)))),
    "log_loss(smoothing=0.1)": (ANSWERS, lambda m, t: smooth(m.predict_proba(t)[:, 1], ANSWERS == "yes")),
    "cross_entropy": (COLOURS, lambda m, t: float(log_loss(COLOURS, m.predict_proba(t), labels=m.classes))),
    "focal(gamma=1.0)": (
        COLOURS,
        lambda m, t: float(np.mean([-(1 - p) * np.log(p) for p in probability_of_class(m, t)])),
    ),
}


def probability_of_class(model: Model, table: Any) -> Vector:
    return np.asarray(model.predict_proba(table)[np.arange(COUNT), np.searchsorted(model.classes, table["y"])])


def table_for(target: Any) -> pd.DataFrame:
    return pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=target)


def test_every_loss_has_a_case() -> None:
    assert {words.partition("(")[0] for words in CASES} == set(LOSSES)


@pytest.mark.parametrize("words", CASES)
def test_the_loss_is_in_the_target_s_units_and_the_model_survives_its_file(words: str, tmp_path: Path) -> None:
    target, expected = CASES[words]
    table = table_for(target)
    model = schuss.train(table, "y", loss=words, hidden=(8,), epochs=3, validation=0.0, test=0.0)
    assert model.evaluate(table)["loss"] == pytest.approx(expected(model, table), rel=1e-5)
    assert model.evaluate(table)["total_loss"] == pytest.approx(COUNT * expected(model, table), rel=1e-5)
    model.save(tmp_path / "m.schuss")
    loaded = Model.load(tmp_path / "m.schuss")
    assert in_words(loaded.loss) == words
    np.testing.assert_array_equal(loaded.predict(table), model.predict(table))


# A target of each task; a new task needs an entry.
TARGETS: dict[str, dict[str, Any]] = {
    "regression": {"y": MEAN},
    "binary": {"y": ANSWERS},
    "multiclass": {"y": COLOURS},
    "multilabel": {"y": ANSWERS == "yes", "z": COUNTS > 2},
}


@pytest.mark.parametrize(("name", "task"), [(name, task) for name in LOSSES for task in LOSSES[name].tasks])
def test_every_loss_learns_every_task_of_its_own_in_both_engines(name: str, task: Any) -> None:
    table, events = table_for(0.0).assign(**TARGETS[task]), list[Any]()
    settings: dict[str, Any] = {"hidden": (), "epochs": 40, "validation": 0.0, "test": table}
    models = [
        schuss.train(
            table, list(TARGETS[task]), loss=name, task=task, precision=kind, observers=[events.append], **settings
        )
        for kind in ("float32", "float64")
    ]
    found, expected = (model.outputs(table) for model in models)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    for event in (event for event in events if isinstance(event, Evaluated)):
        assert event.scores["loss"] < event.constant["loss"]


@pytest.mark.parametrize("words", CASES)
def test_events_tell_the_loss_in_the_same_units(words: str) -> None:
    table = table_for(CASES[words][0])
    kind = SchussRegressor if "regression" in loss_named(words).tasks else SchussClassifier
    estimator = kind(loss=words, hidden=(), epochs=1, batch_size=COUNT, learning_rate=1e-9, validation=0.0)
    estimator.fit(table[["a", "b", "c"]], table["y"])
    (seen,) = estimator.loss_curve_  # of the one step from a W that has hardly moved
    assert seen == pytest.approx(estimator.model_.evaluate(table)["loss"], rel=1e-4)


@pytest.mark.parametrize("words", [words for words in CASES if CASES[words][0] is NUMBERS])
@pytest.mark.parametrize("target", [np.full(COUNT, 7.0), NUMBERS + 1e9], ids=["constant", "far away"])
def test_constant_and_far_targets_are_fine(words: str, target: Vector) -> None:
    found = SchussRegressor(loss=words, hidden=(), epochs=300, batch_size=COUNT, random_state=0).fit(X, target)
    predicted = found.predict(X).reshape(COUNT, -1).mean(axis=1)
    assert np.isfinite(found.loss_curve_).all()
    assert np.abs(predicted - target).mean() < 100


@pytest.mark.parametrize(
    ("words", "target", "other", "score"),
    [
        (
            "poisson",
            COUNTS,
            PoissonRegressor(alpha=0, max_iter=1000),
            lambda a, b: mean_tweedie_deviance(a, b, power=1),
        ),
        ("gamma", AMOUNTS, GammaRegressor(alpha=0, max_iter=1000), lambda a, b: mean_tweedie_deviance(a, b, power=2)),
        (
            "tweedie(power=1.5)",
            SUMS,
            TweedieRegressor(power=1.5, alpha=0, link="log", max_iter=1000),
            lambda a, b: mean_tweedie_deviance(a, b, power=1.5),
        ),
        ("quantile(0.2)", NUMBERS, QuantileRegressor(quantile=0.2, alpha=0), lambda a, b: pinball(a, b, (0.2,))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_linear_model_is_that_of_scikit_learn(words: str, target: Vector, other: Any, score: Any) -> None:
    own = SchussRegressor(loss=words, hidden=(), epochs=100, random_state=0).fit(X, target)
    reached, best = score(target, own.predict(X)), score(target, other.fit(X, target).predict(X))
    assert reached == pytest.approx(best, rel=1e-3)
    constant = np.quantile(target, 0.2) if words.startswith("quantile") else target.mean()
    assert reached < 0.9 * score(target, np.full(COUNT, constant))


@pytest.mark.parametrize("words", CASES)
def test_the_constant_beside_the_scores_is_the_best_one(words: str) -> None:
    if words.startswith("focal"):
        return  # there it is the shares of the classes
    target = CASES[words][0]
    events: list[Any] = []
    table = table_for(target)
    schuss.train(table, "y", loss=words, hidden=(), epochs=1, validation=0.0, test=table, observers=[events.append])
    (found,) = (event.constant["loss"] for event in events if isinstance(event, Evaluated))
    _, places = np.unique(target, return_inverse=True)
    values = (target if target.dtype.kind == "f" else places.astype(float))[:, np.newaxis]
    loss = loss_named(words)
    best = loss.constant(values, np.ones(COUNT))
    assert found == pytest.approx(loss.value(np.tile(best, (COUNT, 1)), values).mean(), rel=1e-4)


def test_delta_is_in_the_target_s_units() -> None:
    small, large = (
        SchussRegressor(loss=f"huber(delta={20 * unit})", hidden=(8,), epochs=5, random_state=0)
        .fit(X, unit * NUMBERS)
        .predict(X)
        / unit
        for unit in (1, 1000)
    )
    np.testing.assert_allclose(small, large, rtol=1e-5)
    other = SchussRegressor(loss="huber(delta=200)", hidden=(8,), epochs=5, random_state=0).fit(X, NUMBERS).predict(X)
    assert np.abs(other - small).max() > 1


def test_several_targets_are_taken_where_the_formula_is_elementwise() -> None:
    table = table_for(COUNTS).assign(z=10 * AMOUNTS)
    model = schuss.train(table, ["y", "z"], loss="poisson", hidden=(), epochs=20)
    predicted = model.predict(table)
    expected = sum(mean_tweedie_deviance(table[n], predicted[:, i], power=1) for i, n in enumerate(("y", "z")))
    assert model.evaluate(table)["loss"] == pytest.approx(expected, rel=1e-5)
    absolute = schuss.train(table, ["y", "z"], loss="absolute_error", hidden=(), epochs=20)
    expected = np.abs(table[["y", "z"]].to_numpy() - absolute.predict(table)).sum(axis=1).mean()
    assert absolute.evaluate(table)["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "task", "target", "named"),
    [
        ("poisson", "binary", "y", "poisson does not fit the task binary"),
        ("cross_entropy", "regression", "y", "use squared_error"),
        ("log_loss", "multiclass", "y", "use cross_entropy, focal"),
        ("gaussian", None, ["y", "z"], "gaussian takes one target"),
        ("focal", None, ["y", "z"], "focal takes one target"),
        ("quantile", "regression", ["y", "z"], "quantile takes one target"),
    ],
)
def test_pairs_that_cannot_work_are_refused_before_a_table_is_read(
    loss: str, task: Any, target: Any, named: str
) -> None:
    with pytest.raises(SettingError, match=named):
        schuss.train("no such file.csv", target, loss=loss, task=task)


def test_estimators_refuse_losses_of_the_other_task() -> None:
    with pytest.raises(SettingError, match="log_loss does not fit the task regression"):
        SchussRegressor(loss="log_loss").fit(X, NUMBERS)
    with pytest.raises(SettingError, match="gamma does not fit the task binary"):
        SchussClassifier(loss="gamma").fit(X, ANSWERS)


def test_a_loss_that_serves_one_task_decides_it() -> None:
    few = table_for(np.minimum(COUNTS, 4).astype(int))
    assert schuss.train(few, "y", epochs=1).encoding.schema.target.task == "multiclass"
    counted = schuss.train(few, "y", loss="poisson", epochs=1).encoding.schema.target
    assert (counted.task, counted.reason) == ("regression", "the loss is poisson")
    many = table_for(np.arange(COUNT) % 25)
    assert schuss.train(many, "y", epochs=1).encoding.schema.target.task == "regression"
    assert schuss.train(many, "y", loss="focal", epochs=1).encoding.schema.target.task == "multiclass"
    two = table_for(np.arange(COUNT) % 2)
    assert schuss.train(two, "y", loss="cross_entropy", epochs=1).encoding.schema.target.task == "binary"
    with pytest.raises(SettingError, match="25 classes"):
        schuss.train(many, "y", loss="log_loss")
    with pytest.raises(SettingError, match="holds text"):
        schuss.train(table_for(COLOURS), "y", loss="gamma")


@pytest.mark.parametrize(("loss", "bad"), [("poisson", -1.0), ("tweedie", -0.5), ("gamma", 0.0)])
def test_a_target_that_the_loss_cannot_take_is_refused_with_its_row(loss: str, bad: float, tmp_path: Path) -> None:
    table = table_for(AMOUNTS)
    table.loc[17, "y"] = bad
    table.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(CellError, match=r"line 19.*'y'"):
        schuss.train(tmp_path / "table.csv", "y", loss=loss)
    with pytest.raises(DataError, match="row 18"):
        SchussRegressor(loss=loss).fit(X, table["y"])  # an array's rows count from 1


def test_targets_of_any_size_are_met_by_a_log_link_from_the_start() -> None:
    far = SchussRegressor(loss="poisson", hidden=(8,), epochs=1, random_state=0).fit(X, 1e6 * MEAN)
    assert np.abs(np.log(far.predict(X) / 1e6)).mean() < 2


def test_quantiles_and_spreads_have_columns_of_their_own(tmp_path: Path) -> None:
    table = table_for(NUMBERS)
    for words, columns in (
        ("quantile(levels=[0.1, 0.9])", ["y at 0.1", "y at 0.9"]),
        ("quantile", ["y"]),
        ("gaussian", ["y", "spread of y"]),
    ):
        model = schuss.train(table, "y", loss=words, hidden=(), epochs=1)
        write_predictions(model, read_for(model.encoding, table, None), tmp_path / "p.parquet")
        written = pd.read_parquet(tmp_path / "p.parquet")
        assert list(written) == columns
        np.testing.assert_array_equal(written[columns[0]], model.predict(table).reshape(COUNT, -1)[:, 0])
    np.testing.assert_array_equal(written["spread of y"], model.predict_spread(table))
    with pytest.raises(SettingError, match="gaussian"):
        schuss.train(table, "y", epochs=1).predict_spread(table)


def test_the_spread_is_learned_where_it_differs() -> None:
    generator = np.random.default_rng(1)
    y = 1e6 + 1000 * np.exp(X[:, 1]) * generator.normal(size=COUNT)
    estimator = SchussRegressor(loss="gaussian", hidden=(), epochs=200, random_state=0).fit(X, y)
    mean, spread = estimator.predict(X, return_std=True)
    assert np.corrcoef(np.log(spread), X[:, 1])[0, 1] > 0.9
    assert 0.7 < np.sqrt(np.mean(((y - mean) / spread) ** 2)) < 1.3


def test_coverage_of_quantiles_is_near_their_levels() -> None:
    table = table_for(NUMBERS)
    scores = schuss.train(table, "y", loss="quantile(levels=[0.1, 0.9])", hidden=(), epochs=60).evaluate(table)
    assert scores["coverage of 0.1"] == pytest.approx(0.1, abs=0.04)
    assert scores["coverage of 0.9"] == pytest.approx(0.9, abs=0.04)
    assert scores["loss"] == pytest.approx(scores["pinball of 0.1"] + scores["pinball of 0.9"])


EXPOSURE = RANDOM.uniform(0.2, 5.0, COUNT)
EXPOSED = {
    "poisson": RANDOM.poisson(EXPOSURE * MEAN).astype(float),
    "gamma": RANDOM.gamma(2.0, EXPOSURE * MEAN / 2),
    "tweedie(power=1.5)": RANDOM.poisson(EXPOSURE * MEAN) * RANDOM.gamma(2.0, 0.5, COUNT),
}


@pytest.mark.parametrize("words", EXPOSED)
def test_an_exposure_is_a_weight_of_the_rate(words: str) -> None:
    """The deviance of y and e μ is eᵃ times that of y / e and μ, a = 2 − p."""
    power = {"poisson": 1.0, "gamma": 2.0}.get(words, 1.5)
    linear: dict[str, Any] = {"loss": words, "hidden": (), "validation": 0.0, "epochs": 100}
    events: list[Any] = []
    table = table_for(EXPOSED[words]).assign(e=EXPOSURE)
    model = schuss.train(table, "y", exposure="e", **linear, test=table, observers=[events.append])
    rates = table_for(EXPOSED[words] / EXPOSURE).assign(w=EXPOSURE ** (2 - power))
    other = schuss.train(rates, "y", weight="w", **linear, test=0.0)
    np.testing.assert_allclose(model.predict(table), EXPOSURE * other.predict(rates), rtol=5e-3)
    (constant,) = (event.constant["loss"] for event in events if isinstance(event, Evaluated))
    rate = np.average(rates["y"], weights=rates["w"])
    assert constant == pytest.approx(mean_tweedie_deviance(table["y"], rate * EXPOSURE, power=power), rel=1e-5)
    by_offset = schuss.train(table.assign(e=np.log(EXPOSURE)), "y", offset="e", **linear, test=0.0)
    np.testing.assert_allclose(by_offset.predict(table.assign(e=np.log(EXPOSURE))), model.predict(table), rtol=1e-4)


@pytest.mark.parametrize("words", [words for words in CASES if CASES[words][0] is NUMBERS])
def test_an_offset_is_in_the_target_s_units(words: str) -> None:
    offset = 1e6 + 500 * np.random.default_rng(3).normal(size=COUNT)
    table = table_for(NUMBERS + offset).assign(known=offset)
    settings: dict[str, Any] = {"loss": words, "hidden": (), "epochs": 200, "validation": 0.0, "test": table}
    events: list[Any] = []
    model = schuss.train(table, "y", offset="known", observers=[events.append], **settings)
    assert "known" not in [column.name for column in model.encoding.schema.columns]
    plain = schuss.train(table_for(NUMBERS), "y", **settings | {"test": 0.0})
    predicted, expected = (model.predict(table).reshape(COUNT, -1).T - offset).T, plain.predict(table)
    assert np.abs(predicted - expected.reshape(COUNT, -1)).mean() < 10
    (found,) = (event for event in events if isinstance(event, Evaluated))
    assert found.scores["loss"] < found.constant["loss"]
    again = model.predict(table.assign(known=offset + 7.0))
    np.testing.assert_allclose(again, model.predict(table) + 7.0, rtol=1e-7)
    with pytest.raises(DataError, match="'known'"):
        model.predict(table.drop(columns="known"))


def test_offsets_reach_every_store_and_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "cache"))
    count = 5000
    generator = np.random.default_rng(4)
    a, offset = generator.normal(size=count), 3 * generator.normal(size=count)
    table = pd.DataFrame({"a": a, "known": offset, "y": generator.poisson(np.exp(np.clip(a + offset, -9, 5)))})
    table.to_csv(tmp_path / "table.csv", index=False)
    scores = []
    for memory in (None, "30KB"):
        model = schuss.train(
            tmp_path / "table.csv", "y", loss="poisson", offset="known", hidden=(), epochs=20, memory=memory
        )
        scores.append(model.record.scores["test"]["loss"])
    assert any("copy on disk" in note for note in model.record.notes)
    assert scores[0] == pytest.approx(scores[1], rel=0.05)


def test_estimators_take_offsets() -> None:
    offset = np.log(EXPOSURE)
    y = EXPOSED["poisson"]
    for features in (X, csr_matrix(X)):
        estimator = SchussRegressor(loss="poisson", hidden=(), epochs=100, random_state=0).fit(
            features, y, offset=offset
        )
        rate = estimator.predict(features, offset=0 * offset)
        np.testing.assert_allclose(estimator.predict(features, offset=offset), EXPOSURE * rate, rtol=1e-5)
        assert np.corrcoef(np.log(rate), np.log(MEAN))[0, 1] > 0.95
        with pytest.raises(ValueError, match="with an offset"):
            estimator.predict(features)
    with pytest.raises(ValueError, match="without an offset"):
        SchussRegressor(epochs=1).fit(X, y).predict(X, offset=offset)
    odds = SchussClassifier(hidden=(), epochs=5, random_state=0).fit(X, ANSWERS, offset=offset)
    shares = odds.predict_proba(X, offset=offset + 1)[:, 1], odds.predict_proba(X, offset=offset)[:, 1]
    before, after = (np.log(share / (1 - share)) for share in shares)
    np.testing.assert_allclose(before - after, 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("loss", "roles", "named"),
    [
        ("squared_error", {"exposure": "e"}, "log link"),
        (None, {"exposure": "e"}, "log link"),
        ("poisson", {"exposure": "e", "offset": "o"}, "an offset and an exposure"),
        ("focal", {"offset": "o"}, "one target, or for two classes"),
    ],
)
def test_offsets_without_sense_are_refused_before_a_table_is_read(loss: Any, roles: Any, named: str) -> None:
    with pytest.raises(SettingError, match=named):
        schuss.train("no such file.csv", "y", loss=loss, **roles)


def test_impossible_offsets_are_refused_by_row_and_role() -> None:
    table = table_for(COUNTS).assign(e=EXPOSURE, text="x")
    table.loc[5, "e"] = 0.0
    with pytest.raises(CellError, match=r"row 6.*exposure in 'e' is 0"):
        schuss.train(table, "y", loss="poisson", exposure="e")
    table.loc[5, "e"] = np.nan
    with pytest.raises(CellError, match="offset in 'e' is missing"):
        schuss.train(table, "y", loss="poisson", offset="e")
    with pytest.raises(DataError, match="'text' holds no numbers"):
        schuss.train(table, "y", loss="poisson", offset="text")
    with pytest.raises(SettingError, match="another role"):
        schuss.train(table, "y", offset="y")
    with pytest.raises(SettingError, match="one target"):
        schuss.train(table_for(COLOURS).assign(e=EXPOSURE), "y", offset="e")


@pytest.mark.parametrize("choice", ["balanced", {"red": 3.0, "blue": 0.5}])
@pytest.mark.parametrize("memory", [None, "8KB"])
def test_a_class_weight_is_a_weight_of_the_rows(
    choice: Any, memory: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path))
    table = table_for(COLOURS).assign(w=EXPOSURE)
    of_class: dict[Any, float] = {"red": 3.0, "blue": 0.5, "green": 1.0}
    if choice == "balanced":
        sums = table.groupby("y")["w"].sum()
        of_class = (sums.sum() / (3 * sums)).to_dict()
    settings: dict[str, Any] = {"hidden": (), "epochs": 100, "validation": 0.0, "test": 0.0, "memory": memory}
    heavy = table.assign(w=table["w"] * table["y"].map(of_class))
    own = schuss.train(table, "y", weight="w", class_weight=choice, **settings)
    other = schuss.train(heavy, "y", weight="w", **settings)
    plain = schuss.train(table, "y", weight="w", **settings)
    away = [np.abs(model.predict_proba(table) - own.predict_proba(table)).mean() for model in (other, plain)]
    assert away[0] < 0.1 * away[1]
    assert own.evaluate(table)["loss"] == pytest.approx(
        log_loss(COLOURS, own.predict_proba(table), sample_weight=EXPOSURE), rel=1e-5
    )


def test_balanced_classes_are_found_alike() -> None:
    rare = np.where(X[:, 0] + RANDOM.normal(size=COUNT) > 1.8, "rare", "usual")
    plain, balanced = (
        SchussClassifier(hidden=(), epochs=60, class_weight=choice, random_state=0).fit(X, rare)
        for choice in (None, "balanced")
    )
    assert (balanced.predict(X) == "rare").sum() > 2 * (plain.predict(X) == "rare").sum()
    reference = LogisticRegression(C=np.inf, class_weight="balanced").fit(X, rare)
    assert np.abs(balanced.predict_proba(X) - reference.predict_proba(X)).max() < 0.02


def test_impossible_class_weights_are_refused() -> None:
    choices: list[Any] = ["even", {"purple": 1.0}, {"red": 0.0}, {"red": "much"}]
    for choice in choices:
        with pytest.raises(SettingError, match="class_weight"):
            schuss.train(table_for(COLOURS), "y", class_weight=choice)
    with pytest.raises(SettingError, match="regression"):
        schuss.train(table_for(NUMBERS), "y", class_weight="balanced")


LABELS = np.stack([X[:, 0] > 0, X[:, 1] + X[:, 0] > 0, X[:, 2] > 1], axis=1)


def test_several_labels_are_learned_at_once(tmp_path: Path) -> None:
    table = pd.DataFrame(X, columns=["a", "b", "c"]).assign(u=LABELS[:, 0], v=LABELS[:, 1], w=LABELS[:, 2])
    names = ["u", "v", "w"]
    model = schuss.train(table, names, task="multilabel", hidden=(), epochs=60)
    predicted, shares = model.predict(table), model.predict_proba(table)
    assert predicted.dtype == np.bool_
    np.testing.assert_array_equal(predicted, shares > 0.5)
    scores = model.evaluate(table)
    assert scores["accuracy"] == pytest.approx((predicted == LABELS).mean())
    assert scores["accuracy of rows"] == pytest.approx((predicted == LABELS).all(axis=1).mean())
    assert scores["accuracy"] > 0.95
    expected = sum(log_loss(LABELS[:, t], shares[:, t]) for t in range(3))
    assert scores["loss"] == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "m.schuss")
    np.testing.assert_array_equal(Model.load(tmp_path / "m.schuss").predict(table), predicted)
    write_predictions(model, read_for(model.encoding, table, None), tmp_path / "p.parquet", probabilities=True)
    assert list(pd.read_parquet(tmp_path / "p.parquet")) == [*names, *(f"probability of {name}" for name in names)]
    assert schuss.train(table, names, loss="log_loss", epochs=1).encoding.schema.target.task == "multilabel"
    truths = table.assign(**{name: table[name].astype(bool) for name in names})
    assert schuss.train(truths, names, epochs=1).encoding.schema.target.task == "multilabel"
    assert schuss.train(truths, names, loss="huber", epochs=1).encoding.schema.target.task == "regression"
    decided = schuss.train(table, names, metric="accuracy of rows", hidden=(), epochs=5, validation=table)
    assert decided.record.best_epoch
    whole = SchussClassifier(hidden=(), epochs=60, random_state=0).fit(X, LABELS.astype(int))
    assert whole.predict_proba(X).shape == (COUNT, 3)
    assert (whole.predict(X) == LABELS).mean() > 0.95


def test_labels_that_are_none_are_refused() -> None:
    with pytest.raises(SettingError, match="take binary"):
        schuss.train(table_for(ANSWERS), "y", task="multilabel")
    table = table_for(COUNTS).assign(z=ANSWERS)
    for name in ("y", "z"):
        with pytest.raises(DataError, match=f"{name!r} holds other values"):
            schuss.train(table.assign(t=X[:, 0] > 0), [name, "t"], task="multilabel")
    with pytest.raises(SettingError, match="focal does not fit the task multilabel"):
        SchussClassifier(loss="focal").fit(X, LABELS.astype(int))
