"""Sparse matrices: learned and encoded as dense ones are, and visited in the same order."""

from dataclasses import replace
from functools import partial
from typing import get_args

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from schuss.errors import CellError, ColumnError
from schuss.numeric import Scaling
from schuss.table.columns import from_numpy
from schuss.table.encoding import Encoding
from schuss.table.learning import learn_schema
from schuss.table.order import TRAINING
from schuss.table.parts import Parts
from schuss.table.schema import NumericColumn, Schema, Target
from schuss.table.source import read_table
from schuss.table.sparse import SparseStore, SparseTable, column_number
from schuss.table.store import MemoryStore
from schuss.table.table import Table

RANDOM = np.random.default_rng(0)
TARGET = Target(("y",), "regression", "", "float")


def _matrix() -> csr_array:
    """300 rows: few cells that are not 0, a column without any, one that is constant, missing values, stored zeros."""
    dense = RANDOM.normal(size=(300, 12)) * (RANDOM.random((300, 12)) < 0.2)
    dense[:, 3], dense[:, 4], dense[:, 8] = 0.0, 7.0, 1e-170 * dense[:, 8]
    dense[5:20, :2], dense[:200, 6] = np.nan, np.nan
    matrix = csr_array(dense)
    matrix.data[(matrix.indices == 5) & (RANDOM.random(matrix.nnz) < 0.5)] = 0.0
    return matrix


MATRIX = _matrix()
COLUMNS = {"y": from_numpy(RANDOM.normal(size=300)), "w": from_numpy(RANDOM.integers(0, 4, 300) / 3)}
SPARSE = SparseTable("sparse matrix", pa.table(COLUMNS), matrix=MATRIX)
FEATURES = read_table(MATRIX.toarray())
DENSE = Table("array", pa.table([*FEATURES.data.columns, *COLUMNS.values()], names=[*FEATURES.names, *COLUMNS]))


def _learned(table: Table, weight: str | None) -> tuple[Schema, Parts]:
    parts = Parts(table, TARGET, weight)
    parts.deal(0, 0.2, 0.0)
    exclude = () if weight else ("w",)
    return learn_schema(table, TARGET, parts.blocks(TRAINING), weight=weight, exclude=exclude), parts


@pytest.mark.parametrize("weight", ["w", None])
def test_a_sparse_matrix_is_learned_as_a_dense_one(weight: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schuss.table.sparse.BLOCK_ROWS", 50)
    monkeypatch.setattr("schuss.table.table.BLOCK_ROWS", 50)
    sparse, dense = _learned(SPARSE, weight)[0], _learned(DENSE, weight)[0]
    assert sorted(sparse.dropped) == sorted(dense.dropped)
    assert (sparse.target, sparse.rows) == (dense.target, dense.rows)
    for found, expected in zip(sparse.columns, dense.columns, strict=True):
        assert isinstance(found, NumericColumn)
        assert isinstance(expected, NumericColumn)
        scales = (found.mean, found.deviation), (expected.mean, expected.deviation)
        assert_allclose(*scales, rtol=1e-12, atol=1e-14 * expected.deviation)
        spread = ("quantiles", "heavy", "others", "spikes")
        assert not any(getattr(found, name) for name in spread)
        dense_only = {name: getattr(expected, name) for name in ("mean", "deviation", *spread)}
        assert msgspec.structs.replace(found, **dense_only) == expected


@pytest.mark.parametrize("table", [DENSE, SPARSE])
@pytest.mark.parametrize("scaling", get_args(Scaling))
def test_the_same_schema_gives_the_same_features(table: Table, scaling: Scaling) -> None:
    encoding = Encoding(_learned(table, "w")[0], scaling)
    for rows in (None, slice(10, 250), np.array([7, 5, 299, 5])):
        found, expected = encoding.encode(SPARSE, rows), encoding.encode(DENSE, rows)
        assert_array_equal(found.features, expected.features)
        assert_array_equal(found.codes, expected.codes)
        assert_array_equal(found.targets, expected.targets)
    assert "column_1 is missing" in encoding.feature_names
    assert bool(encoding.categories) == (table is DENSE and scaling == "robust")


def test_a_sparse_store_visits_the_rows_as_a_memory_store(monkeypatch: pytest.MonkeyPatch) -> None:
    schema, parts = _learned(SPARSE, "w")
    encoding, count = Encoding(schema), parts.count(TRAINING)
    monkeypatch.setattr("schuss.table.sparse.WINDOW_BYTES", 4 * encoding.features * 50)
    labels = encoding.encode_labels(parts.blocks(TRAINING), count)
    write = partial(encoding.write_stored, SPARSE)
    store = SparseStore(labels, parts.rows(TRAINING), encoding.features, write)
    memory = MemoryStore(encoding.encode_blocks(parts.blocks(TRAINING), count))
    seen = [(rows.take(places), len(places)) for rows, places in store.windows(3, range(2, 4), 16, start=5)]
    expected = [memory.rows.take(places) for _, places in memory.windows(3, range(2, 4), 16, start=5)]
    for name in ("features", "targets", "weights"):
        found = np.concatenate([getattr(rows, name) for rows, _ in seen])
        assert_array_equal(found, np.concatenate([getattr(rows, name) for rows in expected]))
        blocks = np.concatenate([getattr(rows, name) for rows in store.blocks()])
        assert_array_equal(blocks, getattr(memory.rows, name))
    assert max(size for _, size in seen) == 48  # whole batches
    assert len(store) == len(memory)


def test_windows_are_small_and_know_their_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schuss.table.sparse.WINDOW_BYTES", 4 * 12 * 70)
    blocks = list(SPARSE.windows(12))
    assert [len(block) for block in blocks] == [70, 70, 70, 70, 20]
    assert [block.null_count("column_7") for block in blocks] == [70, 70, 60, 0, 0]
    assert SPARSE.null_count("y") == 0


def test_a_name_has_the_number_of_its_column() -> None:
    assert [column_number(name) for name in ("column_1", "column_12", "column_", "age", "7")] == [0, 11, -1, -1, -1]


def test_what_a_sparse_matrix_cannot_be_is_refused() -> None:
    named = read_table({"age": [1.0, 2.0], "y": [0.0, 1.0]})
    encoding = Encoding(learn_schema(named, TARGET, [(named, slice(0, 2))]))
    with pytest.raises(ColumnError, match=r"no 'age'\. Give a DataFrame"):
        encoding.encode(SPARSE, target=False)


@pytest.mark.parametrize(("scaling", "value"), [("standard", 1e300), ("robust", np.inf), ("quantile", np.inf)])
def test_a_value_too_far_out_is_named_with_its_row(scaling: Scaling, value: float) -> None:
    encoding, cells = Encoding(_learned(DENSE, "w")[0], scaling), MATRIX.toarray()
    cells[17, 2] = value
    with pytest.raises(CellError, match="row 18: the value of 'column_3' lies too far"):
        encoding.encode(replace(SPARSE, matrix=csr_array(cells)))
