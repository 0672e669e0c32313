"""Any source becomes a Table: typed columns in memory, with what a message needs to say where a value stands.

Kinds of columns come from all rows of all files; nothing is told from a first part, nothing wraps, and a column of
text keeps its values as they were written.
"""

import contextlib
import difflib
import glob
import gzip
import os
import stat
import warnings
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import ColumnError, DataError, SourceError
from schuss.table.columns import Kind, as_slice, canonical, check_names, common_kind, from_numpy, kind_of, nearest
from schuss.table.delimited import MISSING, Content, TableFormat, TextFile, open_text

__all__ = ["MISSING", "Place", "Table", "TableFormat", "read_table"]

_TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".data")
_ARROW_ENDINGS = (".arrow", ".feather", ".ipc")
_FOREIGN = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive (or a spreadsheet)",
    b"%PDF": "a PDF document",
    b"\x93NUMPY": "a NumPy file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"FEA1": "a Feather file of version 1",
    **{bytes([0x80, version]): "a pickle, which is never loaded because it can run code" for version in range(2, 6)},
}
BLOCK_ROWS = 65_536  # statistics are summed up in blocks of so many rows, however a table is cut into files
_KNOWN = "Give CSV, TSV, Parquet or Arrow."
_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 1 << 12  # at the start of a file, by which its kind is told


@dataclass(frozen=True)
class Place:
    """Where rows came from: a file or an object, how many rows, and the number of the first, from 0.

    line_of_row_0: looks into a text file for the line of its first row, None where lines cannot be counted. Messages
        ask for it, nobody else: reading does not pay for it.
    """

    name: str
    rows: int
    first_row: int = 0
    line_of_row_0: Callable[[], int | None] = lambda: None

    def say(self, row: int) -> str:
        """Row `row` of these, counted from 0, in words."""
        line, row = self.line_of_row_0(), self.first_row + row
        return f"{self.name}, row {row + 1:,}" if line is None else f"{self.name}, line {line + row:,}"

    def slice(self, start: int, stop: int) -> "Place":
        """The rows from start up to stop."""
        start, stop = max(start, 0), min(stop, self.rows)
        return Place(self.name, max(stop - start, 0), self.first_row + start, self.line_of_row_0)


@dataclass(frozen=True, eq=False)
class Table:
    """What was read.

    name:    for messages: "houses.csv", "DataFrame", "array".
    data:    every column is int64, float64, bool or dictionary<int32, string>, in one piece; null is missing.
    notes:   what a person should know about the reading, such as "3 files".
    places:  the files in their order, or the object in memory.
    dates:   the columns that were dates or times, and are days now.
    missing: the words that stood for a missing value in text files; () where there was none.
    """

    name: str
    data: pa.Table
    notes: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    dates: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.data.num_rows)

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns, in the table's order."""
        return [str(name) for name in self.data.schema.names]

    def column(self, name: str, role: str = "column") -> pa.ChunkedArray:
        """The column of this name.

        Raises:
            ColumnError: it is not there; the message suggests the nearest name.
        """
        try:
            return self.data[name]
        except KeyError:
            raise ColumnError(f"{self.name} has no {role} {name!r}. {nearest(name, self.names)}") from None

    def where(self, row: int) -> str:
        """The place of a row (counted from 0) in words: "houses.csv, line 17", or "DataFrame, row 16"."""
        before = 0
        for place in self.places:
            if row < before + place.rows:
                return place.say(row - before)
            before += place.rows
        return Place(self.name, len(self)).say(row - before)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator["Table"]:
        """Views of BLOCK_ROWS rows after one another, the last of which may be shorter.

        columns: those that are wanted; None wants all. Of a table in memory the others cost nothing.
        """
        if len(self) <= BLOCK_ROWS:
            yield self
            return
        for start in range(0, len(self), BLOCK_ROWS):
            yield self.slice(start, min(start + BLOCK_ROWS, len(self)))

    def slice(self, start: int, stop: int) -> "Table":
        """A view of the rows from start up to stop, which still knows where they came from."""
        places, before = [], 0
        for place in self.places:
            places.append(place.slice(start - before, stop - before))
            before += place.rows
        return replace(self, data=self.data.slice(start, stop - start), places=tuple(places))


# Blocks of a table in their order, each with the rows of it that are meant.
Blocks: TypeAlias = Iterable[tuple[Table, RowIndex | slice]]


