"""Ensembles: several networks of one recipe, each judged on rows of its own, whose predictions are averaged."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from children import in_a_child
from click.testing import CliRunner

import schuss
from schuss import Model, SchussClassifier, SchussRegressor, cross_validate, job
from schuss.arrays import Vector
from schuss.cli import cli
from schuss.errors import AbandonedError, DivergedError, RunError, SettingError
from schuss.job import JobEvent, fit
from schuss.losses import LOSSES, CrossEntropy, Focal, Gaussian, Quantile, loss_named
from schuss.preparing import Prepared, make_settings, member_seed, ready, told_apart
from schuss.table.order import TEST
from schuss.training import loop, pace
from schuss.training.events import Epoch, MemberEvent
from schuss.training.run_folder import RunFolder, read_events, send
from schuss.view.runs import summary

RANDOM = np.random.default_rng(0)
COUNT = 400
FRAME = pd.DataFrame(RANDOM.normal(size=(COUNT, 3)), columns=list("abc"))
FRAME["kind"] = RANDOM.choice(["x", "y", "z"], COUNT)
FRAME["y"] = 10 + 5 * FRAME.a * FRAME.b + 3 * (FRAME.kind == "x") + 0.1 * RANDOM.normal(size=COUNT)
FRAME["label"] = np.where(FRAME.a + FRAME.b > 1, "rare", np.where(FRAME.c > 0, "high", "low"))
FRAME["many"] = RANDOM.integers(0, 40, COUNT)
SETTINGS: dict[str, Any] = {"hidden": (8,), "batch_size": 32, "epochs": 8, "learning_rate": 0.02, "members": 3}


def trained(target: str = "y", frame: pd.DataFrame = FRAME, **others: Any) -> Model:
    return schuss.train(frame, target, exclude=["y" if target == "label" else "label"], **{**SETTINGS, **others})


def prepared_for(target: str = "y", frame: pd.DataFrame = FRAME, **others: Any) -> Prepared:
    roles, settings = told_apart({"exclude": ["y" if target == "label" else "label"], **SETTINGS, **others})
    return ready(frame, target, make_settings(settings), roles)


def each(model: Model) -> list[Model]:
    """A model of each member alone."""
    return [Model(model.encoding, model.network, model.loss, W, model.record) for W in np.atleast_2d(model.W)]


def same(one: Model, other: Model) -> bool:
    return np.array_equal(one.W, other.W) and one.record.scores == other.record.scores


@pytest.fixture(scope="module")
def model() -> Model:
    return trained()


def test_one_member_is_a_training_as_ever() -> None:
    one = trained(members=1, effort="fast")
    assert one.W.shape == (one.network.parameters,)
    assert one.members == 1
    assert same(one, trained(members=None, effort="fast"))


def test_the_prediction_is_the_mean_of_those_of_the_members(model: Model) -> None:
    assert model.W.shape == (3, model.network.parameters)
    assert model.members == 3
    own = [member.predict(FRAME) for member in each(model)]
    assert model.predict(FRAME) == pytest.approx(np.mean(own, axis=0), rel=1e-6)
    assert model.spread(FRAME) == pytest.approx(np.std(own, axis=0, ddof=1), rel=1e-4)
    assert model.spread(FRAME).min() > 0
    assert model.predict(FRAME[5:6]) == model.predict(FRAME)[5]


def test_probabilities_are_averaged_and_the_class_is_their_greatest() -> None:
    model = trained("label")
    own = [member.predict_proba(FRAME) for member in each(model)]
    assert model.predict_proba(FRAME) == pytest.approx(np.mean(own, axis=0), rel=1e-5)
    assert (model.predict(FRAME) == np.array(model.classes)[np.mean(own, axis=0).argmax(axis=1)]).all()
    assert model.spread(FRAME) == pytest.approx(np.std(own, axis=0, ddof=1), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_averaged_outputs_mean_the_average_of_what_the_outputs_mean(name: str) -> None:
    loss = loss_named("quantile(levels=[0.1, 0.5, 0.8])" if name == "quantile" else name)
    count = 3 if isinstance(loss, Quantile | CrossEntropy | Focal) else 2 if isinstance(loss, Gaussian) else 1
    outputs = RANDOM.normal(size=(4, 50, count)) * 3
    wanted = np.mean([loss.prediction(own) for own in outputs], axis=0)
    assert loss.prediction(loss.averaged(outputs)) == pytest.approx(wanted, rel=1e-9)


def test_the_spread_of_gaussians_is_that_of_their_mixture() -> None:
    loss, outputs = Gaussian(), RANDOM.normal(size=(3, 20, 2))
    drawn = RANDOM.normal(outputs[:, :, :1], np.stack([loss.spread(own) for own in outputs]), (3, 20, 100_000))
    assert loss.spread(loss.averaged(outputs))[:, 0] == pytest.approx(drawn.std(axis=(0, 2)), rel=0.01)


def test_a_single_network_has_no_spread() -> None:
    single = trained(members=1, epochs=1)
    with pytest.raises(SettingError, match="members=2"):
        single.spread(FRAME)


def test_W_does_not_depend_on_threads(model: Model) -> None:
    assert same(trained(threads=1), model)
    assert same(trained(threads=2), model)


def test_members_that_share_their_rows_have_orders_of_their_own() -> None:
    settings: dict[str, Any] = {"validation": 0.0, "hidden": (128, 128), "epochs": 20}
    one = trained(**settings, threads=1)
    assert all((trained(**settings, threads=2).W == one.W).all() for _ in range(3))


def test_each_member_is_validated_on_other_rows_and_trained_on_the_rest() -> None:
    prepared = prepared_for("label")
    assert prepared.folds is not None
    assert np.bincount(prepared.folds + 1).tolist() == [240, 40, 40, 40]
    assert prepared.rows == {"training": 320, "validation": 40, "test": 40}
    for number in range(3):
        own = prepared.member(number)
        assert (len(own.training), len(own.validation or ())) == (320, 40)
        counts = np.bincount(prepared.training.rows.targets[prepared.folds == number, 0].astype(int))  # type: ignore[attr-defined]
        whole = np.bincount(prepared.training.rows.targets[:, 0].astype(int)) / 9  # type: ignore[attr-defined]
        assert abs(counts - whole).max() <= 1
        (validated,) = own.validation.blocks()  # type: ignore[union-attr]
        seen = np.concatenate([rows.features for rows in own.training.blocks()])
        assert not {row.tobytes() for row in validated.features} & {row.tobytes() for row in seen}
    assert prepared_for(members=8, validation=0.5).rows["validation"] == 45


def test_a_member_is_what_a_single_training_on_its_rows_is(model: Model) -> None:
    prepared, settings = prepared_for(), make_settings(SETTINGS)
    for number in range(3):
        own = prepared.member(number)
        own = replace(own, recipe=replace(own.recipe, chosen={**own.recipe.chosen, "members": 1}))
        alone, _ = fit(own, replace(settings, members=1, seed=member_seed(0, number)))
        assert (alone.W == model.W[number]).all()


def test_scores_are_the_mean_over_the_members_and_those_of_the_average(model: Model) -> None:
    prepared = prepared_for()
    losses = []
    for number, alone in enumerate(each(model)):
        rows = prepared.member(number).validation.rows  # type: ignore[union-attr]
        losses.append(np.mean((alone.outputs_of(rows)[:, 0] - rows.targets[:, 0]) ** 2))
    deviation = model.encoding.schema.target.deviation[0]
    assert model.record.scores["validation"]["loss"] == pytest.approx(np.mean(losses) * deviation**2, rel=1e-5)
    test = prepared.test.rows  # type: ignore[union-attr]
    loss = np.mean((model.outputs_of(test)[:, 0] - test.targets[:, 0]) ** 2) * deviation**2
    assert model.record.scores["test"]["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("others", [
    {"validation": 0.0}, {"validation": FRAME[:50]}, {"valid_by": "time:many"}, {"memory": "5kB"},
])  # fmt: skip
def test_members_share_rows_where_they_cannot_take_turns_and_differ_by_seed(
    others: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path))
    prepared, single = prepared_for(**others), prepared_for(**others, members=1)
    assert prepared.folds is None
    assert prepared.rows == single.rows
    assert prepared.training.digest() == single.training.digest()
    if prepared.validation and single.validation:
        assert prepared.validation.digest() == single.validation.digest()
    model = trained(**others)
    assert model.members == 3
    assert (model.W[0] == trained(**others, members=1).W).all()
    assert (model.W[0] != model.W[1]).any()


def test_a_group_is_validated_by_one_member_as_a_whole() -> None:
    prepared = prepared_for(valid_by="group:many", keep_valid_by=True)
    place = prepared.encoding.feature_names.index("many")
    groups = prepared.training.rows.features[:, place]  # type: ignore[attr-defined]
    assert prepared.folds is not None
    assert set(prepared.folds.tolist()) == {-1, 0, 1, 2}
    for group in np.unique(groups):
        assert len(set(prepared.folds[groups == group].tolist())) == 1


def test_class_weights_leave_the_validation_scores_as_they_are() -> None:
    prepared = prepared_for("label", class_weight={"rare": 50.0})
    for number in range(3):
        assert prepared.member(number).validation.rows.weights is None  # type: ignore[union-attr]
    weighted = FRAME.assign(weight=RANDOM.uniform(1, 2, COUNT).round(3))
    prepared = prepared_for("label", weighted, class_weight={"rare": 50.0}, weight="weight")
    weights = prepared.member(1).validation.rows.weights  # type: ignore[union-attr]
    assert 0.99 < weights.min() <= weights.max() < 2.01


def test_a_saved_ensemble_predicts_the_same(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.schuss")
    loaded = Model.load(tmp_path / "m.schuss")
    assert loaded.members == 3
    assert same(loaded, model)
    assert (loaded.predict(FRAME) == model.predict(FRAME)).all()
    assert loaded.evaluate(FRAME) == model.evaluate(FRAME)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("target", ["y", "label"])
def test_the_best_constant_is_kept_where_no_W_is_better(members: int, target: str) -> None:
    noise = FRAME.assign(y=RANDOM.normal(size=COUNT), label=RANDOM.choice(["x", "y"], COUNT))
    model = trained(target, noise, members=members, learning_rate=2.0, epochs=1)
    assert "the model is that constant" in model.record.notes[-1]
    values = model.predict_proba(noise) if target == "label" else model.predict(noise)[:, np.newaxis]
    assert np.ptp(values, axis=0) == pytest.approx(0, abs=1e-6)
    assert "that constant" not in "".join(trained(target, members=members).record.notes)


def test_one_that_diverges_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    first_W = job._first_W

    def spoilt(lost: int) -> Callable[..., Vector]:
        seeds = [member_seed(0, number) for number in range(lost)]
        return lambda prepared, settings: first_W(prepared, settings) * (1e30 if settings.seed in seeds else 1)

    monkeypatch.setattr(job, "_first_W", spoilt(1))
    events: list[JobEvent] = []
    model = trained(retries=1, observers=[events.append])
    assert model.members == 2
    assert "1 of 3 networks were left out" in model.record.notes[-1]
    assert np.isfinite(model.predict(FRAME)).all()
    monkeypatch.setattr(job, "_first_W", spoilt(3))
    with pytest.raises(DivergedError):
        trained(retries=1)


def test_an_ensemble_is_updated_as_a_whole(model: Model) -> None:
    updated = model.update(FRAME, epochs=2)
    assert updated.W.shape == model.W.shape
    assert updated.record.updates == (360,)
    with pytest.raises(SettingError, match="belongs to the model"):
        model.update(FRAME, members=2)


def test_cross_validation_predicts_with_the_average_of_each_fold() -> None:
    found = cross_validate(FRAME, "y", folds=2, exclude=["label"], **{**SETTINGS, "epochs": 2})
    parts = [np.flatnonzero(found.fold == fold) for fold in (0, 1)]
    assert sorted(map(len, parts)) == [200, 200]
    assert np.isfinite(found.predictions).all()
    assert TEST == 0


# ---- runs ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the clock, at commands and at the checkpoint every few steps."""
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-3)
    monkeypatch.setattr(loop, "_MARKED_STEPS", 5)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "table.csv"
    FRAME.to_csv(path, index=False)
    return path


