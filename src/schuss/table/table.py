"""A Table: typed columns, with what a message needs to say where a value stands, and the blocks that it is cut into."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from schuss.arrays import RowIndex
from schuss.errors import ColumnError
from schuss.table.columns import as_slice, nearest
from schuss.table.pieces import Pieces, Place, one

BLOCK_ROWS = 65_536  # of which Table.blocks makes a block


@dataclass(frozen=True, eq=False)
class Table:
    """What was read.

    name:    for messages: "houses.csv", "DataFrame", "array".
    held:    every column is int64, float64, bool or dictionary<int32, string>, text in one piece; null is missing. Or
             what gives such columns piece by piece, where they are more than the memory for them.
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
            SourceError: a file that is read again was changed since, or damaged.
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


def _blocks(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of tables that stand under one another, cut anew."""
    taken: list[pa.Table] = []
    room = BLOCK_ROWS
    for table in tables:
        while len(table) >= room:
            yield one([*taken, table.slice(0, room)])
            table, taken, room = table.slice(room), [], BLOCK_ROWS
        if len(table):
            taken.append(table)
            room -= len(table)
    if taken:
        yield one(taken)
