"""Reading: whatever comes in leaves as typed columns, or as one message that says what is wrong and where."""

import contextlib
import gzip
import os
import pickle
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
import pytest

from schuss.errors import ColumnError, SettingError, SourceError
from schuss.table.content import Content
from schuss.table.delimited import MISSING, TableFormat, open_text
from schuss.table.source import read_table
from schuss.table.table import Table

DATA = Path(__file__).parents[2] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real tables are not here")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "houses.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def values(table: Table) -> dict[str, list[Any]]:
    return {name: table.data[name].to_pylist() for name in table.names}


def kinds(table: Table) -> list[str]:
    return [str(field.type).partition("<")[0] for field in table.data.schema]


# -- text files ---------------------------------------------------------------------------------------------------


def test_every_column_gets_its_kind(write: Write) -> None:
    table = read_table(write("a,b,c,d\n1,1.5,true,x\n2,,false,\n"))
    assert kinds(table) == ["int64", "double", "bool", "dictionary"]
    assert values(table) == {"a": [1, 2], "b": [1.5, None], "c": [True, False], "d": ["x", None]}
    assert table.name == "houses.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_told_from_the_first_lines(write: Write, separator: str) -> None:
    path = write(f'a{separator}b\n"1 , ; | 2"{separator}2\n"x"{separator}4\n', "houses.txt")
    assert values(read_table(path))["b"] == [2, 4]


def test_a_separator_that_splits_lines_unevenly_is_not_taken(write: Write) -> None:
    assert read_table(write("a;b\n1,5;2\n3;4\n")).names == ["a", "b"]


def test_the_given_separator_wins(write: Write) -> None:
    assert read_table(write("a,b;c\n1,2;3\n"), TableFormat(separator=";")).names == ["a,b", "c"]
    with pytest.raises(SettingError, match="one character"):
        read_table(write("a,b\n1,2\n"), TableFormat(separator="::"))


def test_the_ending_tsv_means_tabs(write: Write) -> None:
    assert values(read_table(write("a,b\n1,2\n", "one.tsv"))) == {"a,b": ["1,2"]}


def test_columns_without_a_header_are_numbered(write: Write) -> None:
    table = read_table(write("1,x\n2,y\n"), TableFormat(header=False))
    assert values(table) == {"column_1": [1, 2], "column_2": ["x", "y"]}
    assert table.where(0) == "houses.csv, line 1"


def test_a_table_knows_the_words_that_stood_for_missing_values(write: Write, tmp_path: Path) -> None:
    words = (*MISSING, "-999")
    table = read_table(write("a\n1\n-999\n"), TableFormat(missing=words))
    assert (table.missing, table.slice(1, 2).missing, values(table)) == (words, words, {"a": [1, None]})
    assert read_table(write("a\n1\n")).missing == MISSING == TableFormat().missing
    parquet.write_table(pa.table({"a": [2]}), tmp_path / "x.parquet")
    assert read_table(tmp_path / "x.parquet").missing == read_table({"a": [1]}).missing == ()
    assert read_table([tmp_path / "x.parquet", write("a\n1\n")]).missing == MISSING


def test_words_for_missing_values_can_be_given(write: Write) -> None:
    assert values(read_table(write("a\n1\n-\n?\n"), TableFormat(missing=("-", "?")))) == {"a": [1, None, None]}


def test_spaces_around_values_and_names_do_not_count(write: Write) -> None:
    table = read_table(write("a, b , c\n 39, Private, ?\n 40 , ?, 2\n 41,Private  , 3.5\n"))
    assert values(table) == {"a": [39, 40, 41], "b": ["Private", None, "Private"], "c": [None, 2, 3.5]}


def test_gzip_is_unpacked(write: Write) -> None:
    assert values(read_table(write(gzip.compress(b"a,b\n1,2\n"), "houses.csv.gz"))) == {"a": [1], "b": [2]}


def test_newlines_commas_and_quotes_in_quoted_values_belong_to_them(write: Write) -> None:
    table = read_table(write('a,b\n1,"x\ny, ""z"""\n2,w\n'))
    assert values(table) == {"a": [1, 2], "b": ['x\ny, "z"', "w"]}


def test_quotes_inside_plain_values_are_letters(write: Write) -> None:
    assert values(read_table(write('a,b\n1,5" pipe\n2,x"y"\n')))["b"] == ['5" pipe', 'x"y"']


