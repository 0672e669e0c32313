"""Aligned files: values with any number of blanks between them."""

import gzip
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from schuss.errors import SourceError
from schuss.table import formats
from schuss.table.content import aligned_lines
from schuss.table.delimited import TableFormat
from schuss.table.source import read_table

ALIGNED = TableFormat(separator=" ")
TEXT = """
  name            length   sold
  "pine  wood"      1.50   true
  oak\t\t           12.25   false\t
  ?                 7.00     true
"""
COLUMNS = {"name": ["pine  wood", "oak", None], "length": [1.5, 12.25, 7.0], "sold": [True, False, True]}


def written(tmp_path: Path, text: str, name: str = "wood.txt") -> Path:
    path = tmp_path / name
    content = text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def values(path: Path, format: TableFormat = TableFormat()) -> dict[str, list[Any]]:  # noqa: B008
    table = read_table(path, format)
    return {name: table.data[name].to_pylist() for name in table.names}


@pytest.mark.parametrize("name", ["wood.txt", "wood.data.gz", "wood"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_aligned_values_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ending: str) -> None:
    for size in (1 << 24, 16):
        monkeypatch.setattr(formats, "PIECE_BYTES", size)
        for mark in ("", "\ufeff"):
            path = written(tmp_path, mark + TEXT.strip("\n").replace("\n", ending), name)
            assert values(path) == values(path, ALIGNED) == COLUMNS
            assert read_table(path).where(2) == f"{name}, line 4"


def test_a_csv_is_aligned_where_that_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT, "wood.csv")
    assert len(values(path)) == 1
    assert values(path, ALIGNED) == COLUMNS


@pytest.mark.parametrize("text", ["full name\nann lee\nbo  ray\n", "a b\n1 2\n1 2 3\n", "a b\n1 2\nx y\n"])
def test_words_with_blanks_are_one_column(tmp_path: Path, text: str) -> None:
    assert len(values(written(tmp_path, text))) == 1


def test_another_separator_that_fits_is_taken_first(tmp_path: Path) -> None:
    assert values(written(tmp_path, "a b;c d\n1 2;3 4\n")) == {"a b": ["1 2"], "c d": ["3 4"]}


def test_aligned_files_have_comments_and_faults_with_their_lines(tmp_path: Path) -> None:
    format = TableFormat(separator=" ", comment="#", header=False)
    assert values(written(tmp_path, "#  a   b\n  1   2\n# 3\n 4  5\n"), format) == {
        "column_1": [1, 4],
        "column_2": [2, 5],
    }
    with pytest.raises(SourceError, match=r"wood\.txt, line 3: 3 values where there are 2 columns"):
        read_table(written(tmp_path, " a   b\n 1  2\n 3  4  5\n"), ALIGNED)


@given(
    lines=st.lists(st.lists(st.sampled_from(["1", "x", "é", '"a  b"', '5"', '"a ""b  c"']), min_size=1), min_size=1),
    seed=st.integers(),
)
def test_blanks_do_not_count_outside_of_quotes(lines: list[list[str]], seed: int) -> None:
    draw = random.Random(seed)

    def blanks(least: int) -> str:
        return "".join(draw.choices(" \t", k=draw.randint(least, 3)))

    text = "\n".join(blanks(0) + "".join(word + blanks(1) for word in line) for line in lines)
    assert aligned_lines(text.encode()).decode() == "\n".join(" ".join(line) for line in lines)


def test_a_long_run_of_blanks_takes_no_long_time() -> None:
    assert aligned_lines(b"1" + b" " * (1 << 20) + b"2" + b"\t" * (1 << 20) + b"\n") == b"1 2\n"
