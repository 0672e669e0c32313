"""Sparse matrices in the estimators: the same as dense ones, in less memory."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import bsr_array, coo_array, coo_matrix, csc_array, csc_matrix, csr_array, csr_matrix

from schuss import Model, SchussClassifier, SchussRegressor
from schuss.errors import ColumnError

RANDOM = np.random.default_rng(0)
CELLS = RANDOM.normal(size=(400, 30)) * (RANDOM.random((400, 30)) < 0.1)
CELLS[3, :5] = np.nan
DENSE, SPARSE = CELLS, csr_array(CELLS)
Y = np.nan_to_num(DENSE) @ RANDOM.normal(size=30) + 0.1 * RANDOM.normal(size=400)
WEIGHTS = RANDOM.integers(0, 3, 400).astype(float)
SETTINGS: dict[str, Any] = {"hidden": (8,), "numeric": "standard", "epochs": 10, "random_state": 0}


@pytest.fixture(params=["in memory", "in windows"])
def _size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that fit into one window, and rows that do not."""
    if request.param == "in windows":
        for room in ("schuss.table.encoded", "schuss.table.sparse"):
            monkeypatch.setattr(f"{room}.WINDOW_BYTES", 4 * 30 * 70)


def _alike(found: Any, expected: Any) -> None:
    assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("_size")
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_regression_is_that_of_the_dense_matrix(weights: Any) -> None:
    sparse = SchussRegressor(**SETTINGS).fit(SPARSE, Y, weights)
    dense = SchussRegressor(**SETTINGS).fit(DENSE, Y, weights)
    expected = dense.predict(DENSE)
    for found in (sparse.predict(SPARSE), sparse.predict(DENSE), dense.predict(SPARSE)):
        _alike(found, expected)
    _alike(sparse.score(SPARSE, Y, weights), dense.score(DENSE, Y, weights))
    _alike(sparse.loss_curve_, dense.loss_curve_)
    _alike([of["loss"] for of in sparse.validation_scores_], [of["loss"] for of in dense.validation_scores_])
    assert sparse.model_.record.rows == dense.model_.record.rows
    assert sparse.model_.record.notes == dense.model_.record.notes


@pytest.mark.usefixtures("_size")
def test_classes_are_those_of_the_dense_matrix() -> None:
    labels = np.array(["low", "middle", "high"])[np.digitize(Y, [-0.5, 0.5])]
    sparse, dense = (SchussClassifier(**SETTINGS).fit(X, labels) for X in (SPARSE, DENSE))
    _alike(sparse.predict_proba(SPARSE), dense.predict_proba(DENSE))
    assert sparse.score(SPARSE, labels) == dense.score(DENSE, labels)


@pytest.mark.usefixtures("_size")
def test_validation_data_and_further_calls_are_sparse_or_dense() -> None:
    expected = SchussRegressor(**SETTINGS).fit(DENSE[100:], Y[100:], validation_data=(DENSE[:100], Y[:100]))
    for X, held_out in ((SPARSE, SPARSE), (SPARSE, DENSE), (DENSE, SPARSE)):
        trained = SchussRegressor(**SETTINGS).fit(X[100:], Y[100:], validation_data=(held_out[:100], Y[:100]))
        _alike(trained.predict(SPARSE), expected.predict(DENSE))
    going_on = [SchussRegressor(**SETTINGS) for _ in range(2)]
    for X in (SPARSE, DENSE, SPARSE):
        going_on[0].partial_fit(X, Y)
        going_on[1].partial_fit(DENSE, Y)
    _alike(going_on[0].predict(SPARSE), going_on[1].predict(DENSE))


@pytest.mark.parametrize("form", [bsr_array, coo_array, coo_matrix, csc_array, csc_matrix, csr_matrix])
def test_every_form_is_taken(form: Any) -> None:
    expected = SchussRegressor(**SETTINGS).fit(SPARSE, Y).predict(SPARSE)
    assert_array_equal(SchussRegressor(**SETTINGS).fit(form(SPARSE), Y).predict(form(SPARSE)), expected)


@pytest.mark.parametrize("type", [np.float32, np.int8, np.int64, np.bool_])
def test_every_type_of_number_is_taken(type: Any) -> None:
    cells = np.nan_to_num(DENSE * 10).astype(type)
    found = SchussRegressor(**SETTINGS).fit(csr_array(cells), Y).predict(csr_array(cells))
    _alike(found, SchussRegressor(**SETTINGS).fit(cells.astype(float), Y).predict(cells.astype(float)))


def test_cells_that_are_stored_twice_are_added_up_in_a_copy() -> None:
    twice = csr_array((np.repeat(SPARSE.data / 2, 2), np.repeat(SPARSE.indices, 2).astype(np.int64), 2 * SPARSE.indptr))
    twice.indices[:], twice.data[:] = np.concatenate([_backwards(twice, row) for row in range(400)], axis=1)
    before = twice.data.copy()
    expected = SchussRegressor(**SETTINGS).fit(SPARSE, Y).predict(SPARSE)
    _alike(SchussRegressor(**SETTINGS).fit(twice, Y).predict(twice), expected)
    assert_array_equal(twice.data, before)


def _backwards(matrix: csr_array, row: int) -> Any:
    """[2, n] columns and values of a row from right to left."""
    cells = slice(*matrix.indptr[row : row + 2])
    return np.stack([matrix.indices[cells], matrix.data[cells]])[:, ::-1]


def test_a_stored_zero_is_a_zero() -> None:
    stored = SPARSE.copy()
    stored.data[::3] = 0.0
    found = SchussRegressor(**SETTINGS).fit(stored, Y).predict(stored)
    _alike(found, SchussRegressor(**SETTINGS).fit(stored.toarray(), Y).predict(stored.toarray()))


def test_a_model_that_was_saved_predicts_from_either(tmp_path: Any) -> None:
    trained = SchussRegressor(**SETTINGS).fit(SPARSE, Y)
    trained.model_.save(tmp_path / "of.schuss")
    _alike(Model.load(tmp_path / "of.schuss").predict(DENSE), trained.predict(SPARSE))
    assert_array_equal(pickle.loads(pickle.dumps(trained)).predict(SPARSE), trained.predict(SPARSE))


def test_progress_tells_of_missing_values(capsys: pytest.CaptureFixture[str]) -> None:
    SchussRegressor(**SETTINGS, verbose=True).fit(SPARSE, Y)
    assert "30 numeric, 5 missing values in 5 columns" in capsys.readouterr().out


def test_what_cannot_be_predicted_from_is_refused() -> None:
    with pytest.raises(ValueError, match="infinity"):
        SchussRegressor().fit(csr_array(np.where(DENSE == DENSE[0].max(), np.inf, DENSE)), Y)
    named = SchussRegressor(**SETTINGS).fit(pd.DataFrame(DENSE).add_prefix("of "), Y)
    with pytest.warns(UserWarning, match="feature names"), pytest.raises(ColumnError, match="no 'of 0'"):
        named.predict(SPARSE)


def test_fault_34_a_fit_takes_a_fraction_of_the_dense_matrix() -> None:
    code = """
import resource
import numpy as np
from scipy.sparse import random_array
from schuss import SchussRegressor

def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
random = np.random.default_rng(0)
X, y = random_array((60_000, 2000), density=0.002, format="csr", rng=random), random.random(60_000)
before = most()
SchussRegressor(hidden=(), epochs=1, validation=0.1, random_state=0).fit(X, y).predict(X)
print(most() - before)
"""
    taken = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert taken < 200  # MB; 480 dense
