"""Numbers that the core reads out of text are those that everybody else reads there, to the last bit."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, strategies as st

import schuss
from schuss.table.delimited import MISSING, TableFormat
from schuss.table.numbers import number_columns
from schuss.table.source import read_table

pytest.importorskip("schuss._core")
WORDS = [word for word in MISSING if word]


def columns(text: str, width: int = 2, missing: list[str] = WORDS) -> dict[str, pa.Array]:
    names = [str(place) for place in range(width)]
    return number_columns(bytearray(text.encode()), ",", names, names, missing)


def numbers(text: str) -> list[float | int | None]:
    """The first of two columns."""
    found: list[float | int | None] = columns(text)["0"].to_pylist()
    return found


def written(value: float) -> st.SearchStrategy[str]:
    return st.sampled_from(
        [repr(value), f"{value:.3f}", f"{value:.17g}", f"{value:e}", f" {value!r} ", f"{value:.25f}"]
    )


finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e290, max_value=1e290)


@given(st.lists(finite.flatmap(written), min_size=1))
@example(["9007199254740993.0", "9007199254740992e22", "-0.0", "1e-5", "0.1e1", "123456789012345678", "5e-324"])
def test_every_float_is_the_one_that_python_reads(texts: list[str]) -> None:
    found = columns("".join(f"{text},1.5\r\n" for text in texts))["0"]
    expected = np.array([float(text) for text in texts])
    assert np.array_equal(found.cast(pa.float64(), safe=False).to_numpy(), expected)


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1))
def test_whole_numbers_are_exact(values: list[int]) -> None:
    found = columns("".join(f"{value},0\n" for value in values))
    assert found["0"].type == pa.int64()
    assert found["0"].to_pylist() == values


@given(st.lists(st.one_of(st.none(), st.sampled_from(WORDS), st.integers(-99, 99), finite), min_size=1))
def test_gaps_are_where_they_were(values: list[str | int | float | None]) -> None:
    found = columns("".join(f"{'' if value is None else value},1\n" for value in values))["0"].to_pylist()
    expected = [None if value is None or isinstance(value, str) else float(value) for value in values]
    assert [None if value is None else float(value) for value in found] == expected


@pytest.mark.parametrize(
    "strange",
    ["007", "-01", "1.", ".5", "+5", "1e", "1e+", "0x10", "1_000", "inf", "-", "--1", "1-2", "2020-01-01", "true", "x",
     "1 2", "12:30", "9223372036854775808", "-9223372036854775808", "1e999", "1e123456", " ", '"1"', "NaN ", "\u0661"],
)  # fmt: skip
def test_a_column_with_anything_else_is_left_to_others(strange: str) -> None:
    found = columns(f"1,1\n{strange},2\n3,4.5\n")
    assert list(found) == ["1"]
    assert found["1"].to_pylist() == [1, 2, 4.5]


@pytest.mark.parametrize("text", ["1\n", "1,2\n3\n", "1,2,3\n", '1,2\n3,"4\n', '1,a"b\n', "1,2\r3,4\r", "1,2\n,,\n"])
def test_rows_of_other_widths_and_broken_quotes_are_left_to_others(text: str) -> None:
    assert columns(text) == {}


@pytest.mark.parametrize("separator", [" ", "-", ".", "5", "e"])
def test_what_may_be_part_of_a_number_separates_none(separator: str) -> None:
    assert number_columns(bytearray(f"1{separator}2\n".encode()), separator, ["a", "b"], ["a"], []) == {}


@pytest.mark.parametrize("separator", list(",;|\t:_"))
def test_anything_else_separates_numbers(separator: str) -> None:
    text = bytearray(f"1{separator}2\n-3.25{separator}\n".encode())
    found = number_columns(text, separator, ["a", "b"], ["b", "a"], [])
    assert {name: column.to_pylist() for name, column in found.items()} == {"a": [1, -3.25], "b": [2, None]}


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n", "\n\r\n"])
def test_lines_end_as_they_may(end: str) -> None:
    assert numbers(f'1,a\r\n\r\n\n2,"b,""\n,"\n3,c{end}') == [1, 2, 3]


def test_a_word_for_a_missing_value_may_look_like_a_number() -> None:
    found = columns("-999,1\n-999.0,2\n5,-999\n", missing=["-999"])
    assert found["0"].to_pylist() == [None, -999.0, 5.0]
    assert found["1"].to_pylist() == [1, 2, None]


def test_a_column_without_a_value_is_of_no_kind() -> None:
    assert columns(",1\nNA,2\n")["0"].type == pa.null()


def test_long_columns_have_gaps_at_any_place() -> None:
    values = [None if i % 7 in (0, 3) else i / 8 for i in range(1000)]
    assert numbers("".join(f"{'' if value is None else value},x\n" for value in values)) == values


value = st.one_of(
    st.sampled_from(["", "NA", " ", "x", "true", "007", "-1", "1e5", "1e400", "2020-02-02", '"q, ""r"""', "9" * 25]),
    st.integers(-(10**6), 10**20).map(str),
    st.floats().map(str),
)


@given(st.lists(st.tuples(value, value, value), min_size=1, max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_a_table_is_the_same_without_the_core(rows: list[tuple[str, str, str]], end: str) -> None:
    text = end.join(["a,b,c", *(",".join(row) for row in rows), ""])
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text(text, newline="")
        found = read_table(path, TableFormat())
        patch.delattr(schuss, "_core", raising=False)
        patch.setitem(sys.modules, "schuss._core", None)
        expected = read_table(path, TableFormat())
    assert found.schema == expected.schema
    assert found.data.equals(expected.data)
