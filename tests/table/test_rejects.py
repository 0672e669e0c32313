"""Ragged rows: left out when that was asked for, counted, and written down as they stand."""

import csv
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from click.testing import CliRunner
from hypothesis import given, strategies as st

from schuss.cli import cli
from schuss.errors import OutputError, SourceError
from schuss.files import Storage
from schuss.table import formats
from schuss.table.delimited import TableFormat
from schuss.table.rejects import rejects_file
from schuss.table.source import read_table

HEADER = ["file", "line", "values", "columns", "row"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rejected(path: str = "rejects.csv") -> list[list[str]]:
    """The rows of a file of rejected rows."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == HEADER
    return rows


FORMAT = TableFormat(separator=",", rejects="rejects.csv")


@pytest.mark.parametrize("size", [16, 100, 1 << 24])
@pytest.mark.parametrize("memory", [None, 0])
def test_fault_23_ragged_rows_are_left_out_counted_and_written(
    monkeypatch: pytest.MonkeyPatch, size: int, memory: int | None
) -> None:
    monkeypatch.setattr(formats, "PIECE_BYTES", size)
    rows = ["1,01"] * 20 + ["2", '3,"x, ""y""",é', "4,02"] + ["5,03"] * 20 + ["6,7,8,9", "7,z"]
    Path("x.csv").write_text("a,b\n" + "\n".join(rows), newline="")
    table = read_table("x.csv", FORMAT, memory=memory)
    assert rejected() == [
        ["x.csv", "22", "1", "2", "2"],
        ["x.csv", "23", "3", "2", '3,"x, ""y""",é'],
        ["x.csv", "45", "4", "2", "6,7,8,9"],
    ]
    assert table.notes == ("3 ragged rows left out, see rejects.csv",)
    assert table.data["a"].to_pylist() == [1] * 20 + [4] + [5] * 20 + [7]
    assert table.data["b"].to_pylist() == ["01"] * 20 + ["02"] + ["03"] * 20 + ["z"]
    assert [table.where(row) for row in (0, 20, 41)] == [f"x.csv, line {line}" for line in (2, 24, 46)]
    assert len(table) + len(rejected()) == len(rows)


WIDTHS = {"1,2": 2, "é,4": 2, '"a\nb",5': 2, '5" pipe,6': 2, "": 0, "7": 1, "1,2,3": 3, '"x\r\ny"': 1, ",,,": 4}


@given(
    rows=st.lists(st.sampled_from(sorted(WIDTHS)), max_size=30),
    ending=st.sampled_from(["\n", "\r\n"]),
    size=st.integers(8, 100),
)
def test_every_record_is_read_or_rejected_however_a_file_is_cut(rows: list[str], ending: str, size: int) -> None:
    even = ["1,2"] * (len(rows) + 1)
    Path("cut.csv").write_text(ending.join(["a,b", *even, *rows]), newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "PIECE_BYTES", size)
        table = read_table("cut.csv", FORMAT)
    assert len(table) == len(even) + sum(WIDTHS[row] == 2 for row in rows)
    found = rejected()
    assert [row[4] for row in found] == [row for row in rows if WIDTHS[row] not in (0, 2)]
    assert [int(row[2]) for row in found] == [WIDTHS[row[4]] for row in found]
    lines = Path("cut.csv").read_text().split("\n")
    assert all(lines[int(row[1]) - 1] == row[4].splitlines()[0] for row in found)


@pytest.mark.parametrize(
    ("row", "told"),
    [('3,"x', "a quoted value begins here"), ("3,x\0", "a NUL byte"), ("3,\xe9", "the byte 0xe9 is not UTF-8")],
)
def test_fault_23_other_faults_stay_errors_with_their_line(
    monkeypatch: pytest.MonkeyPatch, row: str, told: str
) -> None:
    Path("x.csv").write_bytes(b"a,b\n1,2\n1\n" + b"1,2\n" * 9 + b"1,2,3\n" + row.encode("latin-1") + b"\n1,2\n")
    for size in (16, 1 << 24):
        monkeypatch.setattr(formats, "PIECE_BYTES", size)
        with pytest.raises(SourceError, match=rf"x\.csv, line 14: {told}"):
            read_table("x.csv", FORMAT)
    assert not Path("rejects.csv").exists()


def test_a_file_that_is_mostly_ragged_is_an_error() -> None:
    Path("x.csv").write_text("a,b\n1,2\n1;2\n1;2\n")
    with pytest.raises(SourceError, match=r"x\.csv: 2 of 3 rows have too many or too few values\. Give the right sep"):
        read_table("x.csv", FORMAT)
    assert not Path("rejects.csv").exists()
    Path("x.csv").write_text("a,b\n1,2\n1;2\n")
    assert read_table("x.csv", FORMAT).notes == ("1 ragged row left out, see rejects.csv",)


def test_the_rows_of_other_files_stay_and_those_of_the_same_do_not_double() -> None:
    Path("train.csv").write_text("a,b\n1,2\n3\n")
    Path("test.csv").write_text('a,b\n1,2\n"4\r\n,",,\n')
    for name in ("train.csv", "test.csv", "train.csv"):
        read_table(name, FORMAT)
    assert rejected() == [["test.csv", "3", "3", "2", '"4\r\n,",,'], ["train.csv", "3", "1", "2", "3"]]
    Path("train.csv").write_text("a,b\n1,2\n")
    assert read_table(["test.csv", "train.csv"], FORMAT).notes == ("2 files", "1 ragged row left out, see rejects.csv")
    assert len(rejected()) == 1


def test_without_ragged_rows_the_file_is_a_header() -> None:
    parquet.write_table(pa.table({"a": [1]}), "x.parquet")
    assert (read_table("x.parquet", FORMAT).notes, rejected()) == ((), [])
    Path("rejects.csv").write_text("")
    assert (read_table("x.parquet", FORMAT).notes, rejected()) == ((), [])


def test_nothing_else_is_overwritten() -> None:
    Path("x.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(OutputError, match=r"x\.csv is there already and holds no rejected rows: give another name"):
        read_table("x.csv", TableFormat(rejects="x.csv"))
    assert Path("x.csv").read_text() == "a,b\n1,2\n3\n"
    with pytest.raises(OutputError, match="does not exist"):
        read_table("x.csv", TableFormat(rejects="nowhere/rejects.csv"))


def test_rejected_rows_are_written_whole_or_not_at_all(failing: Callable[[int], Storage], folder: Path) -> None:
    old = ",".join(HEADER) + "\nold.csv,2,1,2,3\n"
    new = ",".join(HEADER) + "\nold.csv,2,1,2,3\nx.csv,3,1,2,4\n"
    for number in range(1, 20):
        Path("rejects.csv").write_text(old)
        try:
            with rejects_file("rejects.csv", ["x.csv"], failing(number)) as writer:
                assert writer
                writer.write(["x.csv", 3, 1, 2, "4"])
            break
        except OutputError:
            assert Path("rejects.csv").read_text() in (old, new)
            assert [path.name for path in folder.iterdir()] == ["rejects.csv"]
    assert number == 8
    assert Path("rejects.csv").read_text() == new


def test_the_command_line_takes_a_name_for_rejected_rows() -> None:
    Path("x.csv").write_text("a,b\n" + "".join(f"{row},{row}.5\n" for row in range(9)) + "3\n")
    done = CliRunner().invoke(cli, ["inspect", "x.csv", "-t", "b", "--rejects", "left.csv"])
    assert (done.exit_code, done.exception) == (0, None)
    assert rejected("left.csv") == [["x.csv", "11", "1", "2", "3"]]