def test_dates_become_days(write: Write) -> None:
    table = read_table(write("day,at\n1970-01-02,1970-01-01 12:00:00\n1969-12-31,1970-01-03 00:00:00\n"))
    assert values(table) == {"day": [1.0, -1.0], "at": [0.5, 2.0]}
    assert any("day" in note and "1970-01-01" in note for note in table.notes)


def test_a_table_knows_which_columns_were_dates(write: Write) -> None:
    first = write("day,at,n,gap\n1970-01-02,12:00:00,1,\n", "1.csv")
    second = write("day,at,n,gap\n,12:00:00,1970-01-02,\n", "2.csv")
    assert read_table(first).dates == {"day", "at"}
    assert read_table([first, second]).slice(1, 2).dates == {"day", "at"}
    assert read_table(second, text=["at"]).dates == {"n"}
    assert read_table({"a": np.array(["1970-01-02"], "M8[D]"), "b": [1]}).dates == {"a"}


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("a\n1\n\n3\n", [1, None, 3]),
        ("a\n\n\n3\n\n\n", [None, None, 3]),
        ("a\r\nx\r\n\r\ny\r\n\r\n", ["x", None, "y"]),
        ("a\rx\r\ry", ["x", None, "y"]),
        ('a\n"x\n\ny"\n\n1\n', ["x\n\ny", None, "1"]),
    ],
)
def test_a_blank_line_is_a_missing_value_of_a_single_column(write: Write, content: str, column: list[Any]) -> None:
    assert values(read_table(write(content))) == {"a": column}


def test_blank_lines_of_a_single_column_are_counted_across_blocks() -> None:
    content = b"a\r\n" + b"1\r\n\r\n" * 5_000 + b"2\r\n"
    table = open_text("long.csv", Content(content), TableFormat()).read(block_bytes=1 << 10)
    assert (len(table), table["a"].null_count) == (10_001, 5_000)


def test_where_counts_lines_of_a_file_and_rows_otherwise(write: Write) -> None:
    assert read_table(write("a,b\n1,2\n3,4\n")).where(1) == "houses.csv, line 3"
    assert read_table(write("a,b\n1,2\n3,4\n\n\n")).where(1) == "houses.csv, line 3"
    assert read_table(write("\na,b\n1,2\n3,4")).where(1) == "houses.csv, line 4"
    assert read_table(write("a,b\n1,2\n\n3,4\n")).where(1) == "houses.csv, row 2"
    assert read_table(write("a\n1\n\n3\n")).where(2) == "houses.csv, line 4"
    assert read_table(write('a,b\n1,"x\ny"\n3,4\n')).where(1) == "houses.csv, row 2"
    assert read_table({"a": [1, 2]}).where(1) == "dict, row 2"


def test_where_still_knows_the_lines_in_a_slice(write: Write) -> None:
    first, second = write("a\n1\n2\n", "1.csv"), write("a\n3\n4\n", "2.csv")
    part = read_table([first, second]).slice(1, 4)
    assert values(part) == {"a": [2, 3, 4]}
    assert [part.where(row) for row in range(3)] == ["1.csv, line 3", "2.csv, line 2", "2.csv, line 3"]
    assert read_table({"a": [1, 2, 3]}).slice(2, 3).where(0) == "dict, row 3"


def test_a_row_longer_than_a_block_is_read() -> None:
    long = "x" * 20_000
    content = "a,b\n" + "1,y\n" * 5_000 + f'2,"{long}"\n3,z\n'
    table = open_text("long.csv", Content(content.encode()), TableFormat()).read(block_bytes=1 << 12)
    assert table["b"].to_pylist()[-2:] == [long, "z"]


def test_quoted_newlines_may_stand_where_blocks_meet() -> None:
    content = "a,b\n" + '1,"x\n2,y"\n' * 5_000
    table = open_text("quoted.csv", Content(content.encode()), TableFormat()).read(block_bytes=1 << 10)
    assert table["b"].value_counts().to_pylist() == [{"values": "x\n2,y", "counts": 5_000}]


# -- kinds come from all rows -------------------------------------------------------------------------------------


