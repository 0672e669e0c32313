"""What is written as CSV, Parquet or Arrow comes back as the same encoded rows, however it is ordered and cut."""

import csv
import datetime
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, strategies as st

from schuss.arrays import Rows
from schuss.table import formats
from schuss.table.encoding import Encoding
from schuss.table.learning import learn_schema
from schuss.table.schema import find_target
from schuss.table.source import read_table
from schuss.table.table import Table, chosen

TEXTS = ["a", "b c", 'q"uote', "com,ma", "Zürich", "two\nlines", "x1", "-", "0x10"]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-(10**6), 10**12),
    "float": st.floats(-1e9, 1e9),
    "boolean": st.booleans(),
    "text": st.sampled_from(TEXTS),
    "date": st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1)),
}
TYPES = {"integer": pa.int64(), "float": pa.float64(), "boolean": pa.bool_(), "text": pa.string(), "date": pa.date32()}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Some columns of any kinds, with gaps, and a target."""
    count = draw(st.integers(2, 30))
    targets = draw(st.lists(st.integers(-400, 400), min_size=count, max_size=count))
    columns = {"y": pa.array(np.array(targets) / 4)}
    for number, kind in enumerate(draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))):
        value = st.one_of(st.none(), VALUES[kind]) if draw(st.booleans()) else VALUES[kind]
        values = draw(st.lists(value, min_size=count, max_size=count))
        columns[f"{kind} {number}"] = pa.array(values, TYPES[kind])
    columns["varies"] = pa.array(np.arange(count) / 3)
    return pa.table(columns)


def cut(table: pa.Table, draw: st.DrawFn) -> list[pa.Table]:
    """The rows in some tables, each with its columns in an order of its own."""
    ends = sorted(draw(st.sets(st.integers(1, len(table) - 1), max_size=3)))
    parts = [table.slice(start, stop - start) for start, stop in zip([0, *ends], [*ends, len(table)], strict=True)]
    return [part.select(draw(st.permutations(part.column_names))) for part in parts]


def write_csv(table: pa.Table, path: Path, end: str) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator=end)
        writer.writerow(table.column_names)
        for row in table.to_pylist():
            writer.writerow(["" if value is None else str(value) for value in row.values()])


def encoded(table: Table) -> tuple[Encoding, Rows]:
    target = find_target(table, ["y"], "regression")
    every = np.arange(len(table))
    encoding = Encoding(learn_schema(table, target, chosen(table, every)))
    return encoding, encoding.encode_blocks(chosen(table, every), len(table))


@given(
    st.data(), tables(), st.sampled_from(["csv", "parquet", "arrow"]), st.integers(1, 300), st.sampled_from([0, None])
)
def test_files_come_back_as_what_was_in_memory(
    data: st.DataObject, table: pa.Table, ending: str, piece_bytes: int, memory: int | None
) -> None:
    draw: Any = data.draw
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "PIECE_BYTES", piece_bytes)
        patch.setenv("SCHUSS_CACHE", str(Path(folder) / "cache"))
        paths = []
        for number, part in enumerate(cut(table, draw)):
            paths.append(Path(folder) / f"{number}.{ending}")
            if ending == "csv":
                write_csv(part, paths[-1], draw(st.sampled_from(["\n", "\r\n"])))
            elif ending == "parquet":
                pa.parquet.write_table(part, paths[-1], row_group_size=draw(st.integers(1, 40)))
            else:
                with pa.ipc.new_file(paths[-1], part.schema) as writer:
                    writer.write_table(part, max_chunksize=draw(st.integers(1, 40)))
        found = read_table(paths, memory=memory)
        (encoding, rows), (expected, same) = encoded(found), encoded(read_table(table))
        columns = {column.name: column for column in encoding.schema.columns}
        assert columns == {column.name: column for column in expected.schema.columns}
        order = [encoding.feature_names.index(name) for name in expected.feature_names]
        assert np.array_equal(rows.features[:, order], same.features)
        codes = [encoding.category_names.index(name) for name in expected.category_names]
        assert np.array_equal(rows.codes[:, codes], same.codes)
        assert np.array_equal(rows.targets, same.targets)
