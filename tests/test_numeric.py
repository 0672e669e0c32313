"""What numbers become is chosen in words, and the model, its file and the cache know it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone

import schuss
from schuss.errors import SettingError
from schuss.groups import in_words
from schuss.numeric import NUMERICS, Piecewise, numeric_named
from schuss.settings import Settings
from schuss.table import encoded
from schuss.table.cache import new_entry
from schuss.view.inspection import inspect_model

RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame({"x": RANDOM.lognormal(size=300), "z": RANDOM.normal(size=300)})
FRAME = FRAME.assign(gain=np.where(RANDOM.random(300) < 0.6, 0.0, RANDOM.integers(0, 9, 300)))
FRAME = FRAME.assign(y=np.log(FRAME["x"]) + FRAME["z"] + 3 * (FRAME["gain"] == 4))
QUICK: dict[str, Any] = {"hidden": (4,), "epochs": 2}


@pytest.mark.parametrize("words", [*NUMERICS, "piecewise(bins=16)", "piecewise(bins=32, embedding=8)"])
def test_words_are_a_group_and_back(words: str) -> None:
    assert in_words(numeric_named(words)) == words
    assert Settings(numeric=words).numeric in (words, numeric_named(words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ranked", "no numeric 'ranked': choose one of standard, robust, quantile, piecewise"),
        ("piecewise(bins=1)", "bins of piecewise is 1: it must be a whole number from 2 to 128"),
        ("piecewise(bins=129)", "from 2 to 128"),
        ("piecewise(bins=2.5)", "from 2 to 128"),
        ("piecewise(embedding=0)", "embedding of piecewise is 0: it must be a whole number, at least 1"),
        ("robust(3)", "does not fit"),
        (7, "must be one of"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Settings(numeric=words)


@pytest.mark.parametrize(
    ("numeric", "scaling"),
    [
        (None, "robust"),
        ("standard", "standard"),
        ("quantile", "quantile"),
        ("piecewise(bins=8)", "robust"),
        (Piecewise(16, 8), "robust"),
    ],
)
def test_a_model_scales_as_it_was_told_also_when_it_was_saved(numeric: Any, scaling: str, tmp_path: Path) -> None:
    model = schuss.train(FRAME, "y", numeric=numeric, **QUICK)
    model.save(tmp_path / "m.schuss")
    again = schuss.Model.load(tmp_path / "m.schuss")
    assert model.encoding.scaling == again.encoding.scaling == scaling
    np.testing.assert_array_equal(again.predict(FRAME), model.predict(FRAME))
    assert ("chosen by you" in model.record.reasons.get("numeric", "")) == (numeric is not None)
    updated = schuss.update(again, FRAME, epochs=1)
    assert updated.encoding == model.encoding
    with pytest.raises(SettingError, match="numeric belongs to the model"):
        schuss.update(again, FRAME, numeric="standard")


def test_rows_in_the_cache_are_those_of_their_scaling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "cache"))
    packed: list[Path] = []

    def counted(place: Path) -> Any:
        packed.append(place)
        return new_entry(place)

    monkeypatch.setattr(encoded, "new_entry", counted)
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    scalings, counts = [], []
    for numeric in ("robust", "piecewise", "standard", "quantile", "robust"):
        model = schuss.train(tmp_path / "t.csv", "y", numeric=numeric, memory=1000, **QUICK)
        scalings.append(model.encoding.scaling)
        counts.append(len(packed))
    assert scalings == ["robust", "robust", "standard", "quantile", "robust"]
    assert counts == [1, 1, 2, 3, 3]


@pytest.mark.parametrize("numeric", ["robust", "standard"])
def test_frequent_values_of_a_number_are_levels_beside_robust_numbers(
    numeric: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = schuss.train(FRAME, "y", numeric=numeric, **QUICK)
    assert model.network.categories == ((9,) if numeric == "robust" else ())
    inspect_model(model, as_json=False)
    assert ("a scaled number + one of 9 frequent values" in capsys.readouterr().out) == (numeric == "robust")


def test_an_estimator_of_dense_rows_takes_sparse_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = FRAME.drop(columns="y").to_numpy(), FRAME["y"].to_numpy()
    estimator = schuss.SchussRegressor(numeric="robust", random_state=0, **QUICK).partial_fit(X, y)
    assert estimator.model_.encoding.spiked
    np.testing.assert_array_equal(estimator.predict(csr_array(X)), estimator.predict(X))
    expected = clone(estimator).partial_fit(X, y).partial_fit(X, y).predict(X)
    monkeypatch.setattr(encoded, "WINDOW_BYTES", 0)
    np.testing.assert_array_equal(estimator.partial_fit(csr_array(X), y).predict(X), expected)


def test_an_estimator_takes_it_by_its_numbers_and_starts_warm_only_where_it_stays() -> None:
    X, y = FRAME.drop(columns="y"), FRAME["y"]
    estimator = schuss.SchussRegressor(numeric="piecewise", warm_start=True, random_state=0, **QUICK)
    assert estimator.get_params()["numeric__bins"] == 64
    assert estimator.set_params(numeric__bins=16).numeric == Piecewise(16)
    assert estimator.fit(X, y).model_.encoding.scaling == "robust"
    with pytest.raises(ValueError, match="scaling"):
        estimator.set_params(numeric="standard").fit(X, y)
