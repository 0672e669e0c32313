"""Columns become the float features and category codes that engines take, targets too, and outputs become values.

A table is matched to the schema by the names of its columns; what arrives in another type is taken where its meaning
is beyond doubt, and is otherwise an error that names the column, the value and the place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schuss.arrays import Codes, Matrix, RowIndex, Rows, Vector
from schuss.errors import CellError, ColumnError
from schuss.table.columns import Numbers, as_slice, codes, first_not_number, in_parallel, integers, kind_of, numbers
from schuss.table.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    Label,
    NumericColumn,
    Schema,
    check_finite,
    row_weights,
)
from schuss.table.source import Table

_PLURALS = {
    "date": "dates or times",
    "integer": "numbers",
    "float": "numbers",
    "boolean": "truth values",
    "text": "text",
}
_BLOCK_ROWS = 8192  # a block of features stays in the cache of one core while its columns are written


@dataclass(frozen=True)
class Feature:
    """One column of the feature matrix: (x - center) / scale, or the indicator "x is missing"."""

    column: str
    name: str
    center: float = 0.0
    scale: float = 1.0
    indicator: bool = False

    def of(self, values: Numbers, gaps: bool) -> NDArray[Any]:
        """[n] column, NaN where missing -> [n] feature; a missing value becomes 0 after scaling. gaps: there may be."""
        if self.indicator:
            return np.isnan(values)
        scaled = (values - self.center) / self.scale
        if gaps:
            scaled[np.isnan(values)] = 0.0
        return scaled


@dataclass(frozen=True)
class Encoding:
    """How a table becomes Rows.

    Numbers: (x - mean) / deviation, of the training rows. Truth values: standardised 0 and 1.
    A missing value becomes 0, with a feature of its own that is 1, for columns that had any in training.
    Text: a code for each level, see `CategoricalColumn`.
    """

    schema: Schema

    @cached_property
    def layout(self) -> tuple[Feature, ...]:
        """The columns of the feature matrix from left to right."""
        return tuple(feature for column in self.schema.columns for feature in _features(column))

    @property
    def features(self) -> int:
        """F, the width of the feature matrix."""
        return len(self.layout)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each feature is, such as "age", "age is missing", "smoker"."""
        return tuple(feature.name for feature in self.layout)

    @property
    def category_names(self) -> tuple[str, ...]:
        """The categorical columns in the order of their codes; to be read as text at prediction."""
        return tuple(column.name for column in self._categorical)

    @property
    def categories(self) -> tuple[int, ...]:
        """How many codes each categorical column has, C entries."""
        return tuple(column.codes for column in self._categorical)

    @property
    def targets(self) -> int:
        """T: one for each target of a regression, one class number otherwise."""
        return len(self.schema.target.names)

    @property
    def _categorical(self) -> tuple[CategoricalColumn, ...]:
        return tuple(column for column in self.schema.columns if isinstance(column, CategoricalColumn))

    def encode(self, table: Table, rows: RowIndex | None = None, *, target: bool = True) -> Rows:
        """The encoded rows.

        Arguments:
            table: has every column of the schema, in any order; others are passed over.
            rows: which rows, in this order; None is all of them.
            target: also targets and weights; at prediction there are none, and targets has no columns.

        Raises:
            ColumnError: a column is not there or holds another kind of values.
            CellError: a value is impossible: infinite, too far out, no number, an unseen class, a missing target.
        """
        index = np.arange(len(table), dtype=np.int64) if rows is None else rows
        span = as_slice(index)
        if isinstance(span, slice) and len(index) < len(table):
            return self.encode(table.slice(span.start, span.stop), target=target)
        for column in self.schema.columns:
            _check_kind(table, column)
        features = self._encode_features(table, index, span)
        levels = np.empty((len(index), len(self._categorical)), np.int32)
        for place, column in enumerate(self._categorical):
            found = places_of(table.column(column.name), column.levels, column.other_code, column.missing_code)
            levels[:, place] = found[index]
        if not target:
            return Rows(features, levels, np.empty((len(index), 0), np.float32))
        return Rows(features, levels, self._encode_target(table, index, span), self._encode_weights(table, span))

    def decode(self, outputs: Matrix) -> NDArray[Any]:
        """What the outputs [N, K] of a network mean.

        Returns:
            regression: standardised outputs in the units of the target, float64, [N] or with several targets [N, K].
            classes: [N] labels in the target's own type; of one output per row classes[1] where it is above 0, of
            several the class of the largest.
        """
        target = self.schema.target
        if target.task == "regression":
            values: NDArray[Any] = outputs.astype(np.float64) * np.array(target.deviation) + np.array(target.mean)
            return values.reshape(-1) if values.shape[1] == 1 else values
        labels: NDArray[Any] = np.array(target.classes)
        if outputs.shape[1] == 1 and len(labels) == 2:
            chosen: NDArray[np.intp] = (outputs[:, 0] > 0).astype(np.intp)
        else:
            chosen = outputs.argmax(axis=1)
        decoded: NDArray[Any] = labels[chosen]
        return decoded

    def _encode_features(self, table: Table, index: RowIndex, span: RowIndex | slice) -> Matrix:
        """[N, F] float32; computed in float64, a block of rows at a time, column by column. span: as_slice(index)."""
        plain = [column for column in self.schema.columns if not isinstance(column, CategoricalColumn)]
        values = {column.name: _numbers(table, column) for column in plain}
        gaps = {column.name: bool(table.data[column.name].null_count) for column in plain}
        features = np.empty((len(index), self.features), np.float32)

        def write(block: slice) -> bool:
            rows = block if isinstance(span, slice) else as_slice(index[block])
            with np.errstate(over="ignore"):
                for place, feature in enumerate(self.layout):
                    features[block, place] = feature.of(values[feature.column][rows], gaps[feature.column])
            return bool(np.isfinite(features[block]).all())

        if not all(in_parallel(write, _blocks(len(index)), len(index))):
            for name in values:
                check_finite(table, name, values[name])
            row, place = (int(i) for i in np.argwhere(~np.isfinite(features))[0])
            raise _too_far(table, int(index[row]), self.layout[place].column, "leave it empty")
        return features

    def _encode_target(self, table: Table, index: RowIndex, span: RowIndex | slice) -> Matrix:
        """[N, T] float32: standardised numbers, 0 and 1, or class numbers."""
        target = self.schema.target
        if target.task != "regression":
            return self._class_numbers(table, index)
        targets = np.empty((len(index), len(target.names)), np.float32)
        for place, name in enumerate(target.names):
            values = _numbers_of(table, name, "target column")[span]
            if table.data[name].null_count:
                _check_present(table, name, index, np.isnan(values))
            with np.errstate(over="ignore"):
                targets[:, place] = (values - target.mean[place]) / target.deviation[place]
        if not np.isfinite(targets).all():
            for name in target.names:
                check_finite(table, name, numbers(table.data[name]))
            row, place = (int(i) for i in np.argwhere(~np.isfinite(targets))[0])
            raise _too_far(table, int(index[row]), target.names[place], "leave the row out")
        return targets

    def _class_numbers(self, table: Table, index: RowIndex) -> Matrix:
        """[N, 1] the place of each label among the classes."""
        name, classes = self.schema.target.names[0], self.schema.target.classes
        column = table.column(name, "target column")
        found = places_of(column, classes, -1, -2)[index]
        _check_present(table, name, index, found == -2)
        if (found == -1).any():
            row = int(index[(found == -1).argmax()])
            raise CellError(f"{table.where(row)}: the class {column[row].as_py()!r} in {name!r} did not occur in "
                            "training. Leave such rows out.")  # fmt: skip
        return found.astype(np.float32)[:, np.newaxis]

    def _encode_weights(self, table: Table, rows: RowIndex | slice) -> Vector | None:
        """[N] float32; None where every row counts once, as in a table that came without the column of weights."""
        name = self.schema.weight
        return row_weights(table, name, rows).astype(np.float32) if name in table.names else None


