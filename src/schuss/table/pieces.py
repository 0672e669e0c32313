"""What is read of a source: pieces of rows, in memory, in a spool, or to be read again."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from schuss.errors import ColumnError, SourceError
from schuss.table.columns import TEXT, Kind, canonical, kind_of
from schuss.table.delimited import BLANK, CODES
from schuss.table.rejects import Rejects
from schuss.table.spool import Spool, Spooled

_TYPES: dict[Kind, pa.DataType] = {
    "missing": pa.float64(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.float64(),
    "text": TEXT,
}


@dataclass(frozen=True)
class Place:
    """Where rows came from: a file or an object, how many rows, and the number of the first, from 0.

    line_of: looks into a text file for the line of a row, None where lines cannot be counted. Messages ask for it,
        nobody else: reading does not pay for it.
    """

    name: str
    rows: int
    first_row: int = 0
    line_of: Callable[[int], int | None] = lambda row: None

    def say(self, row: int) -> str:
        """Row `row` of these, counted from 0, in words."""
        row += self.first_row
        line = self.line_of(row)
        return f"{self.name}, row {row + 1:,}" if line is None else f"{self.name}, line {line:,}"

    def slice(self, start: int, stop: int) -> "Place":
        """The rows from start up to stop."""
        start, stop = max(start, 0), min(stop, self.rows)
        return Place(self.name, max(stop - start, 0), self.first_row + start, self.line_of)


@dataclass(frozen=True)
class Source:
    """One file, or the one table in memory, which is read in pieces as often as need be.

    tables: (columns, those that stay text, numbers of pieces or None for all) -> those columns of each of the pieces.
    line_of: as in Place, where there are so many rows in all. missing: as in Table. rejects: rows that were left out.
    """

    name: str
    names: list[str]
    tables: Callable[[Sequence[str], Collection[str], Sequence[int] | None], Iterator[pa.Table]]
    line_of: Callable[[int, int], int | None] = lambda row, rows: None
    missing: tuple[str, ...] = ()
    typed: bool = False  # quick to read again
    rejects: Rejects | None = None


@dataclass(frozen=True)
class Piece:
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


class Memory:
    """Keeps the columns of pieces, as many bytes of them in memory as are allowed; of several files side by side."""

    def __init__(self, allowed: int | None) -> None:
        self._left, self._lock = allowed, threading.Lock()
        self.taken = 0
        self._spool: Spool | None = None

    def keep(self, piece: Piece, source: Source) -> Piece:
        """The piece, or one that knows where its columns are."""
        if self._left is None or not isinstance(piece.columns, dict):
            return piece
        size = _size(piece.columns)
        with self._lock:
            if size <= self._left:
                self._left -= size
                self.taken += size
                return piece
            if source.typed:
                return replace(piece, columns=None)
            self._spool = self._spool or Spool()
            return replace(piece, columns=self._spool.keep(piece.columns))

    def let_go(self, piece: Piece) -> Piece:
        """The piece without its columns, which are to be read again."""
        if isinstance(piece.columns, dict):
            with self._lock:
                self.taken -= _size(piece.columns)
        return replace(piece, columns=None)


def _size(columns: Mapping[str, pa.Array]) -> int:
    """Bytes in memory."""
    return sum(array.nbytes for array in columns.values())


@dataclass(frozen=True)
class Part:
    """What was read of a source."""

    source: Source
    pieces: list[Piece]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(piece.rows for piece in self.pieces)

    def columns(self, kinds: Mapping[str, Kind], wanted: Sequence[int]) -> Iterator[dict[str, pa.Array]]:
        """The columns of these kinds of these pieces, wherever they are now."""
        text = [name for name, kind in kinds.items() if kind == "text"]
        absent = [number for number in wanted if self.pieces[number].columns is None]
        again = self.source.tables(list(kinds), text, absent)
        for number in wanted:
            piece = self.pieces[number]
            if piece.columns is None:
                piece = made_piece(unchanged(next(again, None), piece, self.source.name), self.source.name, text)
            columns = piece.read(list(kinds))
            yield {name: of_kind(columns[name], kind) for name, kind in kinds.items()}
        if absent:
            next(again, None)  # so that it looks once more whether the file is the same

    def place(self) -> Place:
        """Where the rows came from."""
        look, rows = self.source.line_of, self.rows
        return Place(self.source.name, rows, line_of=lambda row: look(row, rows))  # outlives the pieces


@dataclass(frozen=True)
class Pieces:
    """Columns of a table that are not all in memory; with the names that a table of Arrow has, as far as they go."""

    parts: Sequence[Part]
    kinds: Mapping[str, Kind]

    @cached_property
    def num_rows(self) -> int:
        """How many rows there are."""
        return sum(part.rows for part in self.parts)

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
        return one([*self.tables(list(self.kinds), start, start + rows)] or [self.schema.empty_table()])

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        return one([*self.tables([name], 0, self.num_rows)])[name]


def made_piece(table: pa.Table, name: str, text: Collection[str]) -> Piece:
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
    return Piece(table.num_rows, kinds, nulls, clocks, codes, columns)


def one(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables under one another as one, each column in one piece."""
    if len(tables) == 1:
        return tables[0]  # combine_chunks would copy it
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def of_kind(array: pa.Array, kind: Kind) -> pa.Array:
    """A column of one piece in the form that the whole column has."""
    if array.type == TEXT and kind in ("integer", "float"):  # codes that others are longer or shorter than
        array = array.dictionary.cast(_TYPES[kind]).take(array.indices)
    return array if array.type == _TYPES[kind] else canonical(pa.chunked_array([array]), kind)


def unchanged(table: pa.Table | None, piece: Piece, name: str) -> pa.Table:
    """What was read again, if it has as many rows as it had."""
    if table is None or table.num_rows != piece.rows:
        raise SourceError(f"{name} was changed while it was read. Read it again.")
    return table
