"""Tables whose features are a SciPy sparse matrix: what is stored is read, and a window of rows made dense at a time.

Columns are called column_1, column_2, … as those of an array are, so that a model takes either.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from schuss.arrays import Matrix, RowIndex, Rows
from schuss.table.order import permutation
from schuss.table.store import Windows, digest_of
from schuss.table.table import BLOCK_ROWS, Table

WINDOW_BYTES = 1 << 25  # of dense features


@dataclass(frozen=True, eq=False)
class SparseTable(Table):
    """A table whose features are the columns of a sparse matrix.

    held:   the other columns alone: targets and weights.
    matrix: [N, F] csr of float32 or float64, each cell stored once at most; what is not stored is 0, NaN is missing.
    """

    matrix: Any = field(kw_only=True)

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def null_count(self, name: str) -> int:
        """As of a Table."""
        if name in self.names:
            return super().null_count(name)
        return int(self._missing[column_number(name)])

    @cached_property
    def _missing(self) -> RowIndex:
        """How many values of each column are missing."""
        return np.bincount(self.matrix.indices[np.isnan(self.matrix.data)], minlength=self.matrix.shape[1])

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator["SparseTable"]:
        """As of a Table, with all columns."""
        return self._in_turn(BLOCK_ROWS)

    def windows(self, features: int) -> Iterator["SparseTable"]:
        """The table in parts of which so many features take WINDOW_BYTES when they are dense."""
        return self._in_turn(_rows_in_window(features))

    def _in_turn(self, size: int) -> Iterator["SparseTable"]:
        return (self.slice(start, start + size) for start in range(0, len(self), size))

    def slice(self, start: int, stop: int) -> "SparseTable":
        """As of a Table."""
        return replace(self, held=self.held.slice(start, stop - start), matrix=self.matrix[start:stop])


class SparseStore:
    """Rows of a sparse matrix, of which a window is dense at a time, in the order in which a MemoryStore visits them.

    Arguments:
        labels: the rows, without features.
        numbers: [N] of the rows in their matrix.
        features: F.
        write: writes the features of the rows of some numbers, [n] and [n, F] float32.
    """

    def __init__(
        self, labels: Rows, numbers: RowIndex, features: int, write: Callable[[RowIndex, Matrix], None]
    ) -> None:
        self.labels, self._numbers, self._features, self._write = labels, numbers, features, write

    def __len__(self) -> int:
        return len(self.labels)

    def blocks(self) -> Iterator[Rows]:
        """All rows, a window at a time."""
        size = _rows_in_window(self._features)
        for start in range(0, len(self), size):
            places = np.arange(start, min(start + size, len(self)))
            yield self._dense(places, np.empty((len(places), self._features), np.float32))

    def part(self, places: RowIndex) -> "SparseStore":
        """The rows at these places."""
        return SparseStore(self.labels.take(places), self._numbers[places], self._features, self._write)

    def digest(self) -> str:
        """Of all rows, made dense."""
        return digest_of(self.blocks())

    def windows(self, seed: int, epochs: range, batch_size: int, start: int = 0) -> Windows:
        """The rows of these epochs in their orders, from batch number `start` of the first on."""
        size = max(1, _rows_in_window(self._features) // batch_size) * batch_size
        memory = np.empty((min(size, len(self)), self._features), np.float32)
        for epoch in epochs:
            order = permutation(seed, epoch, len(self))
            for first in range(start * batch_size, len(self), size):
                places = order[first : first + size]
                yield self._dense(places, memory[: len(places)]), np.arange(len(places))
            start = 0

    def _dense(self, places: RowIndex, features: Matrix) -> Rows:
        """The rows at these places, with features in the memory given."""
        self._write(self._numbers[places], features)
        return replace(self.labels.take(places), features=features)


def column_name(number: int) -> str:
    """What column `number`, from 0, is called."""
    return f"column_{number + 1}"


def column_number(name: str) -> int:
    """The number of the column of this name, from 0; -1 for a name that no column of a matrix has."""
    digits = name.removeprefix("column_")
    return int(digits) - 1 if name == f"column_{digits}" and digits.isdecimal() else -1


def _rows_in_window(features: int) -> int:
    return max(1, WINDOW_BYTES // (4 * max(features, 1)))