def places_of(column: pa.ChunkedArray, labels: Sequence[Label], otherwise: int, missing: int) -> Codes:
    """[N] the place of each value among the labels, `otherwise` for a value that is none of them.

    A number or truth value stands for the text that reads as it, when exactly one label does: 3 and 3.0 for "3".
    """
    numeric = {int: "integer", float: "float"}.get(type(labels[0])) if labels else None
    if numeric and numeric == kind_of(column.type) and not column.null_count and len(column) <= _BLOCK_ROWS:
        return _places_of_numbers(integers(column) if numeric == "integer" else numbers(column), labels, otherwise)
    found, distinct = codes(column)
    values = distinct.to_pylist()
    places = {label: place for place, label in enumerate(labels)}
    if any(isinstance(label, str) for label in labels) and not all(isinstance(value, str) for value in values):
        readings = _readings(labels)
        values = [
            str(value) if str(value) in places else readings.get((type(value) is bool, value)) for value in values
        ]
    by_value = np.array([places.get(value, otherwise) for value in values] + [missing], np.int32)
    return by_value[found]


def _places_of_numbers(values: NDArray[Any], labels: Sequence[Label], otherwise: int) -> Codes:
    """[N] likewise, of a few numbers without gaps among numbers of the same type in ascending order."""
    known = np.array(labels, values.dtype)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[places] == values, places, otherwise).astype(np.int32)


