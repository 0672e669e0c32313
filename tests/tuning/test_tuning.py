"""The search: what it promises of trials, of the model, of its folder, and of a kill."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss.errors import DivergedError, RunError, SettingError
from schuss.job import fit
from schuss.training.events import Epoch
from schuss.tuning.trials import Trial, Tuning
from schuss.tuning.tuning import Begun, Trying

RANDOM = np.random.default_rng(0)
COUNT = 200
FRAME = pd.DataFrame({"a": RANDOM.normal(size=COUNT), "b": RANDOM.choice(["u", "v"], COUNT)}).assign(
    y=lambda frame: 100 + np.sin(3 * frame["a"]) + (frame["b"] == "u") + 0.1 * RANDOM.normal(size=COUNT)
)
FAST: dict[str, Any] = {"epochs": 3, "exclude": (), "members": 1}


def tuned(table: Any = FRAME, **given: Any) -> Tuning:
    return schuss.tune(table, "y", **{"trials": 8, **FAST, **given})


@pytest.fixture(scope="module")
def found() -> Tuning:
    return tuned()


def told(trials: Any) -> list[Any]:
    """Trials without what depends on the clock."""
    return [(each.settings, each.outcome, each.score, dict(each.scores), each.epochs) for each in trials]


def test_the_same_seed_gives_the_same_trials_and_another_gives_others(found: Tuning) -> None:
    assert told(tuned().trials) == told(found.trials)
    assert told(tuned(seed=1, trials=2).trials)[1][0] != told(found.trials)[1][0]


def test_the_first_trial_is_what_the_recipe_takes(found: Tuning) -> None:
    model = schuss.train(FRAME, "y", **FAST)
    assert found.trials[0].settings == {}
    assert all(each.settings for each in found.trials[1:])
    assert found.trials[0].score == pytest.approx(model.record.scores["validation"]["loss"], rel=1e-6)


def test_the_model_is_trained_with_the_settings_of_the_best_trial(found: Tuning) -> None:
    best = found.best
    assert best.score == min(each.score for each in found.trials if each.score is not None)
    alone = schuss.train(FRAME, "y", **{**FAST, **best.settings})
    np.testing.assert_array_equal(found.model.W, alone.W)
    assert found.model.record.scores == alone.record.scores
    assert found.model.record.scores["validation"]["loss"] == pytest.approx(best.score, rel=1e-6)


def test_greater_is_better_where_the_metric_says_so() -> None:
    found = tuned(metric="r2", trials=4)
    assert found.best.score == max(each.score for each in found.trials if each.score is not None)
    assert found.shown == "r2"


def test_rows_are_read_once_and_test_rows_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def watched(prepared: Any, *given: Any, **named: Any) -> Any:
        seen.append(prepared)
        return fit(prepared, *given, **named)

    monkeypatch.setattr("schuss.tuning.tuning.fit", watched)
    tuned(trials=3)
    assert [each.test is not None for each in seen] == [False, False, False, True]
    assert len({id(each.training.rows) for each in seen}) == 1  # which lie in memory once
    assert len({id(each.training) for each in seen}) == 4  # with orders of their own


def test_what_is_given_is_not_searched() -> None:
    found = tuned(hidden=(4,), dropout=0.1, numeric="robust", optimizer="adamw(learning_rate=0.01)", trials=3)
    searched = {name for each in found.trials for name in each.settings}
    assert searched == {"activation", "batch_size", "schedule", "averaging"} & searched
    assert "batch_size" in searched
    assert found.model.network.hidden == (4,)


def test_trials_at_the_same_time_are_as_if_they_were_alone() -> None:
    found = tuned(workers=2, trials=5)
    assert sorted(each.number for each in found.trials) == [1, 2, 3, 4, 5]
    assert len({str(each.settings) for each in found.trials}) == 5
    for each in found.trials:
        if each.outcome == "completed":
            events: list[Any] = []
            schuss.train(FRAME, "y", observers=[events.append], **{**FAST, **each.settings})
            alone = min(event.scores["loss"] for event in events if isinstance(event, Epoch))
            assert each.score == pytest.approx(alone, rel=1e-6)


def test_the_model_has_as_many_networks_as_the_recipe_takes() -> None:
    model = tuned(trials=1, members=None).model
    np.testing.assert_array_equal(model.W, schuss.train(FRAME, "y", **{**FAST, "members": None}).W)
    assert model.members == 4


def test_time_is_left_to_train_every_network(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def tick(event: object) -> None:
        nonlocal now
        now += isinstance(event, Trying)

    monkeypatch.setattr("schuss.tuning.tuning.time", SimpleNamespace(monotonic=lambda: now))
    found = tuned(trials=None, minutes=0.5, members=4, observers=[tick])
    assert 1 < len(found.trials)
    assert found.trials[-1].at < 30 - 3 * found.best.seconds


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(found: Tuning, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def killed(event: object) -> None:
        if isinstance(event, Trying) and event.number == 5:
            raise KilledError

    table = tmp_path / "t.csv"
    FRAME.to_csv(table, index=False)
    with pytest.raises(KilledError):
        tuned(table, run=tmp_path / "s", observers=[killed])
    assert len(json.loads((tmp_path / "s/trials.json").read_text())) == 4
    again = schuss.tune(run=tmp_path / "s", resume=True, trials=8)
    assert told(again.trials) == told(found.trials)
    np.testing.assert_array_equal(again.model.W, found.model.W)
    kept = json.loads((tmp_path / "s/trials.json").read_text())
    assert [each["score"] for each in kept] == [each.score for each in again.trials]
    assert (tmp_path / "s/trials.svg").read_text().startswith("<svg")


def test_the_run_of_the_best_trial_is_an_ordinary_one(tmp_path: Path) -> None:
    events: list[object] = []
    found = tuned(run=tmp_path / "s", trials=4, observers=[events.append])
    run = tmp_path / "s" / f"trial-{found.best.number}"
    again = schuss.train(FRAME, "y", config=run / "config.toml")
    np.testing.assert_array_equal(again.W, found.model.W)
    np.testing.assert_array_equal(schuss.Model.load(run / "model.schuss").W, found.model.W)
    assert isinstance(events[0], Begun)
    assert [event for event in events if isinstance(event, Trial)] == list(found.trials)
    once_more = tuned(run=tmp_path / "s", resume=True, trials=4, observers=[events.append])
    np.testing.assert_array_equal(once_more.model.W, found.model.W)
    assert isinstance(events[-2], Begun)  # nothing was trained


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no search"):
        tuned(run=tmp_path / "s", resume=True)
    tuned(run=tmp_path / "s", trials=1)
    with pytest.raises(RunError, match="already"):
        tuned(run=tmp_path / "s", trials=1)

    def again(event: object) -> None:
        with pytest.raises(RunError, match="another process"):
            tuned(run=tmp_path / "s", resume=True)

    tuned(run=tmp_path / "s", resume=True, trials=1, observers=[again])
    with pytest.raises(RunError, match="epochs: 3 → 4"):
        tuned(run=tmp_path / "s", resume=True, trials=1, epochs=4)
    with pytest.raises(RunError, match="digest"):
        tuned(FRAME[::-1], run=tmp_path / "s", resume=True, trials=1)
    (tmp_path / "s/trials.json").write_text("[{}]")
    with pytest.raises(RunError, match="damaged"):
        tuned(run=tmp_path / "s", resume=True, trials=2)
    with pytest.raises(RunError, match="other things"):
        tuned(run=tmp_path, trials=1)


def test_a_score_that_is_not_a_number_is_left_out(tmp_path: Path) -> None:
    for resume in (False, True):
        found = tuned(run=tmp_path / "s", resume=resume, trials=1, validation=FRAME[:1])
        assert "r2" not in found.best.scores
        assert "rmse" in found.best.scores


def test_an_interruption_keeps_what_was_found() -> None:
    ended: list[object] = []

    def tell(event: object) -> None:
        if isinstance(event, Trial):
            ended.append(event)

    found = tuned(observers=[tell], interrupted=lambda: len(ended) >= 2)
    assert len(found.trials) == 2
    assert found.model.record.outcome == "completed"
    with pytest.raises(KeyboardInterrupt):
        tuned(interrupted=lambda: True)


def test_the_first_trial_is_done_however_short_the_time_is() -> None:
    found = tuned(trials=None, minutes=1e-9)
    assert [each.settings for each in found.trials] == [{}]
    assert found.trials[0].outcome == "completed"


def test_an_error_ends_a_trial_but_not_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(prepared: Any, settings: Any, **given: Any) -> Any:
        if settings.learning_rate is not None:
            raise DivergedError("too far")
        return fit(prepared, settings, **given)

    monkeypatch.setattr("schuss.tuning.tuning.fit", failing)
    found = tuned(trials=3)
    assert [each.outcome for each in found.trials] == ["completed", "too far", "too far"]
    with pytest.raises(DivergedError, match="too far"):
        tuned(trials=3, learning_rate=0.1)


def test_what_cannot_be_searched_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ({"minutes": 0}, {"minutes": float("nan")}, {"trials": 0}, {"workers": 1.5}, {"resume": True}):
        with pytest.raises(SettingError):
            schuss.tune("no such table.csv", "y", **given)
    with pytest.raises(SettingError, match="validation"):
        tuned(validation=0.0)
    with pytest.raises(SettingError, match="lbfgs"):
        tuned(optimizer="lbfgs")
    with pytest.raises(SettingError, match="no target"):
        schuss.tune(FRAME)
    every = {"learning_rate": 0.01, "weight_decay": 0.1, "batch_size": 8, "schedule": "cosine", "averaging": "ema"}
    with pytest.raises(SettingError, match="Nothing is left"):
        tuned(hidden=(), validation=0.2, **every)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingError, match=r"pip install 'schuss\[tune\]'"):
        schuss.tune("no such table.csv", "y")


def test_the_best_few_are_told_and_the_recipes_own_among_them(found: Tuning) -> None:
    lines = str(found).splitlines()
    assert lines[0].split()[:3] == ["trial", "validation", "rmse"]
    assert lines[1].split()[0] == str(found.best.number)
    assert sum("the recipe's own choice" in line for line in lines) == 1
    assert "best validation rmse so far" in found.svg()
