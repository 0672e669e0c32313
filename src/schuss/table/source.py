"""Any source becomes a Table: typed columns, with what a message needs to say where a value stands.

A source is read in pieces. Kinds of columns come from all rows of all files: each piece tells its own, and what
contradicts the others is read again. Nothing is told from a first part, nothing wraps, and a column of text keeps its
values as they were written.
"""

import contextlib
import difflib
import glob
import itertools
import os
import shutil
import stat
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import ColumnError, DataError, OutputError, SourceError
from schuss.table.columns import (
    TEXT,
    Kind,
    as_slice,
    canonical,
    check_names,
    common_kind,
    from_numpy,
    kind_of,
    narrowed,
    nearest,
    words,
)
from schuss.table.delimited import BLANK, CODES, MISSING, PACKINGS, Content, TableFormat, TextFile, open_text, unpacked
from schuss.table.spool import Spool, Spooled

__all__ = ["BLOCK_ROWS", "MISSING", "Place", "Table", "TableFormat", "read_table"]

_TYPES: dict[Kind, pa.DataType] = {
    "missing": pa.float64(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.float64(),
    "text": TEXT,
}
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
    b"FEA1": "a Feather file of version 1",
    **{bytes([0x80, version]): "a pickle, which is never loaded because it can run code" for version in range(2, 6)},
}
_HIVE_MISSING = "__HIVE_DEFAULT_PARTITION__"
_KNOWN = "Give CSV, TSV, Parquet or Arrow."
_HEAD_BYTES = 1 << 12  # at the start of a file, by which its kind is told
BLOCK_ROWS = 65_536  # of which Table.blocks makes a block
_PIECE_BYTES = 1 << 24  # of text, and some of it of what is no text


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
    held:    every column is int64, float64, bool or dictionary<int32, string>, in one piece; null is missing. Or what
             gives such columns piece by piece, where they are more than the memory for them.
    notes:   what a person should know about the reading, such as "3 files".
    places:  the files in their order, or the object in memory.
    dates:   the columns that were dates or times, and are days now.
    missing: the words that stood for a missing value in text files; () where there was none.
    taken:   bytes of the columns that are in memory because they fitted into what was allowed.
    """

    name: str
    held: "pa.Table | Pieces"
    notes: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    dates: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    taken: int = 0

    def __len__(self) -> int:
        return int(self.held.num_rows)

    @cached_property
    def data(self) -> pa.Table:
        """All columns in memory: of a table that is larger than the memory for it, they are read and stay there."""
        return self.held.slice(0, len(self)) if isinstance(self.held, Pieces) else self.held

    @property
    def schema(self) -> pa.Schema:
        """The names of the columns and their types: int64, float64, bool or dictionary<int32, string>."""
        return self.held.schema

    def null_count(self, name: str) -> int:
        """How many values of a column are missing."""
        return self.held.null_count(name) if isinstance(self.held, Pieces) else int(self.held[name].null_count)

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns, in the table's order."""
        return [str(name) for name in self.schema.names]

    def column(self, name: str, role: str = "column") -> pa.ChunkedArray:
        """The column of this name.

        Raises:
            ColumnError: it is not there; the message suggests the nearest name.
        """
        try:
            return self.held[name]
        except KeyError:
            raise ColumnError(f"{self.name} has no {role} {name!r}. {nearest(name, self.names)}") from None

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator["Table"]:
        """The table in blocks of 65,536 rows, the last one shorter, however it was cut into files and pieces.

        Arguments:
            columns: those that are wanted; None wants all. A table beyond its memory reads no others.

        Raises:
            ColumnError: a column is not there.
            SourceError: a file that is read again was changed or damaged.
        """
        if not isinstance(self.held, Pieces) and len(self) <= BLOCK_ROWS:  # the other columns cost nothing
            yield self
            return
        names = self.names if columns is None else list(columns)
        for name in set(names).difference(self.names):
            self.column(name)
        held = self.held
        tables = held.tables(names, 0, len(self)) if isinstance(held, Pieces) else iter([held.select(names)])
        for number, block in enumerate(_blocks(tables)):
            start = number * BLOCK_ROWS
            yield replace(self, held=block, places=self._places(start, start + len(block)))

    def where(self, row: int) -> str:
        """The place of a row (counted from 0) in words: "houses.csv, line 17", or "DataFrame, row 16"."""
        before = 0
        for place in self.places:
            if row < before + place.rows:
                return place.say(row - before)
            before += place.rows
        return Place(self.name, len(self)).say(row - before)

    def slice(self, start: int, stop: int) -> "Table":
        """A view of the rows from start up to stop, which still knows where they came from."""
        return replace(self, held=self.held.slice(start, stop - start), places=self._places(start, stop))

    def _places(self, start: int, stop: int) -> tuple[Place, ...]:
        """Where the rows from start up to stop came from."""
        places, before = [], 0
        for place in self.places:
            places.append(place.slice(start - before, stop - before))
            before += place.rows
        return tuple(places)


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
    memory: int | None = None,
) -> Table:
    """Reads a table from files or from memory.

    Arguments:
        source: a path or a list of paths (.csv .tsv .txt .data, each also with .gz or .zst; .parquet; .arrow .feather
            .ipc; a pipe of text), a glob pattern, a folder of such files (its folders named key=value make columns),
            an Arrow table or whatever offers Arrow's stream interface, a pandas or polars DataFrame, a NumPy array
            [N, F], a dict of columns, or an iterator over any of the latter, which is read once and spooled.
        format: how text files are read.
        text: columns to keep as text exactly as written, such as those that a model knows as categories
            ("01" is then not taken for a number); names that do not occur are passed over.
        only: the columns that are wanted, where they occur: what others hold does not matter. None wants all.
        memory: how many bytes of columns stay in memory. What is beyond lies in temporary files, or, where the source
            is Parquet or Arrow, is read again by `Table.blocks`. None keeps all.

    Raises:
        SourceError: a file is missing, unreadable, empty, damaged or of another kind.
        ColumnError: a name is doubled or missing, the files differ, or a type cannot be used.
        OutputError: there is no room for the temporary files.

    >>> read_table({"size": [1, 2, None]}).data["size"].null_count
    1
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | os.PathLike):
        return _read_files(_files(os.fspath(source)), format, text, only, memory)
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | os.PathLike) for item in source):
        return _read_files([file for item in source for file in _files(os.fspath(item))], format, text, only, memory)
    if (
        type(source) is np.ndarray
        and source.dtype.kind == "f"
        and source.ndim == 2
        and source.size
        and not (only or text)
    ):
        return _from_matrix(source)
    if isinstance(source, Iterator):
        return _from_iterator(source, text, only, memory)
    name, data, notes = _from_memory(source, only)
    names = data.column_names
    given = _Source(name, names, lambda wanted, *_: iter([data if len(wanted) == len(names) else data.select(wanted)]))
    return _joined([_read(given, text, only, _Memory(None))], notes, _Memory(None))


@dataclass(frozen=True)
class _File:
    """A file, and what the names of the folders around it say."""

    path: str
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Source:
    """One file, or the one table in memory, which is read in pieces as often as need be.

    tables: (columns, those that stay text, numbers of pieces or None for all) -> those columns of each of the pieces.
    line_of_row_0: as in Place, where there are so many rows in all. missing: as in Table.
    """

    name: str
    names: list[str]
    tables: Callable[[Sequence[str], Collection[str], Sequence[int] | None], Iterator[pa.Table]]
    line_of_row_0: Callable[[int], int | None] = lambda rows: None
    missing: tuple[str, ...] = ()
    typed: bool = False  # quick to read again


@dataclass(frozen=True)
class _Piece:
    """Some rows of a source.

    kinds:   what each column holds, by itself.
    nulls:   how many values of each column are missing.
    codes:   of columns of codes such as 007, how long each is.
    clocks:  of dates, whether they are times of day, and their zone; values with spaces around are no dates.
    columns: in the form of a Table; one without values has the null type until others tell what it holds. Spooled, or
             None where the source is to be read again.
    """

    rows: int
    kinds: dict[str, Kind]
    nulls: dict[str, int]
    clocks: dict[str, object]
    codes: dict[str, int]
    columns: dict[str, pa.Array] | Spooled | None

    def read(self, names: Sequence[str]) -> dict[str, pa.Array]:
        """Some of the columns, from memory or from the spool."""
        columns = self.columns or {}
        return columns.read(names) if isinstance(columns, Spooled) else {name: columns[name] for name in names}


class _Memory:
    """Keeps the columns of pieces, as many bytes of them in memory as are allowed."""

    def __init__(self, allowed: int | None) -> None:
        self._left = allowed
        self.taken = 0
        self._spool: Spool | None = None

    def keep(self, piece: _Piece, source: _Source) -> _Piece:
        """The piece, or one that knows where its columns are."""
        if self._left is None or not isinstance(piece.columns, dict):
            return piece
        size = sum(array.nbytes for array in piece.columns.values())
        if size <= self._left:
            self._left -= size
            self.taken += size
            return piece
        if source.typed:
            return replace(piece, columns=None)
        self._spool = self._spool or Spool()
        return replace(piece, columns=self._spool.keep(piece.columns))


@dataclass(frozen=True)
class _Part:
    """What was read of a source."""

    source: _Source
    pieces: list[_Piece]

    def columns(self, kinds: Mapping[str, Kind], wanted: Sequence[int]) -> Iterator[dict[str, pa.Array]]:
        """The columns of these kinds of these pieces, wherever they are now."""
        text = [name for name, kind in kinds.items() if kind == "text"]
        absent = [number for number in wanted if self.pieces[number].columns is None]
        again = self.source.tables(list(kinds), text, absent)
        for number in wanted:
            piece = self.pieces[number]
            if piece.columns is None:
                piece = _piece(_unchanged(next(again, None), piece, self.source.name), self.source.name, text)
            columns = piece.read(list(kinds))
            yield {name: _of_kind(columns[name], kind) for name, kind in kinds.items()}

    def place(self) -> Place:
        """Where the rows came from."""
        look, rows = self.source.line_of_row_0, sum(piece.rows for piece in self.pieces)
        return Place(self.source.name, rows, line_of_row_0=lambda: look(rows))  # outlives the pieces


@dataclass(frozen=True)
class Pieces:
    """Columns of a table that are not all in memory; with the names that a table of Arrow has, as far as they go."""

    parts: Sequence[_Part]
    kinds: Mapping[str, Kind]

    @cached_property
    def num_rows(self) -> int:
        """How many rows there are."""
        return sum(piece.rows for part in self.parts for piece in part.pieces)

    @cached_property
    def schema(self) -> pa.Schema:
        """The names and the types of the columns."""
        return pa.schema([(name, _TYPES[kind]) for name, kind in self.kinds.items()])

    def null_count(self, name: str) -> int:
        """How many values of a column are missing."""
        return sum(piece.nulls[name] for part in self.parts for piece in part.pieces)

    def tables(self, names: Sequence[str], start: int, stop: int) -> Iterator[pa.Table]:
        """These columns of the rows from start up to stop, piece by piece."""
        kinds = {name: self.kinds[name] for name in names}
        for part in self.parts:
            starts = np.cumsum([0, *(piece.rows for piece in part.pieces)])
            wanted = [
                number for number in range(len(part.pieces)) if starts[number] < stop and start < starts[number + 1]
            ]
            for number, columns in zip(wanted, part.columns(kinds, wanted), strict=True):
                first = max(start - int(starts[number]), 0)
                yield pa.table(columns).slice(first, stop - int(starts[number]) - first)
            start, stop = start - int(starts[-1]), stop - int(starts[-1])

    def slice(self, start: int, rows: int) -> pa.Table:
        """So many rows from start on, in memory."""
        return _one([*self.tables(list(self.kinds), start, start + rows)] or [self.schema.empty_table()])

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        return _one([*self.tables([name], 0, self.num_rows)])[name]


def _blocks(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of tables that stand under one another, cut anew."""
    taken: list[pa.Table] = []
    room = BLOCK_ROWS
    for table in tables:
        while len(table) >= room:
            yield _one([*taken, table.slice(0, room)])
            table, taken, room = table.slice(room), [], BLOCK_ROWS
        if len(table):
            taken.append(table)
            room -= len(table)
    if taken:
        yield _one(taken)