def chosen(table: Table, rows: RowIndex) -> Blocks:
    """The rows of a table, in ascending order, by its blocks."""
    start = 0
    for block in table.blocks():
        first, last = np.searchsorted(rows, (start, start + len(block)))
        if first < last:
            yield block, as_slice(rows[first:last] - start)
        start += len(block)


def row_count(block: Table, rows: RowIndex | slice) -> int:
    """How many rows of a block are meant."""
    return len(range(len(block))[rows]) if isinstance(rows, slice) else len(rows)


def read_table(
    source: object,
    format: TableFormat = TableFormat(),  # noqa: B008
    *,
    text: Collection[str] = (),
    only: Collection[str] | None = None,
) -> Table:
    """Reads a table from files or from memory.

    Arguments:
        source: a path or a list of paths (.csv .tsv .txt .data, each also with .gz; .parquet; .arrow .feather .ipc;
            a pipe of text), a glob pattern, an Arrow table or whatever offers Arrow's stream interface, a pandas or
            polars DataFrame, a NumPy array [N, F], or a dict of columns.
        format: how text files are read.
        text: columns to keep as text exactly as written, such as those that a model knows as categories
            ("01" is then not taken for a number); names that do not occur are passed over.
        only: the columns that are wanted, where they occur: what others hold does not matter. None wants all.

    Raises:
        SourceError: a file is missing, unreadable, empty, damaged or of another kind.
        ColumnError: a name is doubled or missing, the files differ, or a type cannot be used.

    >>> read_table({"size": [1, 2, None]}).data["size"].null_count
    1
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | os.PathLike):
        return _read_files(_paths(os.fspath(source)), format, text, only)
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | os.PathLike) for item in source):
        return _read_files([path for item in source for path in _paths(os.fspath(item))], format, text, only)
    if (
        type(source) is np.ndarray
        and source.dtype.kind == "f"
        and source.ndim == 2
        and source.size
        and not (only or text)
    ):
        return _from_matrix(source)
    name, data, notes = _from_memory(source, only)
    part = _Part(Place(name, data.num_rows), data, lambda _: data)
    return _joined([part], text, only, notes)


@dataclass(frozen=True)
class _Part:
    """One file, or the one table in memory. again: reads it with the named columns as text; missing: as in Table."""

    place: Place
    data: pa.Table
    again: Callable[[Collection[str]], pa.Table]
    missing: tuple[str, ...] = ()


def _joined(parts: Sequence[_Part], text: Collection[str], only: Collection[str] | None, notes: list[str]) -> Table:
    """The parts under one another, each column of the narrowest kind that holds it in all parts."""
    first = parts[0]
    name = first.place.name if len(parts) == 1 else f"{first.place.name} and {len(parts) - 1} more"
    for part in parts:
        check_names(part.data.column_names, part.place.name)
        _check_same_columns(first, part)
    names = _wanted(first.data.column_names, only)
    kinds = {column: _column_kind(column, parts, column in text) for column in names}
    parts = [_reread(part, kinds) for part in parts]
    columns = [_column(column, kind, parts, notes) for column, kind in kinds.items()]
    data = pa.table(columns, names=list(kinds))
    if not data.num_columns or not data.num_rows:
        raise SourceError(f"{name} has no {'rows' if data.num_columns else 'columns'}. Give a table with both.")
    dates = frozenset(column for column, kind in kinds.items() if kind == "date")
    missing = next((part.missing for part in parts if part.missing), ())
    return Table(name, data, tuple(notes), tuple(part.place for part in parts), dates, missing)


def _wanted(names: Sequence[str], only: Collection[str] | None) -> Sequence[str]:
    """The names that are wanted; all of them where none is, for a message that can say what there is."""
    return [name for name in names if only is None or name in only] or names


def _check_same_columns(first: _Part, other: _Part) -> None:
    """Both files have the same columns, in whatever order."""
    expected, found = set(first.data.column_names), set(other.data.column_names)
    if expected != found:
        differences = [f"{n!r} is missing" for n in sorted(expected - found)]
        differences += [f"{n!r} is not in the first file" for n in sorted(found - expected)]
        raise ColumnError(
            f"{other.place.name} has other columns than {first.place.name}: {', '.join(differences[:10])}. "
            "Give files with the same columns."
        )


def _column_kind(column: str, parts: Sequence[_Part], as_text: bool) -> Kind:
    """The kind that holds this column in all parts."""
    kinds = []
    for part in parts:
        type = part.data.schema.field(column).type
        kind = kind_of(type)
        if kind is None:
            raise ColumnError(f"{part.place.name}: column {column!r} holds {type}, which is no number and no text. "
                              "Leave it out, or make plain columns of it.")  # fmt: skip
        kinds.append(kind)
    joint = common_kind(kinds)
    return "text" if as_text and joint not in ("missing", "text") else joint


def _reread(part: _Part, kinds: Mapping[str, Kind]) -> _Part:
    """The part with its values as they were written, in columns that became text although it holds none there."""
    fields = part.data.schema
    changed = [name for name, kind in kinds.items() if kind == "text" and kind_of(fields.field(name).type) != "text"]
    return replace(part, data=part.again(changed)) if changed else part


def _column(name: str, kind: Kind, parts: Sequence[_Part], notes: list[str]) -> pa.Array:
    """One column of all parts in one piece."""
    if kind == "date":
        notes.append(f"{name}: dates as days since 1970-01-01")
    pieces = [canonical(part.data[name], kind) for part in parts]
    if kind == "integer" and any(pa.types.is_floating(piece.type) for piece in pieces):
        pieces = [piece.cast(pa.float64(), safe=False) for piece in pieces]
    if len(pieces) == 1:
        return pieces[0]  # combine_chunks would copy it
    joined = pa.chunked_array(pieces)
    return (joined.unify_dictionaries() if kind == "text" else joined).combine_chunks()


def _read_files(
    paths: Sequence[str], format: TableFormat, text: Collection[str], only: Collection[str] | None
) -> Table:
    """All files as one table."""
    parts = [_read_file(path, format, text) for path in paths]
    notes = [f"{len(parts):,} files"] if len(parts) > 1 else []
    return _joined(parts, text, only, notes)


def _paths(path: str) -> list[str]:
    """The file, or the files that a pattern finds, in the order of their names."""
    path = os.path.expanduser(path)
    if os.path.exists(path) or not glob.has_magic(path):
        return [path]
    found = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
    if not found:
        raise SourceError(f"No file fits the pattern {path!r}. Check the folder and the ending.")
    return found


def _read_file(path: str, format: TableFormat, text: Collection[str]) -> _Part:
    """One file of whatever kind."""
    name = os.path.basename(path)
    head, piped = _head(path)
    kind = _file_kind(name, head, piped is not None)
    if kind != "text":
        if piped is not None:
            raise SourceError(
                f"{name} is a pipe of {kind.capitalize()}, which is read from files alone. Save it as one."
            )
        data = _read_parquet(path, name) if kind == "parquet" else _read_arrow(path, name)
        return _Part(Place(name, data.num_rows), data, lambda _: data)

    def opened() -> TextFile:  # anew in the rare case that it is needed again: bytes of a file are not kept until then
        return open_text(name, _content(path, name, head, piped), format)

    try:
        data = opened().read(text)
    except DataError as error:
        if _looks_like_markup(head):
            raise type(error)(f"{error} The file looks like JSON or a web page, not like a table.") from None
        raise
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror or error}.") from None
    place = Place(name, data.num_rows, line_of_row_0=lambda: opened().first_line(data.num_rows))
    return _Part(place, data, lambda names: opened().read({*names, *text}), format.missing)


def _head(path: str) -> tuple[bytes, bytes | None]:
    """The first bytes of a file, and all bytes of what is read only once (a pipe); the errors of the system as ours."""
    try:
        with open(path, "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(_HEAD_BYTES), None
            piped = file.read()
            return piped[:_HEAD_BYTES], piped
    except FileNotFoundError:
        raise SourceError(f"{path!r} does not exist. {_near_file(path)}") from None
    except IsADirectoryError:
        raise SourceError(f"{path!r} is a folder. Give a file, or a pattern such as '{path}/*.csv'.") from None
    except PermissionError:
        raise SourceError(f"{path!r} may not be read. Ask for permission to read it.") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path!r} cannot be read: {error}.") from None


def _near_file(path: str) -> str:
    """Advice for a path that does not exist."""
    folder = Path(path).parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(Path(path).name, names, n=1)
    if close:
        return f"Did you mean {str(folder / close[0])!r}?"
    return "Check the path." if folder.is_dir() else f"There is no folder {str(folder)!r}."


def _file_kind(name: str, head: bytes, piped: bool) -> str:
    """What a file is by its ending: text, parquet or arrow; its first bytes must agree.

    Of a file with the ending of text, letters and digits at its start may be a header: they tell nothing without a NUL.
    """
    lower = name.lower()
    text_ending = lower.removesuffix(".gz").endswith(_TEXT_ENDINGS)

    def marked(mark: bytes) -> bool:
        readable = text_ending and mark.replace(b" ", b"").isalnum()
        return head.startswith(mark) and (not readable or b"\0" in head)

    for mark, description in _FOREIGN.items():
        if marked(mark):
            raise SourceError(f"{name} is {description}, not a table. {_KNOWN}")
    by_content = "parquet" if marked(b"PAR1") else "arrow" if marked(b"ARROW1") else "text"
    zipped = head.startswith(_GZIP)
    if lower.endswith(".gz") != zipped and not piped:
        raise SourceError(f"{name} is {'' if zipped else 'not '}compressed with gzip. Rename it as what it is.")
    if lower.endswith(".parquet") and by_content != "parquet":
        raise SourceError(f"{name} is {'empty' if not head else 'no Parquet file'}. {_KNOWN}")
    if lower.endswith(_ARROW_ENDINGS):
        if by_content != "arrow" and not head.startswith(b"\xff\xff\xff\xff"):
            raise SourceError(f"{name} is {'empty' if not head else 'no Arrow file'}. {_KNOWN}")
        return "arrow"
    if text_ending and by_content != "text":
        raise SourceError(f"{name} is a {by_content.capitalize()} file. Rename it to end in .{by_content}.")
    if by_content == "text" and not text_ending and _looks_like_markup(head):
        raise SourceError(f"{name} looks like JSON or a web page, not a table. {_KNOWN}")
    return by_content


def _looks_like_markup(head: bytes) -> bool:
    return head.lstrip()[:1] in (b"{", b"[", b"<")


def _content(path: str, name: str, head: bytes, piped: bytes | None) -> Content:
    """The bytes of a text file; those of a packed one are unpacked in memory."""
    if piped is None and not head.startswith(_GZIP):
        return Content(path=path)
    try:
        content = Path(path).read_bytes() if piped is None else piped
        return Content(gzip.decompress(content) if content.startswith(_GZIP) else content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"{name} is damaged or cut off: {error}. Copy it again.") from None
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror}.") from None


def _read_parquet(path: str, name: str) -> pa.Table:
    """A Parquet file, its page checksums compared where it has them."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Arrow warns of the extension types that it does not load
            file = parquet.ParquetFile(path, page_checksum_verification=True)
            check_names(file.schema_arrow.names, name)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name} is damaged or cut off: {_one_line(error)}. Copy it again.") from None
    with file, warnings.catch_warnings(action="ignore"):
        try:
            return file.read()
        except (pa.ArrowException, OSError) as error:
            group = _damaged_group(file)
            raise SourceError(f"{name} is damaged in row group {group}: {_one_line(error)}. Copy it again.") from None