def test_fault_22_a_kind_that_changes_in_the_last_of_many_blocks_is_widened() -> None:
    rows = b"1,01,1,true,7\n" * 300_000 + b"2.5,z,99999999999999999999,maybe,\n"
    file = open_text("long.csv", Content(b"float,text,large,truth,gap\n" + rows), TableFormat())
    table = file.read(block_bytes=1 << 14)  # some 250 blocks
    assert [str(type) for type in table.schema.types[:1] + table.schema.types[2:3]] == ["double", "double"]
    assert pc.sum(table["float"]).as_py() == 300_002.5
    assert table["text"].value_counts().to_pylist() == [
        {"values": "01", "counts": 300_000},
        {"values": "z", "counts": 1},
    ]
    assert table["large"][300_000].as_py() == 1e20
    assert table["truth"][0].as_py() == "true"
    assert table["gap"].null_count == 1


def test_fault_22_a_kind_that_changes_in_the_last_line_of_a_large_file_is_widened(write: Write) -> None:
    table = read_table(write(b"a,b\n" + b"1,1\n" * 3_000_000 + b"1.5,x\n"))
    assert kinds(table) == ["double", "dictionary"]
    assert table.data["b"][0].as_py() == "1"


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**30])
def test_fault_22_numbers_beyond_64_bits_never_wrap(write: Write, number: int) -> None:
    assert values(read_table(write(f"a\n1\n{number}\n")))["a"] == [1.0, float(number)]


def test_fault_22_unsigned_numbers_never_wrap() -> None:
    assert values(read_table({"a": np.array([1, 2**64 - 1], np.uint64)}))["a"] == [1.0, float(2**64)]
    assert values(read_table({"a": np.array([1, 2**63 - 1], np.uint64)}))["a"] == [1, 2**63 - 1]


def test_a_column_asked_for_as_text_keeps_what_was_written(write: Write) -> None:
    table = read_table(write("code,a\n01,1\n 2.50,2\nNA,3\n"), text=["code", "not there"])
    assert values(table) == {"code": ["01", "2.50", None], "a": [1, 2, 3]}


# -- files together -----------------------------------------------------------------------------------------------


def test_files_are_matched_by_name_and_widened(write: Write) -> None:
    first = write("a,b,c\n1,01,\n2,1.50,\n", "1.csv")
    second = write("c,b,a\n7,x,0.5\n", "2.csv")
    table = read_table([first, second])
    assert values(table) == {"a": [1.0, 2.0, 0.5], "b": ["01", "1.50", "x"], "c": [None, None, 7]}
    assert (table.notes, table.name) == (("2 files",), "1.csv and 1 more")
    assert [table.where(row) for row in (1, 2)] == ["1.csv, line 3", "2.csv, line 2"]


def test_a_pattern_finds_files_in_the_order_of_their_names(write: Write, tmp_path: Path) -> None:
    write("a\n2\n", "2.csv"), write("a\n1\n", "1.csv")
    assert values(read_table(str(tmp_path / "*.csv"))) == {"a": [1, 2]}
    with pytest.raises(SourceError, match="No file fits"):
        read_table(str(tmp_path / "*.tsv"))


def test_a_file_whose_name_is_a_pattern_is_read_itself(write: Write) -> None:
    assert len(read_table(str(write("a\n1\n", "x[1].csv")))) == 1


def test_csv_and_parquet_go_together(write: Write, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": [3], "b": [4]}), tmp_path / "2.parquet")
    assert values(read_table([write("a,b\n1,x\n", "1.csv"), tmp_path / "2.parquet"])) == {"a": [1, 3], "b": ["x", "4"]}


def test_fault_29_files_with_other_columns_are_told_apart(write: Write) -> None:
    paths = [write("a,b\n1,2\n", "1.csv"), write("a,c\n1,2\n", "2.csv")]
    with pytest.raises(ColumnError, match=r"2\.csv has other columns than 1\.csv: 'b' is missing, 'c' is not in"):
        read_table(paths)


# -- files that are no tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ("a,b\n1,2\n3\n", 3, "1 value where there are 2 columns"),
        ("a,b\n1,2,3\n", 2, "3 values where there are 2 columns"),
        ("a,b\n1,2\n\n\n3\n", 5, "1 value"),
        ('a,b\n"x\ny",2\n\n3\n', 5, "1 value"),
        ('"a\nb",c\n1,2\n3,4,5\n', 4, "3 values"),
        ("\n\na,b\n1,2\n3\n", 5, "1 value"),
        ("a,b\r1,2\r3\r", 3, "1 value"),
        ('a,b\n1,"x\n', 2, "does not end"),
        ('a,b\n1,"x', 2, "does not end"),
        ('a,b\n1,2\n3,"x\n4,5\n6,7\n', 3, "does not end"),
        ('a,b\n1,"x\n2,"y\n', 2, "does not end"),
        ('a,b\n0,1\n1,"' + "x\n" * 100_000, 3, "does not end"),
        ("a,b\n1,x\0y\n", 2, "NUL"),
    ],
)
def test_fault_23_ragged_rows_open_quotes_and_nul_bytes_are_told_with_their_line(
    write: Write, content: str, line: int, told: str
) -> None:
    with pytest.raises(SourceError, match=rf"houses\.csv, line {line:,}: .*{told}"):
        read_table(write(content))