def go(table: Path, run: Path, **others: Any) -> Model:
    """Begins a run, or goes on with it."""
    if RunFolder(run).holds_run():
        return schuss.train(run=run, resume=True, **others)
    chosen = {**SETTINGS, "checkpoint_seconds": 0, "dropout": 0.1, **others}
    return schuss.train(table, "y", exclude=["label"], run=run, **chosen)


@pytest.mark.usefixtures("short_chunks")
def test_fault_01_an_ensemble_that_is_killed_at_any_moment_goes_on_to_the_same_W(table: Path, tmp_path: Path) -> None:
    undisturbed = go(table, tmp_path / "undisturbed")
    random, kills, started = np.random.default_rng(1), 0, 0
    while kills < 6:
        run = tmp_path / f"run{started}"
        started += 1
        while True:
            child = in_a_child(lambda run=run: go(table, run))  # type: ignore[misc]
            time.sleep(random.uniform(0, 0.3))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0
                break
            kills += 1
        assert same(Model.load(run / "model.schuss"), undisturbed)


@pytest.mark.usefixtures("short_chunks")
def test_an_ensemble_that_is_interrupted_goes_on_and_can_be_repeated(table: Path, tmp_path: Path) -> None:
    undisturbed = go(table, tmp_path / "undisturbed", threads=1)
    looks = iter([False] * 4)
    halted = go(table, tmp_path / "run", threads=1, interrupted=lambda: next(looks, True))
    assert halted.record.outcome == "interrupted"
    config = (tmp_path / "run" / "config.toml").read_bytes()
    assert same(go(table, tmp_path / "run"), undisturbed)
    (tmp_path / "config.toml").write_bytes(config)
    again = schuss.train(config=tmp_path / "config.toml")
    assert np.array_equal(again.W, halted.W)
    assert same(schuss.train(config=tmp_path / "undisturbed" / "config.toml"), undisturbed)