def _one(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables under one another as one, each column in one piece."""
    if len(tables) == 1:
        return tables[0]  # combine_chunks would copy it
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _of_kind(array: pa.Array, kind: Kind) -> pa.Array:
    """A column of one piece in the form that the whole column has."""
    if array.type == TEXT and kind in ("integer", "float"):  # codes that others are longer or shorter than
        array = array.dictionary.cast(_TYPES[kind]).take(array.indices)
    return array if array.type == _TYPES[kind] else canonical(pa.chunked_array([array]), kind)


def _unchanged(table: pa.Table | None, piece: _Piece, name: str) -> pa.Table:
    """What was read again, if it has as many rows as it had."""
    if table is None or table.num_rows != piece.rows:
        raise SourceError(f"{name} was changed while it was read. Read it again.")
    return table


def _read(source: _Source, text: Collection[str], only: Collection[str] | None, memory: _Memory) -> _Part:
    """The wanted columns of all pieces; those of `text` as text."""
    check_names(source.names, source.name)
    names = _wanted(source.names, only)
    tables = source.tables(names, text, None)
    return _Part(source, list(map(lambda table: memory.keep(_piece(table, source.name, text), source), tables)))


def _piece(table: pa.Table, name: str, text: Collection[str]) -> _Piece:
    """What was read, every column in the form that its kind has in a Table; those of `text` as text."""
    kinds: dict[str, Kind] = {}
    clocks: dict[str, object] = {}
    codes: dict[str, int] = {}
    columns = {}
    for column, values in zip(table.column_names, table.columns, strict=True):
        kind = kind_of(values.type)
        if kind is None:
            raise ColumnError(f"{name}: column {column!r} holds {values.type}, which is no number and no text. "
                              "Leave it out, or make plain columns of it.")  # fmt: skip
        kind = "text" if kind != "missing" and column in text else kind
        made = pa.nulls(len(values)) if kind == "missing" else canonical(values, kind)
        if kind == "date":
            clocks[column] = (pa.types.is_time(values.type), getattr(values.type, "tz", None))
        elif kind == "missing" and values.type == BLANK:
            clocks[column] = "none"
        elif table.schema.field(column).metadata == CODES:
            codes[column] = len(made.dictionary[0].as_py())
        kinds[column] = "float" if kind == "integer" and made.type == pa.float64() else kind
        columns[column] = made
    nulls = {name: array.null_count for name, array in columns.items()}
    return _Piece(table.num_rows, kinds, nulls, clocks, codes, columns)


def _joined(parts: Sequence[_Part], notes: list[str], memory: _Memory) -> Table:
    """The parts under one another, each column of the narrowest kind that holds it in all pieces."""
    first = parts[0].source
    name = first.name if len(parts) == 1 else f"{first.name} and {len(parts) - 1} more"
    for part in parts:
        _check_same_columns(first.name, first.names, part.source.name, part.source.names)
    kinds = {column: _column_kind(column, parts) for column in parts[0].pieces[0].kinds}
    parts = [_reread(part, kinds, memory) for part in parts]
    places = tuple(part.place() for part in parts)
    notes += [f"{column}: dates as days since 1970-01-01" for column, kind in kinds.items() if kind == "date"]
    held: pa.Table | Pieces = Pieces(parts, kinds)
    columns = [piece.columns for part in parts for piece in part.pieces]
    inside = [each for each in columns if isinstance(each, dict)]
    if len(inside) == len(columns):
        held = pa.table([_column(column, kind, inside) for column, kind in kinds.items()], names=list(kinds))
    if not kinds or not held.num_rows:
        raise SourceError(f"{name} has no {'rows' if kinds else 'columns'}. Give a table with both.")
    dates = frozenset(column for column, kind in kinds.items() if kind == "date")
    missing = next((part.source.missing for part in parts if part.source.missing), ())
    return Table(name, held, tuple(notes), places, dates, missing, memory.taken)


def _wanted(names: Sequence[str], only: Collection[str] | None) -> Sequence[str]:
    """The names that are wanted; all of them where none is, for a message that can say what there is."""
    return [name for name in names if only is None or name in only] or names


def _check_same_columns(first: str, expected: Collection[str], other: str, found: Collection[str]) -> None:
    """Both have the same columns, in whatever order."""
    if set(expected) != set(found):
        differences = [f"{n!r} is missing" for n in sorted(set(expected).difference(found))]
        differences += [f"{n!r} is not in the first file" for n in sorted(set(found).difference(expected))]
        raise ColumnError(
            f"{other} has other columns than {first}: {', '.join(differences[:10])}. Give files with the same columns."
        )


def _column_kind(column: str, parts: Sequence[_Part]) -> Kind:
    """The kind that holds this column in all pieces; dates of several clocks are text together."""
    pieces = [piece for part in parts for piece in part.pieces]
    joint = common_kind(piece.kinds[column] for piece in pieces)
    if joint == "text" and any(piece.codes.get(column) for piece in pieces):
        declared = {piece.kinds[column] for part in parts if part.source.typed for piece in part.pieces}
        return joint if declared - {"missing"} else _kind_of_codes(column, pieces)
    return "text" if joint == "date" and len({piece.clocks.get(column) for piece in pieces} - {None}) > 1 else joint


def _kind_of_codes(column: str, pieces: Sequence[_Piece]) -> Kind:
    """Of a column with codes such as 007 in some pieces: text, unless others make them numbers of several lengths."""
    others = [piece for piece in pieces if column not in piece.codes and piece.kinds[column] != "missing"]
    kind = common_kind(["integer", *(piece.kinds[column] for piece in others)])
    lengths = {piece.codes[column] for piece in pieces if column in piece.codes}
    if kind == "integer" and len(lengths) == 1:
        ends = [pc.min_max(piece.read([column])[column]).as_py() for piece in others]
        lengths |= {len(str(number)) if number >= 0 else 0 for each in ends for number in each.values()}
    return "text" if kind == "integer" and len(lengths) == 1 else kind


def _reread(part: _Part, kinds: Mapping[str, Kind], memory: _Memory) -> _Part:
    """Values as they were written in columns that became text although a piece holds none there."""
    changed = {
        number: names
        for number, piece in enumerate(part.pieces)
        if (names := [name for name, kind in kinds.items() if kind == "text" and piece.kinds[name] != "text"])
        and piece.columns is not None
    }
    if not changed:
        return part
    source, pieces = part.source, list(part.pieces)
    names = sorted(set().union(*changed.values()))
    for number, table in zip(changed, source.tables(names, names, list(changed)), strict=True):
        old = pieces[number]
        new = _piece(_unchanged(table, old, source.name), source.name, names)
        columns = old.read(list(old.kinds)) | new.read(names)
        if isinstance(old.columns, Spooled):
            old.columns.remove()
        pieces[number] = memory.keep(replace(old, columns=columns, nulls=old.nulls | new.nulls), source)
    return _Part(source, pieces)


def _column(name: str, kind: Kind, pieces: Sequence[dict[str, pa.Array]]) -> pa.Array:
    """One column of all pieces in one; they give it up."""
    arrays = [_of_kind(piece.pop(name), kind) for piece in pieces]
    if len(arrays) == 1:
        return arrays[0]  # combine_chunks would copy it
    joined = pa.chunked_array(arrays)
    return (joined.unify_dictionaries() if kind == "text" else joined).combine_chunks()


def _read_files(
    files: Sequence[_File],
    format: TableFormat,
    text: Collection[str],
    only: Collection[str] | None,
    allowed: int | None,
) -> Table:
    """All files as one table."""
    memory = _Memory(allowed)
    parts = [_read(_keyed(_open(file.path, format), file.keys), text, only, memory) for file in files]
    return _joined(parts, [f"{len(parts):,} files"] if len(parts) > 1 else [], memory)


def _files(path: str) -> list[_File]:
    """The file, or the files that a pattern finds or a folder holds, in the order of their names."""
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        files = [file for file in sorted(Path(path).rglob("*")) if _is_data(file.relative_to(path)) and file.is_file()]
        return [_File(str(file), _keys(file.relative_to(path))) for file in files] or [_File(path)]
    if os.path.exists(path) or not glob.has_magic(path):
        return [_File(path)]
    found = sorted(file for file in glob.glob(path, recursive=True) if os.path.isfile(file))
    if not found:
        raise SourceError(f"No file fits the pattern {path!r}. Check the folder and the ending.")
    return [_File(file) for file in found]


def _is_data(path: Path) -> bool:
    """A path in a folder by whose ending its kind is known; names that begin with . or _ are somebody's notes."""
    known = unpacked(path.name).endswith((*_TEXT_ENDINGS, *_ARROW_ENDINGS, ".parquet"))
    return known and not any(part.startswith((".", "_")) for part in path.parts)


def _keys(path: Path) -> dict[str, str]:
    """What the folders above a file say that are named key=value, as Hive names them."""
    return {key: unquote(value) for key, equals, value in (part.partition("=") for part in path.parts[:-1]) if equals}


def _keyed(source: _Source, keys: Mapping[str, str]) -> _Source:
    """A file with a column more for each of the keys."""
    if not keys:
        return source

    def tables(columns: Sequence[str], text: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        own = [name for name in columns if name not in keys] or source.names
        for table in source.tables(own, text, which):
            for key, value in keys.items():
                values = words(pa.chunked_array([pa.repeat(value, len(table))]), (*MISSING, _HIVE_MISSING))
                table = table.append_column(key, values if key in text else narrowed(values))
            yield table.select(columns)

    return replace(source, names=[*source.names, *keys], tables=tables)


def _open(path: str, format: TableFormat) -> _Source:
    """One file of whatever kind."""
    name = os.path.basename(path)
    head, content = _head(path)
    kind = _file_kind(name, head, content is not None)
    if kind == "parquet" or kind == "arrow":
        if content is not None:
            raise SourceError(
                f"{name} is a pipe of {kind.capitalize()}, which is read from files alone. Save it as one."
            )
        return _parquet_source(path, name) if kind == "parquet" else _arrow_source(path, name)
    return _text_source(name, head, content or Content(path=path, packing=kind), format)


def _text_source(name: str, head: bytes, content: Content, format: TableFormat) -> _Source:
    """A text file."""
    with _reading(name, head):
        file = open_text(name, content, format)
    spans: list[tuple[int, int]] = []

    def read(piece: TextFile, text: Collection[str], columns: Sequence[str]) -> pa.Table:
        if not spans or piece.start > spans[-1][0]:
            spans.append((piece.start, len(piece.rows or b"")))
        return piece.read(text, only=columns)

    def tables(columns: Sequence[str], text: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        with _reading(name, head):
            again = () if which is None else [spans[number] for number in which]
            pieces = file.pieces(_PIECE_BYTES) if which is None else file.pieces_at(again)
            yield from map(lambda piece: read(piece, text, columns), pieces)  # holds none while the next is read

    return _Source(name, file.names, tables, file.first_line, format.missing)


@contextlib.contextmanager
def _reading(name: str, head: bytes) -> Iterator[None]:
    """What goes wrong with a text file in the words of ours."""
    try:
        yield
    except DataError as error:
        if _looks_like_markup(head):
            raise type(error)(f"{error} The file looks like JSON or a web page, not like a table.") from None
        raise
    except OSError as error:
        if error.errno is None:  # not the system's, but that of what unpacks
            raise SourceError(f"{name} is damaged or cut off: {_one_line(error)}. Copy it again.") from None
        raise SourceError(f"{name} cannot be read: {error.strerror}.") from None


def _head(path: str) -> tuple[bytes, Content | None]:
    """The first bytes of a file, and the content of what is read only once (a pipe); errors of the system as ours."""
    try:
        with open(path, "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read(_HEAD_BYTES), None
            piped = file.read(_PIECE_BYTES)
            return piped[:_HEAD_BYTES], _piped(piped, file)
    except OutputError:
        raise
    except FileNotFoundError:
        raise SourceError(f"{path!r} does not exist. {_near_file(path)}") from None
    except IsADirectoryError:
        raise SourceError(f"{path!r} is a folder. Give a file, or a pattern such as '{path}/*.csv'.") from None
    except PermissionError:
        raise SourceError(f"{path!r} may not be read. Ask for permission to read it.") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path!r} cannot be read: {error}.") from None


def _piped(first: bytes, pipe: BinaryIO) -> Content:
    """What came through a pipe and what still comes: in memory, or in a temporary file where it is long."""
    packing = next((packing for packing, mark in PACKINGS.values() if first.startswith(mark)), "")
    if len(first) < _PIECE_BYTES and not packing:
        return Content(first)
    spool = Spool()
    path = spool.path()
    with path.open("wb") as file:
        file.write(first)
        shutil.copyfileobj(pipe, file, _PIECE_BYTES)
    return Content(path=str(path), packing=packing, owner=spool)


def _near_file(path: str) -> str:
    """Advice for a path that does not exist."""
    folder = Path(path).parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(Path(path).name, names, n=1)
    if close:
        return f"Did you mean {str(folder / close[0])!r}?"
    return "Check the path." if folder.is_dir() else f"There is no folder {str(folder)!r}."


def _file_kind(name: str, head: bytes, piped: bool) -> str:
    """What a file is by its ending: parquet, arrow, text ("") or what packs the text; its first bytes must agree.

    Of a file with the ending of text, letters and digits at its start may be a header: they tell nothing without a NUL.
    """
    lower = name.lower()
    text_ending = unpacked(name).endswith(_TEXT_ENDINGS)

    def marked(mark: bytes) -> bool:
        readable = text_ending and mark.replace(b" ", b"").isalnum()
        return head.startswith(mark) and (not readable or b"\0" in head)

    for mark, description in _FOREIGN.items():
        if marked(mark):
            raise SourceError(f"{name} is {description}, not a table. {_KNOWN}")
    by_content = "parquet" if marked(b"PAR1") else "arrow" if marked(b"ARROW1") else ""
    packing = ""
    for ending, (how, mark) in () if piped else PACKINGS.items():
        if lower.endswith(ending) != head.startswith(mark):
            not_packed = "not " if lower.endswith(ending) else ""
            raise SourceError(f"{name} is {not_packed}compressed with {how}. Rename it as what it is.")
        packing = how if head.startswith(mark) else packing
    if lower.endswith(".parquet") and by_content != "parquet":
        raise SourceError(f"{name} is {'empty' if not head else 'no Parquet file'}. {_KNOWN}")
    if lower.endswith(_ARROW_ENDINGS):
        if by_content != "arrow" and not head.startswith(b"\xff\xff\xff\xff"):
            raise SourceError(f"{name} is {'empty' if not head else 'no Arrow file'}. {_KNOWN}")
        return "arrow"
    if text_ending and by_content:
        raise SourceError(f"{name} is a {by_content.capitalize()} file. Rename it to end in .{by_content}.")
    if not by_content and not text_ending and _looks_like_markup(head):
        raise SourceError(f"{name} looks like JSON or a web page, not a table. {_KNOWN}")
    return by_content or packing


def _looks_like_markup(head: bytes) -> bool:
    return head.lstrip()[:1] in (b"{", b"[", b"<")


def _parquet_source(path: str, name: str) -> _Source:
    """A Parquet file, a few row groups at a time, its page checksums compared where it has them."""
    with _parquet_file(path, name) as file:
        names = file.schema_arrow.names
        sizes = [file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups)]
    ends = np.cumsum([0, *sizes]) // _PIECE_BYTES
    pieces = [[*groups] for _, groups in itertools.groupby(range(len(sizes)), lambda group: ends[group])] or [[]]

    def tables(columns: Sequence[str], _: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        with _parquet_file(path, name) as file, warnings.catch_warnings(action="ignore"):
            for number in range(len(pieces)) if which is None else which:
                try:
                    yield file.read_row_groups(pieces[number], columns)
                except (pa.ArrowException, OSError) as error:
                    group = _damaged_group(file)
                    raise SourceError(
                        f"{name} is damaged in row group {group}: {_one_line(error)}. Copy it again."
                    ) from None

    return _Source(name, names, tables, typed=True)


def _parquet_file(path: str, name: str) -> parquet.ParquetFile:
    """A Parquet file whose columns have names."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Arrow warns of the extension types that it does not load
            file = parquet.ParquetFile(path, page_checksum_verification=True)
            check_names(file.schema_arrow.names, name)
            return file
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name} is damaged or cut off: {_one_line(error)}. Copy it again.") from None


def _damaged_group(file: parquet.ParquetFile) -> str:
    """The first row group, counted from 0, that cannot be read."""
    for group in range(file.num_row_groups):
        try:
            file.read_row_group(group)
        except (pa.ArrowException, OSError):
            return f"{group} of {file.num_row_groups}"
    return "unknown"


def _arrow_source(path: str, name: str) -> _Source:
    """An Arrow file or stream, some batches at a time, each checked in full before anything is believed."""
    with _arrow_reader(path, name) as reader:
        schema = reader.schema

    def tables(columns: Sequence[str], _: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        with _arrow_reader(path, name) as reader:
            for number, batches in enumerate(_several(reader)):
                data = pa.Table.from_batches(batches, schema)
                data.validate(full=True)
                if which is None or number in which:
                    yield data.select(columns)

    return _Source(name, schema.names, tables, typed=True)


@contextlib.contextmanager
def _arrow_reader(path: str, name: str) -> Iterator[Any]:
    """What reads the batches of an Arrow file or stream."""
    try:
        with warnings.catch_warnings(action="ignore"), pa.OSFile(path) as file:
            start = file.read(6)
            file.seek(0)
            yield pa.ipc.open_file(file) if start == b"ARROW1" else pa.ipc.open_stream(file)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name} is damaged or cut off: {_one_line(error)}. Copy it again.") from None


def _several(reader: Any) -> Iterator[list[pa.RecordBatch]]:
    """The batches of a reader, as many together as make a piece; one list without any where there are none."""
    random = isinstance(reader, pa.ipc.RecordBatchFileReader)
    batches = map(reader.get_batch, range(reader.num_record_batches)) if random else iter(reader)
    taken: list[pa.RecordBatch] = []
    for batch in batches:
        taken.append(batch)
        if sum(batch.nbytes for batch in taken) >= _PIECE_BYTES:
            yield taken
            taken = []
    yield taken


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


def _from_iterator(
    tables: Iterator[Any], text: Collection[str], only: Collection[str] | None, allowed: int | None
) -> Table:
    """Tables that are given once, one under another: kept as they came, for columns that become text later."""
    kind, spool, spooled, notes = type(tables).__name__, Spool(), list[Spooled](), list[str]()
    first = next(tables, None)
    if first is None:
        raise SourceError(f"The {kind} gives no tables. Give one with rows.")
    names = _from_memory(first, None)[1].column_names

    def again(columns: Sequence[str], _: Collection[str], which: Sequence[int] | None) -> Iterator[pa.Table]:
        if which is not None:
            yield from (pa.table(spooled[number].read(columns)) for number in which)
            return
        for table in itertools.chain([first], tables):
            name, data, told = _from_memory(table, None)
            _check_same_columns("the first", names, f"{name} {len(spooled) + 1:,}", data.column_names)
            notes.extend(each for each in told if each not in notes)
            data = data.select(columns)
            spooled.append(spool.keep(dict(zip(columns, data.columns, strict=True))))
            yield data

    memory = _Memory(allowed)
    return _joined([_read(_Source(kind, names, again, typed=True), text, only, memory)], notes, memory)


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