def test_fault_23_a_ragged_row_far_down_is_told_with_its_line(write: Write) -> None:
    with pytest.raises(SourceError, match=r"line 400,002: 1 value"):
        read_table(write("a,b\n" + "1,2\n" * 400_000 + "3\n" + "1,2\n" * 100_000))


def test_fault_24_marks_and_newlines_of_other_systems_do_not_count(write: Write) -> None:
    assert values(read_table(write("\ufeffa,b\r\n1,é\r3,4\n5,6".encode()))) == {"a": [1, 3, 5], "b": ["é", "4", "6"]}
    assert read_table(write('\ufeff"a","b"\n1,2\n'.encode())).names == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_fault_24_other_encodings_are_named_errors(write: Write, encoding: str) -> None:
    with pytest.raises(SourceError, match="UTF-8"):
        read_table(write("a,b\n1,x\n2,é\n".encode(encoding)))


def test_fault_24_the_line_of_the_first_strange_byte_is_told(write: Write) -> None:
    with pytest.raises(SourceError, match=r"line 3: the byte 0xe9 is not UTF-8"):
        read_table(write("a,b\n1,x\n2,é\n".encode("latin-1")))
    with pytest.raises(SourceError, match="line 1: the header is not UTF-8"):
        read_table(write("é,b\n1,x\n".encode("latin-1")))


@pytest.mark.parametrize(
    ("header", "told"),
    [("a,b,a", "'a' stands over columns 1 and 3"), ("a,,b", "column 2 has no name"), ("a, ,b", "no name")],
)
def test_fault_25_doubled_and_empty_names_are_errors(write: Write, header: str, told: str) -> None:
    with pytest.raises(ColumnError, match=told):
        read_table(write(f"{header}\n1,2,3\n"))


def test_fault_25_doubled_names_are_errors_in_memory_and_in_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    arrow = pa.table([[1], [2]], names=["a", "a"])
    parquet.write_table(arrow, tmp_path / "x.parquet")
    for source in (frame, arrow, tmp_path / "x.parquet"):
        with pytest.raises(ColumnError, match="stands over columns 1 and 2"):
            read_table(source)


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.data"])
def test_fault_27_empty_files_are_one_line(write: Write, content: str, name: str) -> None:
    with pytest.raises(SourceError, match=rf"^{name} is empty\. [^\n]*$"):
        read_table(write(content, name))


@pytest.mark.parametrize("content", ["a,b", "a,b\n", "a,b\n\n \n"])
def test_fault_27_a_header_alone_is_one_line(write: Write, content: str) -> None:
    with pytest.raises(SourceError, match=r"^houses\.csv has a header and no rows\. [^\n]*$"):
        read_table(write(content))


@pytest.mark.parametrize("source", [{}, {"a": []}, pd.DataFrame({"a": []}), np.zeros((0, 2)), np.zeros((2, 0))])
def test_fault_27_tables_without_rows_or_columns_are_errors(source: object) -> None:
    with pytest.raises(SourceError, match=r"has no (rows|columns)"):
        read_table(source)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.feather"])