@pytest.mark.usefixtures("short_chunks")
def test_what_is_asked_of_a_run_is_asked_of_every_member(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = iter([("learning_rate", 0.005), ("stop", None)])

    def ask(event: JobEvent) -> None:
        if isinstance(event, MemberEvent) and isinstance(event.event, Epoch) and event.event.epoch in (2, 5):
            for action, value in [next(asked)] if event.number == 1 else []:
                send(run, action, value)

    model = go(table, run, epochs=2000, observers=[ask])
    assert model.record.outcome == "stopped"
    answers = [line["action"] for line in read_events(run) if line["event"] == "steered"]
    assert answers == ["learning_rate", "stop"]
    for number in (1, 2, 3):
        lines = read_events(run / f"member{number}")
        assert [line["action"] for line in lines if line["event"] == "steered"] == ["learning_rate", "stop"]
    assert same(schuss.train(config=run / "config.toml"), model)
    told = summary(run)
    assert told["state"] == "stopped"
    assert told["epoch"] >= 1
    assert told["score"] > 0


@pytest.mark.usefixtures("short_chunks")
def test_a_run_that_is_abandoned_keeps_nothing(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def ask(event: JobEvent) -> None:
        if isinstance(event, MemberEvent) and isinstance(event.event, Epoch) and event.event.epoch == event.number == 1:
            send(run, "abandon")

    with pytest.raises(AbandonedError):
        go(table, run, epochs=2000, observers=[ask])
    assert not (run / "model.schuss").exists()


def test_a_run_of_other_members_is_another_run(table: Path, tmp_path: Path) -> None:
    go(table, tmp_path / "run", epochs=1)
    with pytest.raises(RunError, match="members"):
        schuss.train(run=tmp_path / "run", resume=True, members=2)
    assert go(table, tmp_path / "run").members == 3
    assert schuss.train(run=tmp_path / "run", resume=True, members=2, force=True).members == 2


def test_what_an_observer_raises_ends_all_members() -> None:
    def raising(event: JobEvent) -> None:
        if isinstance(event, MemberEvent):
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        trained(epochs=100_000, patience=100_000, observers=[raising])


# ---- the other doors -----------------------------------------------------------------------------------------------


def test_the_command_line_trains_tells_and_predicts_with_a_spread(table: Path, tmp_path: Path) -> None:
    saved, out = tmp_path / "m.schuss", tmp_path / "p.csv"
    words = ["-t", "y", "-x", "label", "--members", "2", "--epochs", "3", "--hidden", "8", "-o", str(saved)]
    told = CliRunner().invoke(cli, ["train", str(table), *words])
    assert told.exit_code == 0, told.output
    assert "2 networks: " in told.output
    assert "validation 40 (others for each network)" in told.output
    assert "network 2: done at epoch 3" in told.output
    assert "the predictions of 2 of 2 networks are averaged" in told.output
    told = CliRunner().invoke(cli, ["predict", str(saved), str(table), "--spread", "-o", str(out)])
    assert told.exit_code == 0, told.output
    found, model = pd.read_csv(out), Model.load(saved)
    assert found["members' spread of y"].to_numpy() == pytest.approx(model.spread(FRAME), rel=1e-6)
    told = CliRunner().invoke(cli, ["inspect", str(saved)])
    assert "W: 2 networks with " in told.output


def test_estimators_are_ensembles_too() -> None:
    X, y = FRAME[["a", "b", "c"]].to_numpy(), FRAME.y.to_numpy()
    settings: dict[str, Any] = {"hidden": (8,), "epochs": 4, "members": 2, "random_state": 0}
    regressor = SchussRegressor(**settings).fit(X, y)
    assert regressor.model_.members == 2
    assert len(regressor.loss_curve_) == len(regressor.validation_scores_) == regressor.n_epochs_ == 4
    own = [member.predict(X) for member in each(regressor.model_)]
    assert regressor.predict(X) == pytest.approx(np.mean(own, axis=0), rel=1e-6)
    assert regressor.spread(X) == pytest.approx(np.std(own, axis=0, ddof=1), rel=1e-4)
    classifier = SchussClassifier(**settings).fit(X, FRAME.label)
    assert classifier.spread(X).shape == (COUNT, 3)
    assert classifier.predict_proba(X).sum(axis=1) == pytest.approx(1)


def test_an_ensemble_goes_on_from_where_it_was() -> None:
    X, y = FRAME[["a", "b", "c"]].to_numpy(), FRAME.y.to_numpy()
    settings: dict[str, Any] = {"hidden": (8,), "members": 2, "random_state": 0}
    warm = SchussRegressor(**settings, epochs=3, warm_start=True).fit(X, y)
    before = warm.model_.W
    after = warm.fit(X, y).model_.W
    assert after.shape == before.shape
    assert (after != before).any(axis=1).all()
    stepwise = SchussRegressor(**settings)
    for epochs in (1, 2, 3):
        stepwise.partial_fit(X, y)
        assert stepwise.n_epochs_ == len(stepwise.loss_curve_) == epochs
    assert stepwise.model_.members == 2