def _damaged_group(file: parquet.ParquetFile) -> str:
    """The first row group, counted from 0, that cannot be read."""
    for group in range(file.num_row_groups):
        try:
            file.read_row_group(group)
        except (pa.ArrowException, OSError):
            return f"{group} of {file.num_row_groups}"
    return "unknown"


def _read_arrow(path: str, name: str) -> pa.Table:
    """An Arrow file or stream, checked in full before anything is believed."""
    try:
        with warnings.catch_warnings(action="ignore"), pa.OSFile(path) as file:
            start = file.read(6)
            file.seek(0)
            reader = pa.ipc.open_file(file) if start == b"ARROW1" else pa.ipc.open_stream(file)
            data = reader.read_all()
            data.validate(full=True)
            return data
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name} is damaged or cut off: {_one_line(error)}. Copy it again.") from None


def _one_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _from_memory(source: object, only: Collection[str] | None) -> tuple[str, pa.Table, list[str]]:
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
            raise ColumnError(f"{type(source).__name__} does not become a table: {_one_line(error)}.") from None
    raise SourceError(
        f"A {type(source).__name__} is no table. Give a path, a DataFrame, an Arrow table, a dict of columns or a "
        "NumPy array of two axes."
    )


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
    wanted = set(_wanted(names, only))
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


def _from_matrix(matrix: NDArray[np.floating[Any]]) -> Table:
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