def test_fault_27_empty_binary_files_are_errors(write: Write, name: str) -> None:
    with pytest.raises(SourceError, match="is empty"):
        read_table(write(b"", name))


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        (b"\x89PNG\r\n\x1a\n", "x.csv", "PNG"),
        (b"PK\x03\x04....", "x.csv", "zip"),
        (pickle.dumps({"a": [1]}), "x.csv", "pickle"),
        (pickle.dumps({"a": [1]}), "x.parquet", "pickle"),
        (b"a,b\n1,2\n", "x.parquet", "no Parquet file"),
        (b"a,b\n1,2\n", "x.arrow", "no Arrow file"),
        (b"a,b\n1,2\n", "x.csv.gz", "not compressed"),
        (gzip.compress(b"a,b\n1,2\n"), "x.csv", "compressed"),
        (b"PAR1...\0", "x.csv", "is a Parquet file"),
        (b"BZh9...\0", "x.csv", "a bzip2 file"),
        (b"BZh9....", "x", "a bzip2 file"),
        (b"FEA1....", "x.feather", "Feather file of version 1"),
        (b"<DATE>,y\n1,2\n", "x", "JSON"),
        (b'{"a": 1}', "x.csv", "no rows.*JSON"),
        (b"[x],y\n1,2\n3\n", "x.csv", "line 3: 1 value.*JSON"),
        (b'{"a": 1}', "x.json", "JSON"),
    ],
)
def test_files_of_other_kinds_are_told_by_their_content(write: Write, content: bytes, name: str, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        read_table(write(content, name))


@pytest.mark.parametrize("name", ["FEA1", "PAR1", "BZh", "ARROW1", "<DATE>", "[x]", "{x}"])
def test_a_header_may_begin_like_a_file_of_another_kind(write: Write, name: str) -> None:
    assert values(read_table(write(f"{name},y\n1,2\n"))) == {name: [1], "y": [2]}


@contextlib.contextmanager
def piped(content: bytes) -> Iterator[str]:
    """The path of a pipe that gives these bytes once."""
    reader, writer = os.pipe()

    def feed() -> None:
        with open(writer, "wb") as file, contextlib.suppress(BrokenPipeError):
            file.write(content)

    feeder = threading.Thread(target=feed)
    feeder.start()
    yield f"/dev/fd/{reader}"
    os.close(reader)
    feeder.join()


needs_pipes = pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes have no paths here")


@needs_pipes
@pytest.mark.parametrize("packed", [False, True])
def test_a_pipe_is_read_whole_and_once(write: Write, packed: bool) -> None:
    content = b"a,b\n" + b"1,01\n" * 30_000
    with piped(gzip.compress(content) if packed else content) as path:
        table = read_table([path, write("a,b\n2,x\n")])
        assert len(table) == 30_001
        assert table.data["b"][29_999].as_py() == "01"
        assert table.where(29_999).endswith("line 30,001")


@needs_pipes
def test_a_pipe_is_text(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with piped((tmp_path / "x.parquet").read_bytes()) as path, pytest.raises(SourceError, match="a pipe of Parquet"):
        read_table(path)
    with piped(b"") as path, pytest.raises(SourceError, match="is empty"):
        read_table(path)


def test_a_file_that_does_not_exist_suggests_its_neighbour(write: Write, tmp_path: Path) -> None:
    write("a\n1\n")
    with pytest.raises(SourceError, match=r"does not exist.*houses\.csv"):
        read_table(tmp_path / "huoses.csv")
    with pytest.raises(SourceError, match="There is no folder"):
        read_table(tmp_path / "nowhere" / "x.csv")


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder"):
        read_table(tmp_path)


def test_a_file_that_may_not_be_read_is_an_error(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a\n1\n")
    os.chmod(path, stat.S_IWUSR)
    if os.access(path, os.R_OK):  # the superuser may read everything

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(SourceError, match="may not be read"):
        read_table(path)


def test_fault_28_a_cut_gzip_file_is_an_error(write: Write) -> None:
    whole = gzip.compress(os.urandom(1000).hex().encode())
    for broken in (whole[:-4], whole[: len(whole) // 2], whole[:30] + b"\0\0\0\0" + whole[34:]):
        with pytest.raises(SourceError, match="damaged or cut off"):
            read_table(write(broken, "x.csv.gz"))


def test_fault_28_a_cut_parquet_file_is_an_error_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"a": range(1000)}), path)
    whole = path.read_bytes()
    for length in (4, 5, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"x\.parquet is damaged or cut off"):
            read_table(path)


def test_fault_28_a_flipped_bit_in_a_page_is_told_with_its_row_group(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    numbers = np.random.default_rng(0).normal(size=3000)
    parquet.write_table(
        pa.table({"a": numbers}), path, row_group_size=1000, write_page_checksum=True, use_dictionary=False
    )
    content = bytearray(path.read_bytes())
    content[content.index(numbers[1500].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.parquet is damaged in row group 1 of 3"):
        read_table(path)


def test_fault_28_a_cut_arrow_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("a", pa.int64())])) as writer:
        writer.write_table(pa.table({"a": range(1000)}))
    whole = path.read_bytes()
    assert values(read_table(path))["a"][:2] == [0, 1]
    for length in (8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match="damaged or cut off"):
            read_table(path)


def test_fault_28_an_arrow_file_whose_codes_have_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    table = pa.table({"a": pa.array(["one", "two", "three"]).dictionary_encode()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    good, bad = np.array([0, 1, 2], np.int32), np.array([0, 1, 99], np.int32)
    path.write_bytes(path.read_bytes().replace(good.tobytes(), bad.tobytes()))
    with pytest.raises(SourceError, match="damaged"):
        read_table(path)


_HOSTILE = """
import sys, pyarrow as pa, pyarrow.parquet as parquet
field = pa.field("a", pa.binary(), metadata={
    b"ARROW:extension:name": b"arrow.py_extension_type",
    b"ARROW:extension:metadata": b"cbuiltins\\nprint\\n(S'EXECUTED'\\ntR.",
})
parquet.write_table(pa.table([pa.array([b"x"])], schema=pa.schema([field])), sys.argv[1])
"""


def test_fault_31_an_extension_type_in_parquet_is_never_unpickled(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hostile.parquet"
    subprocess.run([sys.executable, "-c", _HOSTILE, path], check=True)
    with pytest.raises(ColumnError, match="'a' holds"):
        read_table(path)
    assert "EXECUTED" not in capfd.readouterr().out


def test_fault_31_a_harmless_extension_type_is_taken_as_its_storage() -> None:
    flags = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, None], pa.int8()))
    assert values(read_table(pa.table({"a": flags}))) == {"a": [0, 1, None]}


# -- tables in memory ---------------------------------------------------------------------------------------------


def test_types_of_arrow_become_four() -> None:
    table = pa.table(
        {
            "small": pa.array([1, None], pa.int8()),
            "half": pa.array(np.array([0.5, np.nan], np.float16)),
            "decimal": pa.array([1, None]).cast(pa.decimal128(22, 2)),
            "large": pa.array(["x", ""], pa.large_string()),
            "view": pa.array(["x", None], pa.string_view()),
            "category": pa.array([" x", "y "]).dictionary_encode(),
            "grade": pa.array([5, 6], pa.int16()).dictionary_encode(),
            "none": pa.nulls(2),
            "time": pa.array([43200, None], pa.time32("s")),
            "gap": pa.array([86_400_000_000, None], pa.duration("us")),
        }
    )
    read = read_table(table)
    assert kinds(read) == ["int64", "double", "double", *["dictionary"] * 4, *["double"] * 3]
    assert values(read) == {
        "small": [1, None],
        "half": [0.5, None],
        "decimal": [1.0, None],
        "large": ["x", None],
        "view": ["x", None],
        "category": ["x", "y"],
        "grade": ["5", "6"],
        "none": [None, None],
        "time": [0.5, None],
        "gap": [1.0, None],
    }


@pytest.mark.parametrize(
    "column",
    [pa.array([[1], [2]]), pa.array([{"x": 1}]), pa.array([b"x"]), np.array([1j]), [object()], [{1}], [b"x", "y"]],
)
def test_columns_of_other_types_are_named(column: Any) -> None:
    with pytest.raises(ColumnError, match="'odd'"):
        read_table({"odd": column})


def test_fault_14_nan_counts_as_missing_from_every_source() -> None:
    numbers = np.array([1.0, np.nan])
    for source in (
        {"column_1": numbers},
        numbers[:, np.newaxis],
        pd.DataFrame({"column_1": numbers}),
        pl.DataFrame({"column_1": numbers}),
        pa.table({"column_1": numbers}),
        pa.RecordBatch.from_pydict({"column_1": numbers}),
    ):
        assert values(read_table(source)) == {"column_1": [1.0, None]}


def test_pandas_frames_come_without_their_index() -> None:
    frame = pd.DataFrame(
        {
            "a": [1, 2, None],
            "b": ["x", None, "y"],
            "c": pd.Categorical(["u", "v", "u"]),
            "d": pd.array([True, None, False], dtype="boolean"),
            "e": pd.array([1, None, 3], dtype="Int32"),
            7: pd.Series(["1970-01-02", None, "1970-01-01"], index=[9, 8, 7], dtype="datetime64[ns]"),
        },
        index=[9, 8, 7],
    )
    assert values(read_table(frame)) == {
        "a": [1.0, 2.0, None],
        "b": ["x", None, "y"],
        "c": ["u", "v", "u"],
        "d": [True, None, False],
        "e": [1, None, 3],
        "7": [1.0, None, 0.0],
    }


def test_a_pandas_column_of_mixed_values_becomes_text_and_says_so() -> None:
    table = read_table(pd.DataFrame({"a": pd.Series([1, "x", None, 2.5, float("nan")], dtype=object)}))
    assert values(table) == {"a": ["1", "x", None, "2.5", None]}
    assert any(note.startswith("a: mixes") for note in table.notes)


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        (pd.Series(pd.arrays.SparseArray([0, 0, 7])), [0, 0, 7]),
        (pd.Series(pd.arrays.SparseArray([1.5, np.nan, np.nan])), [1.5, None, None]),
        (pd.Series(np.array([1, 2, 3], ">i4")), [1, 2, 3]),
        (np.array([1.5, np.nan, 3], ">f8"), [1.5, None, 3]),
        (np.array(["1970-01-02"], ">M8[s]"), [1.0]),
        ([2**70, 1, None], [2.0**70, 1, None]),
        (pd.Series([2**70, 1.5, np.float32(2)], dtype=object), [2.0**70, 1.5, 2]),
    ],
)
def test_numbers_stay_numbers_however_they_are_stored(column: Any, numbers: list[Any]) -> None:
    for source in ({"a": column}, pd.DataFrame({"a": column})):
        table = read_table(source)
        assert kinds(table)[0] in ("int64", "double")
        assert (values(table), [note for note in table.notes if "mixes" in note]) == ({"a": numbers}, [])


