"""What is in memory already, as columns of Arrow: DataFrames, arrays, dicts, and iterators over them."""

import contextlib
import itertools
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schuss.errors import ColumnError, SourceError, one_line
from schuss.table.columns import canonical, check_names, from_numpy
from schuss.table.pieces import Memory, Place, Source
from schuss.table.spool import Spool, Spooled
from schuss.table.table import Table
from schuss.table.union import check_same_columns, read_part, union, wanted_names


def from_memory(source: object, only: Collection[str] | None) -> tuple[str, pa.Table, list[str]]:
    """Name, raw columns and notes of a table that is in memory already."""
    notes: list[str] = []
    library = type(source).__module__.partition(".")[0]
    if library == "pandas" and hasattr(source, "columns"):
        return "DataFrame", _from_pandas(source, only, notes), notes
    if isinstance(source, np.ndarray):
        return "array", _from_array(source, notes), notes
    if isinstance(source, Mapping):
        if len({_length(str(name), values) for name, values in source.items()}) > 1:
            raise ColumnError("The columns of the dict are not equally long. Give each the same number of values.")
        return "dict", _named([(str(name), _arrow(values, str(name), notes)) for name, values in source.items()]), notes
    if hasattr(source, "__arrow_c_stream__") or isinstance(source, pa.RecordBatch):
        try:
            with warnings.catch_warnings(action="ignore"):
                return type(source).__name__, pa.table(source), notes
        except Exception as error:  # whatever the foreign library raises for a column that Arrow does not know
            raise ColumnError(f"{type(source).__name__} does not become a table: {one_line(error)}.") from None
    raise SourceError(
        f"A {type(source).__name__} is no table. Give a path, a DataFrame, an Arrow table, a dict of columns or a "
        "NumPy array of two axes."
    )


def gives_tables(source: object) -> TypeGuard[Iterable[Any]]:
    """Whether something is gone through for its tables, and is none itself."""
    if isinstance(source, Iterator):
        return True
    table = isinstance(source, np.ndarray | Mapping | pa.RecordBatch) or hasattr(source, "__arrow_c_stream__")
    return isinstance(source, Iterable) and not table and not hasattr(source, "columns")


def from_tables(
    given: Iterable[Any], text: Collection[str], only: Collection[str] | None, allowed: int | None
) -> Table:
    """Tables that are gone through once, one under another: kept as they came, for columns that become text later."""
    kind, tables = type(given).__name__, iter(given)
    first = next(tables, None)
    if first is None:
        raise SourceError(f"The {kind} gives no tables. Give one with rows.")
    names = from_memory(first, None)[1].column_names
    spool, spooled, notes = Spool(), list[Spooled](), list[str]()

    def again(columns: Sequence[str], _: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        if which is not None:
            yield from (pa.table(spooled[number].read(columns)) for number in which)
            return
        for table in itertools.chain([first], tables):
            name, data, told = from_memory(table, None)
            check_same_columns("the first", names, f"{name} {len(spooled) + 1:,}", data.column_names)
            notes.extend(each for each in told if each not in notes)
            data = data.select(columns)
            spooled.append(spool.keep(dict(zip(columns, data.columns, strict=True))))
            yield data

    memory = Memory(allowed)
    return union([read_part(Source(kind, names, again, typed=True), text, only, memory)], notes, memory)


def _length(name: str, values: Any) -> int:
    """How many values a column of a dict has."""
    if not isinstance(values, str | bytes | Mapping):
        with contextlib.suppress(TypeError):
            return len(values)
    raise ColumnError(f"Column {name!r} is of type {type(values).__name__}. Give a list or an array of values.")


def _named(columns: Sequence[tuple[str, pa.Array]]) -> pa.Table:
    try:
        return pa.table([values for _, values in columns], names=[name for name, _ in columns])
    except UnicodeEncodeError as error:
        raise ColumnError(f"The column name {error.object!r} is no valid Unicode. Rename the column.") from None


def _from_pandas(frame: Any, only: Collection[str] | None, notes: list[str]) -> pa.Table:
    """A DataFrame column by column, without its index; a column that mixes types becomes text."""
    names = [str(name) for name in frame.columns]
    check_names(names, "DataFrame")
    columns = []
    wanted = set(wanted_names(names, only))
    for place, name in enumerate(names):
        if name not in wanted:
            continue
        series = _plain(frame.iloc[:, place])
        try:
            columns.append((name, pa.array(series, from_pandas=True)))
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            values = [None if gone else value for value, gone in zip(series.tolist(), series.isna(), strict=True)]
            columns.append((name, _mixed(values, name, notes)))
    return _named(columns)


def _from_array(array: NDArray[Any], notes: list[str]) -> pa.Table:
    """[N, F] as F columns called column_1, column_2, …"""
    if array.ndim != 2:
        raise SourceError(f"The array has {array.ndim} axes. Give one of two: rows and columns.")
    columns = [(f"column_{place + 1}", array[:, place]) for place in range(array.shape[1])]
    return _named([(name, _arrow(values, name, notes)) for name, values in columns])


def from_matrix(matrix: NDArray[np.floating[Any]]) -> Table:
    """[N, F] floats, as columns called column_1, column_2, …: there is nothing to find out of their kinds."""
    columns = [from_numpy(np.ascontiguousarray(values, np.float64)) for values in matrix.T]
    if np.isnan(matrix).any():
        columns = [canonical(pa.chunked_array([values]), "float") for values in columns]
    data = pa.table(columns, names=[f"column_{number}" for number in range(1, len(columns) + 1)])
    return Table("array", data, places=(Place("array", len(matrix)),))


def _plain(values: Any) -> Any:
    """Sparse columns of pandas as dense ones; numbers as wide as float64 and in the byte order of this machine."""
    if hasattr(values, "sparse"):
        values = values.sparse.to_dense()
    dtype = getattr(values, "dtype", None)
    if not isinstance(dtype, np.dtype):
        return values
    if dtype == np.longdouble:
        return values.astype(np.float64)
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def _arrow(values: Any, name: str, notes: list[str]) -> pa.Array:
    """A sequence of values as one Arrow array."""
    values = _plain(values)
    if type(values) is np.ndarray and values.ndim == 1 and values.dtype.kind in "iuf":  # a masked array is a subclass
        return from_numpy(np.ascontiguousarray(values))
    try:
        made = pa.array(values, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return _mixed(list(values), name, notes)
    return made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made


def _mixed(values: list[Any], name: str, notes: list[str]) -> pa.Array:
    """Values of several plain types as text, numbers alone as float64; None and NaN are missing."""
    absent = [value is None or (isinstance(value, float | np.floating) and value != value) for value in values]
    present = [value for value, gone in zip(values, absent, strict=True) if not gone]
    strange = next((value for value in present if not isinstance(value, str | bool | int | float | np.generic)), None)
    if strange is not None or any(isinstance(value, complex | np.complexfloating | bytes) for value in present):
        kind = type(present[0] if strange is None else strange).__name__
        raise ColumnError(f"Column {name!r} holds values of type {kind}. Make them numbers or text.")
    if all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in present):
        try:
            return pa.array([None if gone else float(value) for value, gone in zip(values, absent, strict=True)])
        except OverflowError:
            raise ColumnError(f"Column {name!r} holds a number beyond float64. Correct it.") from None
    notes.append(f"{name}: mixes text with other values, all taken as text")
    try:
        return pa.array([None if gone else str(value) for value, gone in zip(values, absent, strict=True)], pa.string())
    except UnicodeEncodeError as error:
        raise ColumnError(f"Column {name!r} holds {error.object!r}, which is no valid Unicode. Correct it.") from None
