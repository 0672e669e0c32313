"""Cross-validation: each row is predicted by a model that knew nothing of it."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, root_mean_squared_error

import schuss
from schuss.cross_validation import CrossValidation, with_scores
from schuss.errors import ColumnError, SettingError
from schuss.job import Fold, JobEvent

RANDOM = np.random.default_rng(0)
COUNT = 150
FRAME = pd.DataFrame({"a": RANDOM.normal(size=COUNT), "b": RANDOM.choice(["u", "v"], COUNT)}).assign(
    y=lambda frame: 100 * frame["a"] + RANDOM.normal(size=COUNT),
    word=lambda frame: np.where(frame["a"] > 0.8, "rare", "common"),
    group=RANDOM.integers(0, 30, COUNT),
    w=RANDOM.integers(0, 3, COUNT),
)
FAST: dict[str, Any] = {"hidden": (4,), "epochs": 3, "exclude": ["word", "group", "w"]}


def validated(frame: Any = FRAME, target: str = "y", **settings: Any) -> CrossValidation:
    return schuss.cross_validate(frame, target, **{"folds": 3, **FAST, **settings})


def test_scores_are_those_of_the_predictions_of_each_fold() -> None:
    events: list[JobEvent] = []
    found = validated(observers=[events.append], metrics=["rmse"])
    assert np.bincount(found.fold).tolist() == [50, 50, 50]
    by_fold = [
        root_mean_squared_error(FRAME["y"][found.fold == fold], found.predictions[found.fold == fold])
        for fold in range(3)
    ]
    assert [scores["rmse"] for scores in found.scores] == pytest.approx(by_fold, rel=1e-5)
    assert found.mean["rmse"] == pytest.approx(np.mean(by_fold), rel=1e-5)
    assert found.deviation["rmse"] == pytest.approx(np.std(by_fold, ddof=1), rel=1e-4)
    assert events == [Fold(number, 3, scores) for number, scores in enumerate(found.scores, 1)]
    assert [1 <= epoch <= 3 for epoch in found.best_epochs] == [True] * 3


def test_what_stands_in_rows_of_a_fold_does_not_change_its_model() -> None:
    before = validated()
    other = FRAME.copy()
    held = np.flatnonzero(before.fold == 1)
    other.loc[held, "y"] = 1e6
    other.loc[held[:5], "a"] = 1e9
    other.loc[held[:5], "b"] = "other"
    after = validated(other)
    np.testing.assert_array_equal(after.fold, before.fold)
    np.testing.assert_array_equal(after.predictions[held[5:]], before.predictions[held[5:]])
    assert not np.isclose(after.predictions[before.fold == 0], before.predictions[before.fold == 0]).any()


def test_classes_are_balanced_over_folds_and_predictions_are_labels() -> None:
    found = validated(target="word", exclude=["y", "group", "w"])
    counts = [np.count_nonzero(FRAME["word"][found.fold == fold] == "rare") for fold in range(3)]
    assert max(counts) - min(counts) <= 1
    assert found.predictions.dtype.kind == "U"
    by_fold = [
        accuracy_score(FRAME["word"][found.fold == fold], found.predictions[found.fold == fold]) for fold in range(3)
    ]
    assert [scores["accuracy"] for scores in found.scores] == pytest.approx(by_fold)


def test_groups_are_in_one_fold_and_times_are_predicted_from_earlier_ones() -> None:
    grouped = validated(exclude=["word", "w"], valid_by="group:group")
    assert all(len(set(grouped.fold[FRAME["group"] == group])) == 1 for group in FRAME["group"].unique())
    forwards = validated(exclude=["word", "w"], valid_by="time:group")
    first = forwards.fold < 0
    assert np.isnan(forwards.predictions[first]).all()
    assert not np.isnan(forwards.predictions[~first]).any()
    spans = [FRAME["group"][forwards.fold == fold] for fold in range(-1, 3)]
    assert all(before.max() < after.min() for before, after in itertools.pairwise(spans))


def test_folds_are_the_same_for_any_cut_of_the_files(tmp_path: Path) -> None:
    for name, rows in (("all", slice(None)), ("1", slice(0, 40)), ("2", slice(40, None))):
        FRAME[rows].to_csv(tmp_path / f"{name}.csv", index=False)
    whole = validated(str(tmp_path / "all.csv"))
    cut = validated([str(tmp_path / "1.csv"), str(tmp_path / "2.csv")])
    np.testing.assert_array_equal(whole.fold, cut.fold)
    np.testing.assert_array_equal(whole.predictions, cut.predictions)


def test_rows_that_do_not_count_have_no_fold(tmp_path: Path) -> None:
    frame = FRAME.assign(word=FRAME["word"].where(FRAME.index % 10 > 0, None))
    found = validated(frame, "word", exclude=["y", "group"], weight="w")
    absent = frame["word"].isna() | (frame["w"] == 0)
    np.testing.assert_array_equal(found.fold < 0, absent)
    assert all((found.predictions == None) == absent)  # noqa: E711
    for ending in ("csv", "parquet"):
        path = tmp_path / f"o.{ending}"
        found.save(path)
        written = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
        assert list(written) == ["word", "fold"]
        np.testing.assert_array_equal(written["fold"].isna(), absent)
        np.testing.assert_array_equal(written["word"][~absent], found.predictions[~absent])
    with pytest.raises(SettingError, match="end the name with one of them"):
        found.save(tmp_path / "o.txt")


def test_several_targets_are_predicted_side_by_side() -> None:
    found = schuss.cross_validate(FRAME, ["y", "a"], folds=2, **FAST)
    assert found.predictions.shape == (COUNT, 2)
    assert "rmse of a" in found.mean


def test_the_record_of_a_model_tells_what_cross_validation_found() -> None:
    found = validated()
    record = with_scores(schuss.train(FRAME, "y", test=0.0, **FAST).record, found)
    assert list(record.scores) == ["validation", "cross-validation", "deviation between folds"]
    assert record.scores["cross-validation"] == found.mean


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"folds": 1}, SettingError, "from 2 to 100"),
        ({"folds": 76}, SettingError, "150 rows are too few for 76 folds"),
        ({"folds": 31, "exclude": ["word"], "valid_by": "group:group"}, SettingError, "30 groups"),
        ({"folds": 30, "exclude": ["word"], "valid_by": "time:group"}, SettingError, "too few different times"),
        ({"valid_by": "group:nobody"}, ColumnError, "no group column 'nobody'"),
        ({"metrics": ["auc"]}, SettingError, "does not exist for the task regression"),
    ],
)
def test_impossible_folds_are_refused(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        validated(**settings)


def test_an_interruption_ends_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        validated(interrupted=lambda: True)
