"""A table is the same however its source is cut into pieces, and a fault is told with its place in the whole."""

import gzip
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, strategies as st

from schuss.errors import SourceError
from schuss.table import formats
from schuss.table.delimited import TableFormat
from schuss.table.source import read_table
from schuss.table.table import Table

Cut = Callable[[int], None]


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cut:
    """Sets how many bytes make a piece."""
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "cache"))
    return lambda size: monkeypatch.setattr(formats, "PIECE_BYTES", size)


def contents(table: Table) -> tuple[Any, ...]:
    columns = {name: table.data[name].to_pylist() for name in table.names}
    return table.data.schema, columns, table.notes, table.dates, [table.where(row) for row in range(len(table))]


def outcome(path: Path, size: int, **options: Any) -> object:
    """What is read, or what is told instead, where pieces are of this size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "PIECE_BYTES", size)
        patch.setenv("SCHUSS_CACHE", str(path.parent / "cache"))
        try:
            return contents(read_table(path, **options))
        except SourceError as error:
            return str(error)


# -- text ---------------------------------------------------------------------------------------------------------

CELLS: dict[str, Sequence[str]] = {
    "integer": ("0", "1", "-7", "123456789012", "01", " 3", "", "NA", " ?"),
    "large": ("1", "9223372036854775808", "-5"),
    "float": ("1.5", "2", "-0.25", "1e3", "inf", "nan", "", " 7.5 "),
    "truth": ("true", "false", "True", " false", "", "TRUE"),
    "digits": ("0", "1", "true", " 1", " TrUe", "?"),
    "date": ("2020-01-02", "1969-12-31", "2001-01-01 12:00:00", "", "NA"),
    "clock": ("2020-01-02", "12:00:00", "2001-01-01 12:00:00Z", "2001-01-01 12:00:00+01:00", ""),
    "text": ("x", "a b", '"x,y"', '"line\nline"', '"say ""so"""', '""', "é", "7", '"\n\n"', '"a\r\nb"'),
    "inches": ('5" pipe', 'x"y"', "7", '"a\nb"', '"q"tail'),
    "gap": ("", "NA", " ? "),
    "codes": ("007", "010", "999", " 001", "", "123"),
    "lengths": ("007", "010", "0099", "12", "NA"),
    "mixed codes": ("007", "010", "123", "1.5", "x", ""),
}


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A file of columns that hold one kind for some rows, and then perhaps another."""
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    columns = []
    rows = draw(st.integers(1, 40))
    for _ in range(draw(st.integers(1, 4))):
        kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2))
        change = draw(st.integers(0, rows))
        columns.append(
            [draw(st.sampled_from(CELLS[kinds[0 if row < change else -1]])) for row in range(rows)],
        )
    lines = [",".join(f"c{number}" for number in range(len(columns)))]
    for row in zip(*columns, strict=True):
        lines += [",".join(row)] + [""] * draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 3]))
    return ending.join(lines) + draw(st.sampled_from(["", ending, 3 * ending]))


@given(text=texts(), size=st.integers(8, 200), data=st.data())
def test_a_text_file_is_the_same_table_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.csv"
    path.write_bytes(text.encode())
    options = {"text": data.draw(st.sampled_from([(), ("c0",)])), "format": TableFormat(separator=",")}
    memory = data.draw(st.sampled_from([None, 0, 200]))
    assert outcome(path, size, memory=memory, **options) == outcome(path, 1 << 20, **options)


@pytest.mark.parametrize("size", [16, 1000])
def test_a_column_is_widened_by_its_last_piece(tmp_path: Path, cut: Cut, size: int) -> None:
    cut(size)
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,01\n" * 500 + "2.5,x\n")
    table = read_table(path)
    assert [str(type) for type in table.data.schema.types] == [
        "double",
        "dictionary<values=string, indices=int32, ordered=0>",
    ]
    assert table.data["a"].to_pylist() == [1.0] * 500 + [2.5]
    assert table.data["b"].to_pylist() == ["01"] * 500 + ["x"]


@pytest.mark.parametrize(
    ("row", "line", "told"),
    [
        (b"3", 1004, "1 value where there are 2 columns"),
        (b"3,x\0", 1004, "a NUL byte"),
        (b"3,\xe9", 1004, "the byte 0xe9 is not UTF-8"),
        (b'3,"x', 1004, "a quoted value begins here and does not end"),
        (b'"\n",5"\n3', 1006, "1 value where there are 2 columns"),
    ],
)
def test_fault_23_a_fault_in_a_later_piece_is_told_with_its_line(
    tmp_path: Path, cut: Cut, row: bytes, line: int, told: str
) -> None:
    cut(64)
    path = tmp_path / "x.csv"
    path.write_bytes(b'a,b\r\n1,"x\ny"\r\n' + b"1,2\r\n" * 1000 + row + b"\r\n" + b"1,2\r\n" * 10)
    with pytest.raises(SourceError, match=rf"x\.csv, line {line:,}: {told}"):
        read_table(path)


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_packed_file_is_unpacked_piece_by_piece_and_read_again(tmp_path: Path, cut: Cut, ending: str) -> None:
    content = b"a,b\n" + b"1,01\n" * 100_000 + b"2,x\n"
    path = tmp_path / f"x.csv.{ending}"
    packed = gzip.compress(content) if ending == "gz" else pa.compress(content, "zstd", asbytes=True)
    path.write_bytes(packed)
    cut(1 << 16)
    table = read_table(path)
    assert (len(table), table.data["b"][99_999].as_py()) == (100_001, "01")
    assert table.where(100_000) == f"x.csv.{ending}, line 100,002"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SourceError, match="is damaged or cut off"):
        read_table(path)


def test_a_file_says_how_it_is_packed(tmp_path: Path) -> None:
    for name, content in (("x.csv", pa.compress(b"a\n1\n", "zstd", asbytes=True)), ("x.csv.zst", b"a\n1\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=r"compressed with zstd\. Rename"):
            read_table(tmp_path / name)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes have no paths here")
@pytest.mark.parametrize("packed", [False, True])
def test_a_pipe_that_is_longer_than_a_piece_is_read_once(cut: Cut, packed: bool) -> None:
    content = b"a,b\n" + b"1,01\n" * 20_000 + b"2,x\n"
    reader, writer = os.pipe()

    def feed() -> None:
        with open(writer, "wb") as file:
            file.write(gzip.compress(content) if packed else content)

    feeder = threading.Thread(target=feed)
    feeder.start()
    cut(1 << 12)
    table = read_table(f"/dev/fd/{reader}")
    os.close(reader)
    feeder.join()
    assert (len(table), table.data["b"][0].as_py()) == (20_001, "01")
    assert table.where(20_000).endswith("line 20,002")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes have no paths here")
def test_a_short_pipe_may_hold_comments() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"# about\na,b\n1,2\n")
    os.close(writer)
    table = read_table(f"/dev/fd/{reader}", TableFormat(comment="#"))
    os.close(reader)
    assert table.data.to_pydict() == {"a": [1], "b": [2]}


# -- Parquet and Arrow --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_row_groups_and_batches_are_pieces(tmp_path: Path, cut: Cut, kind: str) -> None:
    table = pa.table({"a": range(1000), "b": [f"w{row % 7}" for row in range(1000)], "c": pa.nulls(1000, pa.int64())})
    path = tmp_path / ("x.parquet" if kind == "parquet" else "x.arrow")
    if kind == "parquet":
        parquet.write_table(table, path, row_group_size=100)
    else:
        new = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    whole = contents(read_table(path))
    cut(1)
    assert contents(read_table(path)) == whole
    assert whole[1] == table.to_pydict()
    other = tmp_path / "y.csv"
    other.write_text("c,b,a\n1,2,z\n")
    assert read_table([path, other]).data["a"].to_pylist() == [*map(str, range(1000)), "z"]