def test_numbers_beyond_float64_are_an_error() -> None:
    with pytest.raises(ColumnError, match="'a' holds a number beyond float64"):
        read_table({"a": [10**400, 1]})
    with pytest.raises(ColumnError, match="'a' holds values of type complex64"):
        read_table({"a": [np.complex64(1), 2**70]})


@pytest.mark.parametrize(
    ("categories", "texts"),
    [
        (pd.Categorical([3, 1, 3, None]), ["3", "1", "3", None]),
        (pd.Categorical([2.5, 1.0]), ["2.5", "1"]),
        (pd.Categorical([True, False]), ["true", "false"]),
        (pd.Categorical(pd.to_datetime(["2020-01-01"])), ["2020-01-01 00:00:00.000000"]),
        (pa.array([7, None]).dictionary_encode(), ["7", None]),
        (pa.chunked_array([pa.array([7, 8]).dictionary_encode(), pa.array([9]).dictionary_encode()]), ["7", "8", "9"]),
        (pa.array([None, None], pa.null()).dictionary_encode(), [None, None]),
    ],
)
def test_declared_categories_are_text_whatever_their_values(categories: Any, texts: list[Any]) -> None:
    table = pd.DataFrame({"a": categories}) if isinstance(categories, pd.Categorical) else pa.table({"a": categories})
    assert values(read_table(table)) == {"a": texts}


