"""Which rows of a table count, and which of them are for training, for validation and for testing."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import ColumnError, SettingError
from schuss.table.by import By, Keys, bins, fold_groups, latest, share_groups
from schuss.table.columns import as_slice
from schuss.table.encoding import class_numbers
from schuss.table.order import TEST, TRAINING, VALIDATION, Classes, Division, divide, divide_evenly, part_sizes
from schuss.table.schema import Target, has_target, row_weights
from schuss.table.table import Blocks, Table

_NO_TARGET, _NO_WEIGHT, _NO_KEY, _LATER = 3, 4, 5, 6
_TESTED = -2  # instead of the fold of a row
_FIRST = -1  # the fold of rows that are in none


class Parts:
    """What each row of a table is for, in one byte a row.

    Arguments:
        table: all rows, of which targets and weights are read.
        target: from `find_target`; rows without it are in no part.
        weight: a column of row weights; rows of weight 0 are in no part.
        by: a column of groups or times that decides which rows are held out; rows without a value there are in no part.

    Raises:
        ColumnError: no row has a target, or a column is not there or is of the wrong kind.
        CellError: a target or time is infinite, or a weight is impossible.
    """

    def __init__(self, table: Table, target: Target, weight: str | None = None, by: By | None = None) -> None:
        self.table, self._target, self._by = table, target, by
        columns = [*target.names, *([] if weight is None else [weight]), *([by.column] if by else [])]
        self._of_row = np.empty(len(table), np.int8)
        self._fold: NDArray[np.int8] = np.empty(0, np.int8)
        self._validated_in: NDArray[np.int8] = np.empty(0, np.int8)  # fold of each row, or why it has none
        for block, own in self._by_block(list(dict.fromkeys(columns))):
            own[:] = _usable(block, target, weight)
            if by:
                own[(own == TRAINING) & ~by.known(block)] = _NO_KEY
        counts = np.bincount(self._of_row, minlength=_LATER).tolist()
        reasons = {_NO_TARGET: "no value in the target", _NO_WEIGHT: "weight 0"}
        reasons |= {_NO_KEY: f"no value in {by.column!r}"} if by else {}
        self.left_out = {reason: counts[code] for code, reason in reasons.items() if counts[code]}
        self.notes: tuple[str, ...] = ()  # on how the rows were dealt
        self.usable: int = counts[TRAINING]  # rows that are in some part
        if counts[_NO_TARGET] == len(table):
            raise ColumnError(f"{table.name}: no row has a value in {' and '.join(map(repr, target.names))}.")

    def count(self, part: int) -> int:
        """Rows of TRAINING, VALIDATION or TEST."""
        return int(np.count_nonzero(self._of_row == part))

    def rows(self, part: int) -> RowIndex:
        """The numbers of the rows of that part."""
        return np.flatnonzero(self._of_row == part)

    def deal(self, seed: int, validation: float, test: float, folds: int = 1) -> None:
        """Gives training rows to validation and testing, as `divide` does, or by whole groups or times.

        With several folds rows take turns: those of each fold are for validation of one member of an ensemble and stay
        training rows. By time, or where a fold would have no row, there is one part for validation as ever.
        """
        self._validated_in = np.empty(0, np.int8)
        if not validation and not test:
            return
        if folds > 1 and validation and not (self._by and self._by.kind == "time"):
            self._deal_turns(seed, validation, test, folds)
        if self.folds is not None:
            return
        if self._by:
            wanted = part_sizes(validation, test, self.count(TRAINING))
            (self._deal_groups if self._by.kind == "group" else self._deal_times)(self._by, seed, wanted)
            return
        rows, first = list(self._classes()), 0
        sizes = self._sizes(classes for _, classes in rows)
        division = divide(seed, validation, test, sizes, lambda: (classes for _, classes in rows))
        for own, classes in rows:
            own[own == TRAINING] = division.parts(first, classes)
            first += len(classes)

    @property
    def folds(self) -> NDArray[np.int8] | None:
        """[n] of each training row the fold in which it is for validation, from 0, −1 for none; None without folds."""
        return self._validated_in[self._of_row == TRAINING] if len(self._validated_in) else None

    def deal_anew(self, seed: int, validation: float, test: float) -> None:
        """As if there had never been folds: one part is for validation."""
        self._of_row[self._validated_in == _TESTED] = TRAINING
        self.notes = self.notes[: -1 if self._by else None]  # on groups
        self.deal(seed, validation, test)

    def deal_folds(self, seed: int, folds: int) -> None:
        """Deals all rows to folds for `hold_out`: balanced over classes, or by whole groups.

        By time they are cut into one stretch more than there are folds, each fold being what follows the ones before;
        the first stretch is in none.
        """
        self._fold, usable = np.full(len(self._of_row), _FIRST, np.int8), self._of_row == TRAINING
        if self._by and self._by.kind == "time":
            self._fold_times(self._by, seed, folds)
            return
        if self._by:
            fold_of = fold_groups(partial(self._keys, self._by, seed), folds, self._by.column)
            found = [fold_of[bins(keys)] for keys in self._keys(self._by, seed)]
        else:
            rows = [classes for _, classes in self._classes()]
            found = [_each_part(divide_evenly(seed, folds, self._sizes(rows), lambda: rows), rows)]
        self._fold[usable] = np.concatenate(found)

    def hold_out(self, fold: int) -> None:
        """The rows of a fold are for testing, all others for training; by time, only those before the fold."""
        usable = (self._of_row < _NO_TARGET) | (self._of_row == _LATER)
        by_time = self._by is not None and self._by.kind == "time"
        kept = self._fold < fold if by_time else self._fold != fold
        self._of_row[usable] = np.where(self._fold == fold, TEST, np.where(kept, TRAINING, _LATER))[usable]

    def blocks(self, part: int, columns: Collection[str] | None = None) -> Blocks:
        """Blocks of the table, each with its rows of that part; of the columns named, those that the table has."""
        there = None if columns is None else [name for name in self.table.names if name in columns]
        for block, own in self._by_block(there):
            rows = np.flatnonzero(own == part)
            if len(rows):
                yield block, as_slice(rows)

    def _deal_turns(self, seed: int, validation: float, test: float, folds: int) -> None:
        """Gives rows to testing and to folds, if each of them can have some."""
        if self._by:
            sizes, keys = part_sizes(validation, test, self.count(TRAINING), folds), partial(self._keys, self._by, seed)
            try:
                part_of, counts = share_groups(keys, sizes, self._by.column)
            except SettingError:  # too few groups for so many parts
                return
            part = np.concatenate([part_of[bins(own)] for own in keys()])
        else:
            rows = [classes for _, classes in self._classes()]
            part = _each_part(divide(seed, validation, test, self._sizes(rows), lambda: rows, folds), rows)
        if not np.bincount(part, minlength=folds + 1)[1 : folds + 1].all():
            return
        if self._by:
            self._tell_groups(self._by, ("testing", *(f"fold {fold + 1}" for fold in range(folds)), "training"), counts)
        usable = self._of_row == TRAINING
        self._validated_in = np.full(len(usable), -1, np.int8)
        self._validated_in[usable] = np.where(part == TEST, _TESTED, np.where(part <= folds, part - 1, -1))
        self._of_row[usable] = np.where(part == TEST, TEST, TRAINING)

    def _deal_groups(self, by: By, seed: int, sizes: tuple[int, ...]) -> None:
        keys = partial(self._keys, by, seed)
        part_of, counts = share_groups(keys, sizes, by.column)
        self._of_row[self._of_row == TRAINING] = np.concatenate([part_of[bins(own)] for own in keys()])
        self._tell_groups(by, ("testing", "validation", "training"), counts)

    def _tell_groups(self, by: By, names: Sequence[str], counts: Sequence[int]) -> None:
        told = ", ".join(f"{n:,} for {name}" for name, n in zip(names, counts, strict=True) if n)
        self.notes += (f"groups in {by.column}: {told}",)

    def _deal_times(self, by: By, seed: int, sizes: tuple[int, ...]) -> None:
        for part, size in zip((TEST, VALIDATION), sizes, strict=True):
            if size:
                self._take_latest(by, size, part)

    def _fold_times(self, by: By, seed: int, folds: int) -> None:
        usable = self._of_row == TRAINING
        for fold in range(folds - 1, -1, -1):
            size = max(self.count(TRAINING) // (fold + 2), 1)
            self._take_latest(by, size, _LATER)
            self._fold[(self._of_row == _LATER) & (self._fold == _FIRST)] = fold
        self._of_row[usable] = TRAINING

    def _take_latest(self, by: By, size: int, part: int) -> None:
        """Gives about so many of the latest training rows to a part, ties together."""
        keys = partial(self._keys, by, 0)
        cut = np.uint64(latest(keys, size, by.column))
        self._of_row[self._of_row == TRAINING] = np.concatenate(
            [np.where(own < cut, TRAINING, part).astype(np.int8) for own in keys()]
        )

    def _keys(self, by: By, seed: int) -> Iterator[Keys]:
        """Block by block the group or time of each training row."""
        for block, own in self._by_block([by.column]):
            yield by.keys(block, seed)[own == TRAINING]

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

    def _sizes(self, blocks: Iterable[Classes]) -> RowIndex:
        """The rows of each class."""
        return np.asarray(sum(np.bincount(each, minlength=max(len(self._target.classes), 1)) for each in blocks))

    def _by_block(self, columns: Sequence[str] | None) -> Iterator[tuple[Table, NDArray[np.int8]]]:
        """The blocks of the table, each with what its rows are for."""
        start = 0
        for block in self.table.blocks(columns):
            yield block, self._of_row[start : start + len(block)]
            start += len(block)


def _each_part(division: Division, rows: Sequence[Classes]) -> NDArray[np.int8]:
    """The part of each row, from the classes of blocks of them."""
    starts = np.cumsum([0, *map(len, rows)]).tolist()
    return np.concatenate([division.parts(first, own) for first, own in zip(starts, rows, strict=False)])


def _usable(block: Table, target: Target, weight: str | None) -> NDArray[np.int8]:
    """[n] TRAINING, or why a row is left out."""
    part = np.where(has_target(block, target), TRAINING, _NO_TARGET).astype(np.int8)
    if weight is not None:
        rows = np.flatnonzero(part == TRAINING)
        part[rows[row_weights(block, weight, as_slice(rows)) == 0]] = _NO_WEIGHT
    return part