def _readings(labels: Sequence[Label]) -> dict[tuple[bool, Any], Label]:
    """The labels by (is a truth value, the value) that they read as; without those that read alike."""
    readings: dict[tuple[bool, Any], list[Label]] = {}
    for label in labels:
        lower = str(label).lower()
        try:
            key = (True, lower == "true") if lower in ("true", "false") else (False, float(lower))
        except ValueError:
            continue
        readings.setdefault(key, []).append(label)
    return {key: alike[0] for key, alike in readings.items() if len(alike) == 1}


def _features(column: NumericColumn | BooleanColumn | CategoricalColumn) -> Iterator[Feature]:
    """The features of one column: its value unless that is constant, and whether it is missing if it ever was."""
    match column:
        case NumericColumn(name=name) if column.distinct > 1:
            yield Feature(name, name, column.mean, column.deviation)
        case BooleanColumn(name=name, share=share) if 0 < share < 1:
            yield Feature(name, name, share, float(np.sqrt(share * (1 - share))))
    if not isinstance(column, CategoricalColumn) and column.missing:
        yield Feature(column.name, f"{column.name} is missing", indicator=True)


def _numbers(table: Table, column: NumericColumn | BooleanColumn) -> Numbers:
    """[N] float64 of a column that the schema knows as numbers or truth values, NaN where missing."""
    values = _numbers_of(table, column.name, "column")
    if isinstance(column, BooleanColumn) and kind_of(table.data[column.name].type) != "boolean":
        check_finite(table, column.name, values)
        strange = ~(np.isnan(values) | (values == 0) | (values == 1))
        if strange.any():
            row = int(strange.argmax())
            raise CellError(f"{table.where(row)}: {column.name!r} holds {values[row]:g}, and was true or false in "
                            "training. Give true, false, 1 or 0.")  # fmt: skip
    return values


def _numbers_of(table: Table, name: str, role: str) -> Numbers:
    """[N] float64 of a column that must hold numbers or truth values, NaN where missing."""
    column = table.column(name, role)
    if column.null_count == len(column):
        return np.full(len(column), np.nan)
    if kind_of(column.type) == "text":
        strange = first_not_number(column)
        if strange is None:
            raise ColumnError(f"{table.name}: {name!r} holds numbers written as text. Convert it to numbers.")
        raise CellError(f"{table.where(strange[0])}: {name!r} holds {strange[1]!r}, and was a number in training. "
                        "Correct it, or leave it empty.")  # fmt: skip
    return numbers(column)


def _check_kind(table: Table, column: Column) -> None:
    """The column holds dates if training saw dates there, and no truth values where it saw other numbers than 0 to 1.

    A column without any value passes.
    """
    name, values = column.name, table.column(column.name)
    if values.null_count == len(values):
        return
    now: str = "date" if name in table.dates else str(kind_of(values.type))
    if isinstance(column, NumericColumn):
        was = "date" if column.date else "float"
        differ = "date" in (was, now) and was != now
        differ |= now == "boolean" and not 0 <= column.least <= column.greatest <= 1
    else:
        was = "boolean" if isinstance(column, BooleanColumn) else "text"
        differ = now == "date"
    if differ:
        raise ColumnError(f"{table.name}: {name!r} holds {_PLURALS[now]}, and held {_PLURALS[was]} in training. "
                          f"Give {_PLURALS[was]}.")  # fmt: skip


def _too_far(table: Table, row: int, name: str, advice: str) -> CellError:
    return CellError(f"{table.where(row)}: the value of {name!r} lies too far from those seen in training to be a "
                     f"number in float32. Correct it, or {advice}.")  # fmt: skip


def _check_present(table: Table, name: str, index: RowIndex, absent: NDArray[np.bool_]) -> None:
    """Every row has this target."""
    if absent.any():
        raise CellError(
            f"{table.where(int(index[absent.argmax()]))}: the target {name!r} is missing. Leave the row out."
        )


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK_ROWS, count)) for start in range(0, count, _BLOCK_ROWS)]