def test_categories_and_numbers_of_two_files_are_text_together(tmp_path: Path) -> None:
    for name, column in (("1.arrow", pa.array([7]).dictionary_encode()), ("2.arrow", pa.array([8]))):
        table = pa.table({"a": column})
        with pa.OSFile(str(tmp_path / name), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
    assert values(read_table(str(tmp_path / "*.arrow"))) == {"a": ["7", "8"]}


def test_categories_of_polars_are_text() -> None:
    words = ["y", "x", None, "y"]
    frame = pl.DataFrame({"a": words, "b": words}, {"a": pl.Categorical, "b": pl.Enum(["x", "y"])})
    assert values(read_table(frame)) == values(read_table(pl.concat([frame]))) == {"a": words, "b": words}
    assert values(read_table(frame.to_dict())) == {"a": words, "b": words}


@pytest.mark.parametrize("column", [1, None, "abc", b"abc", np.array(1), {"b": 1}, iter([1])])
def test_a_column_of_a_dict_has_several_values(column: Any) -> None:
    with pytest.raises(ColumnError, match="'odd'"):
        read_table({"odd": column})


def test_text_without_a_utf8_form_is_an_error() -> None:
    lone = "x\ud800"
    for column in ([lone, "y"], np.array(["y", lone]), np.array([lone, 1], object)):
        with pytest.raises(ColumnError, match=r"'a' holds 'x\\ud800'"):
            read_table({"a": column})
    for source in ({lone: [1]}, pd.DataFrame([[1]], columns=pd.Index([lone], dtype=object))):
        with pytest.raises(ColumnError, match=r"name 'x\\ud800'"):
            read_table(source)
    with pytest.raises(ColumnError, match=r"'a' holds 'x\\ud800'"):
        read_table(pd.DataFrame({"a": pd.Series([lone], dtype=object)}))


def test_polars_frames_are_read() -> None:
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [True, False]}, schema_overrides={"a": pl.UInt8})
    assert values(read_table(frame)) == {"a": [1, None], "b": ["x", "y"], "c": [True, False]}


