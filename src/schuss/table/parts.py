"""Which rows of a table count, and which of them are for training, for validation and for testing."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import ColumnError
from schuss.table.columns import as_slice
from schuss.table.encoding import class_numbers
from schuss.table.order import TRAINING, Classes, divide
from schuss.table.schema import Target, has_target, row_weights
from schuss.table.table import Blocks, Table

_NO_TARGET, _NO_WEIGHT = 3, 4
_REASONS = {_NO_TARGET: "no value in the target", _NO_WEIGHT: "weight 0"}


class Parts:
    """What each row of a table is for, in one byte a row.

    Arguments:
        table: all rows, of which targets and weights are read.
        target: from `find_target`; rows without it are in no part.
        weight: a column of row weights; rows of weight 0 are in no part.

    Raises:
        ColumnError: no row has a target.
        CellError: a target is infinite, or a weight is impossible.
    """

    def __init__(self, table: Table, target: Target, weight: str | None = None) -> None:
        self.table, self._target = table, target
        columns = [*target.names, *([] if weight is None else [weight])]
        self._of_row = np.empty(len(table), np.int8)
        for block, own in self._by_block(columns):
            own[:] = _usable(block, target, weight)
        counts = np.bincount(self._of_row, minlength=5).tolist()
        self.left_out = {reason: counts[code] for code, reason in _REASONS.items() if counts[code]}
        self.usable: int = counts[TRAINING]  # rows that are in some part
        if counts[_NO_TARGET] == len(table):
            raise ColumnError(f"{table.name}: no row has a value in {' and '.join(map(repr, target.names))}.")

    def count(self, part: int) -> int:
        """Rows of TRAINING, VALIDATION or TEST."""
        return int(np.count_nonzero(self._of_row == part))

    def rows(self, part: int) -> RowIndex:
        """The numbers of the rows of that part."""
        return np.flatnonzero(self._of_row == part)

    def deal(self, seed: int, validation: float, test: float) -> None:
        """Gives rows to validation and testing, as `divide` does; before, all are for training."""
        if not validation and not test:
            return
        rows, first = list(self._classes()), 0
        sizes = sum(np.bincount(classes, minlength=max(len(self._target.classes), 1)) for _, classes in rows)
        division = divide(seed, validation, test, np.asarray(sizes), lambda: (classes for _, classes in rows))
        for own, classes in rows:
            own[own == TRAINING] = division.parts(first, classes)
            first += len(classes)

    def blocks(self, part: int, columns: Collection[str] | None = None) -> Blocks:
        """Blocks of the table, each with its rows of that part; of the columns named, those that the table has."""
        there = None if columns is None else [name for name in self.table.names if name in columns]
        for block, own in self._by_block(there):
            rows = np.flatnonzero(own == part)
            if len(rows):
                yield block, as_slice(rows)

    def class_weights(self, part: int, weight: str | None) -> NDArray[np.float64]:
        """[classes] Σ w_i of the rows of that part in each class. weight: a column of row weights."""
        target, found = self._target, np.zeros(len(self._target.classes))
        for block, rows in self.blocks(part, [*target.names, *([] if weight is None else [weight])]):
            weights = None if weight is None else row_weights(block, weight, rows)
            found += np.bincount(class_numbers(block, target, rows), weights, len(found))
        return found

    def _classes(self) -> Iterator[tuple[NDArray[np.int8], Classes]]:
        """Block by block what rows are for, and the class of each that has not been left out; 0 in a regression."""
        labels = self._target.classes
        narrow = np.min_scalar_type(-len(labels))
        for block, own in self._by_block(self._target.names):
            usable = own == TRAINING
            classes: Classes = np.broadcast_to(np.zeros(1, np.int8), int(np.count_nonzero(usable)))  # takes no memory
            if labels:
                classes = class_numbers(block, self._target, np.flatnonzero(usable)).astype(narrow)
            yield own, classes

    def _by_block(self, columns: Sequence[str] | None) -> Iterator[tuple[Table, NDArray[np.int8]]]:
        """The blocks of the table, each with what its rows are for."""
        start = 0
        for block in self.table.blocks(columns):
            yield block, self._of_row[start : start + len(block)]
            start += len(block)


def _usable(block: Table, target: Target, weight: str | None) -> NDArray[np.int8]:
    """[n] TRAINING, or why a row is left out."""
    part = np.where(has_target(block, target), TRAINING, _NO_TARGET).astype(np.int8)
    if weight is not None:
        rows = np.flatnonzero(part == TRAINING)
        part[rows[row_weights(block, weight, as_slice(rows)) == 0]] = _NO_WEIGHT
    return part
