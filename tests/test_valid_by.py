"""Held-out groups and times, from a table to a model: what is held out, and what the model does not see."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss import SchussClassifier, SchussRegressor
from schuss.errors import CellError, ColumnError, SettingError
from schuss.job import JobEvent
from schuss.preparing import Prepared
from schuss.progress import introduction

RANDOM = np.random.default_rng(0)
COUNT = 400
DAYS = pd.date_range("2024-01-01", periods=100)
FRAME = pd.DataFrame(
    {
        "a": RANDOM.normal(size=COUNT),
        "customer": RANDOM.choice([f"c{number}" for number in range(40)], COUNT),
        "date": RANDOM.choice(DAYS, COUNT),
    }
).assign(y=lambda frame: frame["a"] * 1000)
FAST: dict[str, Any] = {"hidden": (4,), "epochs": 2, "members": 1}


def prepared_of(table: Any, **settings: Any) -> Prepared:
    events: list[JobEvent] = []
    schuss.train(table, "y", observers=[events.append], **{**FAST, **settings})
    assert isinstance(events[0], Prepared)
    return events[0]


def held_out(prepared: Prepared, frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of training, validation and test, which their targets tell apart."""
    target = prepared.encoding.schema.target
    found = []
    for store in (prepared.training, prepared.validation, prepared.test):
        assert store is not None
        values = np.concatenate([rows.targets[:, 0] for rows in store.blocks()])
        values = values.astype(float) * target.deviation[0] + target.mean[0]
        found.append(frame[[np.abs(values - y).min() < 1e-2 for y in frame["y"]]])
        assert len(found[-1]) == len(store)
    return found


def test_groups_are_whole_and_no_feature() -> None:
    prepared = prepared_of(FRAME, valid_by="group:customer", validation=0.2)
    parts = held_out(prepared, FRAME)
    assert sum(part["customer"].nunique() for part in parts) == FRAME["customer"].nunique()
    assert 30 <= len(parts[2]) <= 50
    assert 70 <= len(parts[1]) <= 90
    assert ("customer", "it decides which rows are held out") in prepared.encoding.schema.dropped
    told = "\n".join(introduction(prepared))
    assert "left out: customer (it decides which rows are held out)" in told
    assert "note: groups in customer: " in told


def test_the_latest_rows_are_tested_and_those_before_validated() -> None:
    training, validation, test = held_out(prepared_of(FRAME, valid_by="time:date"), FRAME)
    assert training["date"].max() < validation["date"].min()
    assert validation["date"].max() < test["date"].min()


def test_the_column_is_a_feature_where_that_is_asked_for() -> None:
    names = [column.name for column in prepared_of(FRAME, valid_by="time:date").encoding.schema.columns]
    kept = prepared_of(FRAME, valid_by="time:date", keep_valid_by=True).encoding.schema.columns
    assert [*names, "date"] == [column.name for column in kept]


def test_a_model_predicts_without_the_column_and_an_update_may_be_held_out_by_it() -> None:
    model = schuss.train(FRAME, "y", valid_by="group:customer", **FAST)
    np.testing.assert_array_equal(model.predict(FRAME.drop(columns="customer")), model.predict(FRAME))
    events: list[JobEvent] = []
    model.update(FRAME, valid_by="group:customer", epochs=1, observers=[events.append])
    assert isinstance(events[0], Prepared)
    parts = held_out(events[0], FRAME)
    assert sum(part["customer"].nunique() for part in parts) == FRAME["customer"].nunique()


def test_what_is_kept_of_a_table_depends_on_how_it_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "cache"))
    FRAME.to_parquet(tmp_path / "t.parquet")
    seen = []
    for words in (None, "group:customer", "time:date", "time:date"):
        prepared = prepared_of(str(tmp_path / "t.parquet"), valid_by=words, memory=1000)
        seen.append(any("earlier run" in note for note in prepared.facts.notes))
    assert seen == [False, False, False, True]
    training, _, test = held_out(prepared, FRAME)
    assert training["date"].max() < test["date"].min()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"valid_by": "customer"}, SettingError, "write group:COLUMN or time:COLUMN"),
        ({"valid_by": "group:custumer"}, ColumnError, "Did you mean 'customer'"),
        ({"valid_by": "group:y"}, SettingError, "cannot decide which rows are held out"),
        ({"valid_by": "time:customer"}, ColumnError, "must hold numbers, or dates"),
        ({"valid_by": "group:none"}, CellError, "has a value in 'none'"),
    ],
)
def test_impossible_choices_are_refused(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        prepared_of(FRAME.assign(none=None), **settings)


def test_the_estimators_take_groups_or_a_column_of_a_frame() -> None:
    X, y = FRAME[["a"]], FRAME["y"]
    own: dict[str, Any] = {"hidden": (4,), "epochs": 2, "random_state": 0}
    by_column = SchussRegressor(valid_by="group:customer", **own).fit(FRAME[["a", "customer"]], y)
    rows = by_column.model_.record.rows
    assert rows["training"] + rows["validation"] == COUNT
    assert [column.name for column in by_column.model_.encoding.schema.columns] == ["a"]
    by_groups = SchussClassifier(**own).fit(X, y > 0, groups=FRAME["customer"])
    assert "groups in groups" in " ".join(by_groups.model_.record.notes)
    assert by_groups.n_features_in_ == 1
    for groups, message in ((y[:9], "400 rows and groups 9"), (y.where(y > 0), "groups contains NaN")):
        with pytest.raises(ValueError, match=message):
            SchussRegressor(**own).fit(X, y, groups=groups)