def test_arrays_get_numbered_columns() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert values(read_table(array)) == {"column_1": [0.0, 3.0], "column_2": [1.0, 4.0], "column_3": [2.0, 5.0]}
    assert values(read_table(np.asfortranarray(array)[::-1, ::2]))["column_2"] == [5.0, 2.0]
    assert values(read_table(np.array([[1, "x"]], dtype=object))) == {"column_1": [1], "column_2": ["x"]}
    with pytest.raises(SourceError, match="one of two"):
        read_table(np.zeros(3))


def test_what_is_no_table_is_told() -> None:
    for source in (3, None, [1, 2], [[1.0]], object()):
        with pytest.raises(SourceError, match="is no table"):
            read_table(source)
    with pytest.raises(ColumnError, match="equally long"):
        read_table({"a": [1], "b": [1, 2]})


def test_arrow_files_streams_and_parquet_are_read(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    parquet.write_table(table, tmp_path / "x.parquet")
    with pa.OSFile(str(tmp_path / "x.feather"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    for name in ("x.parquet", "x.feather", "x.arrow"):
        assert values(read_table(tmp_path / name)) == {"a": [1, 2], "b": ["x", None]}


def test_a_table_that_was_read_is_returned_as_it_is() -> None:
    table = read_table({"a": [1]})
    assert read_table(table) is table


def test_a_missing_column_suggests_the_nearest_name() -> None:
    table = read_table({"price": [1], "area": [2]})
    with pytest.raises(ColumnError, match=r"no target column 'Prise'\. Did you mean 'price'"):
        table.column("Prise", "target column")
    with pytest.raises(ColumnError, match="There are 'price', 'area'"):
        table.column("zzz")


def test_a_file_is_read_and_encoded_without_a_frame_library(write: Write) -> None:
    path = write("x,word,truth,gap,day\n" + "1, a,true,7.5,2001-01-01\n2,b,false,nan,2001-01-02\n3,,,4.5,\n" * 5)
    program = (
        "import sys, numpy as np\n"
        "from schuss.table import encoding, learning, schema, source, store, table as tables\n"
        f"table = source.read_table({str(path)!r})\n"
        "for name in table.names:\n"
        "    target = schema.find_target(table, [name])\n"
        "    rows = np.flatnonzero(schema.has_target(table, target))\n"
        "    learned = learning.learn_schema(table, target, tables.chosen(table, rows))\n"
        "    encoding.Encoding(learned).encode(table, rows)\n"
        "print(sorted({'pandas', 'polars', 'sklearn', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


# -- real tables --------------------------------------------------------------------------------------------------


@needs_data
def test_adult_is_read_without_header_and_with_spaces() -> None:
    table = read_table(DATA / "adult/adult.data.gz", TableFormat(header=False))
    assert len(table) == 32_561
    assert kinds(table).count("int64") == 6
    assert [table.data[f"column_{i}"].null_count for i in (2, 7, 14)] == [1836, 1843, 583]
    assert set(table.data["column_15"].unique().to_pylist()) == {"<=50K", ">50K"}
    assert table.where(0) == "adult.data.gz, line 1"


@needs_data
def test_housing_and_flights_have_their_known_gaps() -> None:
    assert read_table(DATA / "california-housing/housing.csv").data["total_bedrooms"].null_count == 207
    flights = read_table(DATA / "nycflights13/flights.csv.gz")
    assert (len(flights), flights.data["arr_delay"].null_count) == (336_776, 9_430)


@needs_data
def test_twelve_stations_are_one_table() -> None:
    table = read_table(str(DATA / "beijing-air/*.csv.gz"))
    assert (len(table), table.notes) == (420_768, ("12 files",))
    assert table.data["PM2.5"].null_count == 8_739
    assert len(table.data["station"].unique()) == 12
