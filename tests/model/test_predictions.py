"""The file of predictions: the same bytes however the table is cut, whole or not there."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import schuss
from schuss import Model
from schuss.errors import CellError, OutputError, SettingError
from schuss.files import Storage
from schuss.model import predictions
from schuss.model.predictions import write_predictions
from schuss.table import table as tables
from schuss.table.source import read_table

RANDOM = np.random.default_rng(0)
COUNT = 150
FRAME = pd.DataFrame(RANDOM.normal(size=(COUNT, 2)), columns=["a", "b"])
FRAME = FRAME.assign(y=FRAME["a"], z=FRAME["b"], word=np.where(FRAME["a"] > 0, 'say "much"', "lit,tle"))
TARGETS: dict[str, list[str]] = {"one": ["y"], "two": ["y", "z"], "classes": ["word"]}
ENDINGS = pytest.mark.parametrize("ending", [".csv", ".parquet"])


@pytest.fixture(scope="module", params=TARGETS)
def model(request: pytest.FixtureRequest) -> Model:
    names = TARGETS[request.param]
    return schuss.train(FRAME[["a", "b", *names]], names, hidden=(4,), epochs=2, members=1, validation=0.0, test=0.0)


@ENDINGS
def test_any_blocks_give_the_same_bytes(
    model: Model, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = set()
    monkeypatch.setattr(predictions, "_GROUP_ROWS", 40)
    for block_rows in (1, 7, 40, 64, COUNT):
        monkeypatch.setattr(tables, "BLOCK_ROWS", block_rows)
        write_predictions(model, read_table(FRAME), tmp_path / f"p{ending}", bool(model.classes))
        written.add((tmp_path / f"p{ending}").read_bytes())
    assert len(written) == 1


@ENDINGS
def test_the_file_holds_what_the_model_predicts_in_order(
    model: Model, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_GROUP_ROWS", 64)
    write_predictions(model, read_table(FRAME), tmp_path / f"p{ending}", bool(model.classes))
    found = pd.read_csv(tmp_path / "p.csv") if ending == ".csv" else pd.read_parquet(tmp_path / "p.parquet")
    names = list(model.encoding.schema.target.names)
    assert list(found.columns) == names + [f"probability of {label}" for label in model.classes]
    if model.classes:
        assert (found["word"] == model.predict(FRAME)).all()
        np.testing.assert_allclose(found.iloc[:, 1:], model.predict_proba(FRAME), rtol=1e-12)
    else:
        np.testing.assert_allclose(found[names], model.predict(FRAME).reshape(COUNT, -1), rtol=1e-12)


@ENDINGS
def test_an_error_in_a_later_block_leaves_what_was_there(
    model: Model, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"p{ending}"
    path.write_text("of yesterday")
    monkeypatch.setattr(tables, "BLOCK_ROWS", 20)
    monkeypatch.setattr(predictions, "_GROUP_ROWS", 20)
    with pytest.raises(CellError, match="row 141"):
        write_predictions(model, read_table(FRAME.assign(a=np.where(FRAME.index == 140, np.inf, 1))), path)
    assert path.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [path]


@ENDINGS
def test_fault_05_whatever_operation_fails_the_file_is_whole_or_not_there(
    model: Model, ending: str, tmp_path: Path, failing: Callable[[int], Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_GROUP_ROWS", 64)
    path, table, number = tmp_path / f"p{ending}", read_table(FRAME), 0
    write_predictions(model, table, path)
    whole = path.read_bytes()
    while True:
        number += 1
        path.unlink(missing_ok=True)
        try:
            write_predictions(model, table, path, storage=failing(number))
            break
        except OutputError:
            assert not path.exists() or path.read_bytes() == whole
            assert set(tmp_path.iterdir()) <= {path}
    assert number > 5
    assert path.read_bytes() == whole


def test_a_regression_has_no_probabilities_and_no_file(model: Model, tmp_path: Path) -> None:
    if not model.classes:
        with pytest.raises(SettingError, match="classes only"):
            write_predictions(model, read_table(FRAME), tmp_path / "p.csv", probabilities=True)
    assert not list(tmp_path.iterdir())


def test_outputs_are_let_go_of_when_they_are_written(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK_ROWS", 10)
    monkeypatch.setattr(predictions, "_GROUP_ROWS", 10)
    seen: list[weakref.ref[Any]] = []
    held: list[int] = []
    outputs = model._engine.outputs

    def watched(*arguments: Any) -> Any:
        found = outputs(*arguments)
        seen.append(weakref.ref(found))
        held.append(sum(ref() is not None for ref in seen))
        return found

    monkeypatch.setattr(model._engine, "outputs", watched)
    write_predictions(model, read_table(FRAME), tmp_path / "p.csv")
    assert len(held) == COUNT / 10
    assert max(held) <= 3
