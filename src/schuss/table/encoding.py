"""Columns become the float features and category codes that engines take, targets too, and outputs become values.

A table is matched to the schema by the names of its columns; what arrives in another type is taken where its meaning
is beyond doubt, and is otherwise an error that names the column, the value and the place.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schuss.arrays import Codes, Matrix, RowIndex, Rows, Vector
from schuss.errors import CellError, ColumnError
from schuss.numeric import Scaling
from schuss.table.columns import (
    Each,
    Numbers,
    as_slice,
    codes,
    first_not_number,
    from_numpy,
    integers,
    kind_of,
    numbers,
    positions,
    workers,
)
from schuss.table.schema import (
    QUANTILES,
    BooleanColumn,
    CategoricalColumn,
    Column,
    Label,
    NumericColumn,
    Schema,
    Target,
    check_finite,
    row_offsets,
    row_weights,
)
from schuss.table.sparse import SparseTable, column_number
from schuss.table.table import Blocks, Table, row_count

_PLURALS = {
    "date": "dates or times",
    "integer": "numbers",
    "float": "numbers",
    "boolean": "truth values",
    "text": "text",
}
_NO_ROWS = np.empty(0, np.int64)
_BLOCK_ROWS = 8192  # a block of features stays in the cache of one core while its columns are written
_MOST_SPIKES = 2048  # codes of numbers, of all columns together
_NOTHING = np.empty(0)
_LEVELS = np.linspace(0, 1, QUANTILES)
_END = 3.0  # of a smoothly clipped number, and of one that is spread to a normal distribution
_FAR = 1e6  # from here on u / √(1 + (u/3)²) is ±3, and u² is still a number in float32
_TINY = 1e-300


@dataclass(frozen=True)
class Feature:
    """One column of the feature matrix: a number u = (x - center) / scale, or the indicator "x is missing".

    smooth: u / √(1 + (u/3)²) in its place.
    curve: in its place what is linear between some x, in ascending order, with their values, and constant beyond.
    """

    column: str
    name: str
    center: float = 0.0
    scale: float = 1.0
    indicator: bool = False
    smooth: bool = False
    curve: tuple[Numbers, Numbers] = field(default=(_NOTHING, _NOTHING), compare=False)

    def of(self, values: Numbers) -> Vector:
        """[n] the feature where a column has these values; NaN where one is missing, no number where it is too far."""
        x, y = self.curve
        if not len(x):
            return _scaled(values, self.center, self.scale, self.smooth)
        place = np.clip(np.searchsorted(x, values, "right") - 1, 0, len(x) - 2)
        with np.errstate(over="ignore"):
            share = np.clip((values - x[place]) / (x[place + 1] - x[place]), 0.0, 1.0)
        found = y[place] + (y[place + 1] - y[place]) * share
        return np.where(np.isinf(values), values, found).astype(np.float32)


@dataclass(frozen=True)
class Encoding:
    """How a table becomes Rows.

    Numbers: as `scaling` says, see schuss.numeric, with what the training rows taught. Truth values: standardised 0
    and 1. A missing value becomes 0, with a feature of its own that is 1, for columns that had any in training.
    Text: a code for each level, see `CategoricalColumn`. Robust numbers of which most are the same: beside them a code
    for each frequent value, see `NumericColumn`.
    """

    schema: Schema
    scaling: Scaling = "standard"

    @cached_property
    def layout(self) -> tuple[Feature, ...]:
        """The columns of the feature matrix from left to right."""
        return tuple(feature for column in self.schema.columns for feature in _features(column, self.scaling))

    def knots(self, bins: int) -> tuple[tuple[float, ...], ...]:
        """For each feature the numbers between which a function of it may be linear, in its own units, [F] tuples.

        Every distinct value where there are few, otherwise the least, the greatest and every heavy value, and evenly
        spaced ones of the quantiles of the others: plain quantiles collapse where most values are the same.

        Arguments:
            bins: between the knots, 2 or more.

        Returns:
            at most bins + 1 for each, in ascending order, different as float32; () for indicators, truth values,
            columns of sparse matrices, and where there would be fewer than 3.
        """
        columns = {column.name: column for column in self.schema.columns if isinstance(column, NumericColumn)}
        found: list[tuple[float, ...]] = []
        for feature in self.layout:
            known = None if feature.indicator else columns.get(feature.column)
            values = feature.of(_knots(known, bins + 1)) if known and known.quantiles else _NOTHING
            different = np.unique(values).tolist()
            found.append(tuple(different) if len(different) > 2 else ())
        return tuple(found)

    @property
    def features(self) -> int:
        """F, the width of the feature matrix."""
        return len(self.layout)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each feature is, such as "age", "age is missing", "smoker"."""
        return tuple(feature.name for feature in self.layout)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Every column that rows are made of: features, targets, the weight and the offset."""
        weight = () if self.schema.weight is None else (self.schema.weight,)
        return (*self.input_names, *self.schema.target.names, *weight)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Those that a table to predict must have: features and the offset."""
        offset = (self.schema.offset.name,) if self.schema.offset else ()
        return (*(column.name for column in self.schema.columns), *offset)

    @property
    def category_names(self) -> tuple[str, ...]:
        """The categorical columns, whose codes come first; to be read as text at prediction."""
        return tuple(column.name for column in self._categorical)

    @property
    def categories(self) -> tuple[int, ...]:
        """How many codes each categorical column has, then each one of numbers with spikes, C entries."""
        return (*(column.codes for column in self._categorical), *(column.codes for column in self.spiked))

    @cached_property
    def spiked(self) -> tuple[NumericColumn, ...]:
        """The columns of numbers whose frequent values have codes; none where that were too many, as of pixels."""
        numeric = [column for column in self.schema.columns if isinstance(column, NumericColumn)]
        found = tuple(column for column in numeric if column.spikes and self.scaling == "robust")
        return found if sum(column.codes for column in found) <= _MOST_SPIKES else ()

    @property
    def targets(self) -> int:
        """T: one for each target of a regression, one class number otherwise."""
        return len(self.schema.target.names)

    @property
    def row_bytes(self) -> int:
        """What an encoded row takes in memory."""
        weights = self.schema.weight is not None
        return 4 * (self.features + len(self.categories) + self.targets + weights + bool(self.schema.offset))

    @cached_property
    def _numbered(self) -> tuple[RowIndex, RowIndex, Numbers, Numbers, Vector]:
        """Of each feature [F] the number of its column in a matrix, 1 for an indicator, center, scale; where x is 0."""
        for column in self.schema.columns:
            if not isinstance(column, NumericColumn) or column.date or column_number(column.name) < 0:
                raise ColumnError(f"A sparse matrix has columns of numbers, called column_1, column_2, …, and no "
                                  f"{column.name!r}. Give a DataFrame with the columns of the training.")  # fmt: skip
        columns = np.array([column_number(feature.column) for feature in self.layout], np.int64)
        indicator = np.array([feature.indicator for feature in self.layout], np.int64)
        center, scale = np.array([(feature.center, feature.scale) for feature in self.layout]).reshape(-1, 2).T
        every = np.arange(len(columns))
        empty = np.where(indicator, 0.0, self._of(np.zeros(len(columns)), every, center, scale)).astype(np.float32)
        return columns, indicator, center, scale, empty

    @property
    def _categorical(self) -> tuple[CategoricalColumn, ...]:
        return tuple(column for column in self.schema.columns if isinstance(column, CategoricalColumn))

    def encode(self, table: Table, rows: RowIndex | slice | None = None, *, target: bool = True) -> Rows:
        """The encoded rows.

        Arguments:
            table: has every column of the schema, in any order; others are passed over.
            rows: which rows, in this order; None is all of them.
            target: also targets and weights; at prediction there are none, and targets has no columns.

        Raises:
            ColumnError: a column is not there or holds another kind of values.
            CellError: a value is impossible: infinite, too far out, no number, an unseen class, a missing target.
        """
        every = slice(0, len(table))
        span = every if rows is None else rows if isinstance(rows, slice) else as_slice(rows)
        if isinstance(span, slice) and span != every:
            return self.encode(table.slice(span.start, span.stop), target=target)
        return self.encode_blocks([(table, span)], row_count(table, span), target=target)

    def encode_blocks(self, blocks: Blocks, count: int, *, target: bool = True) -> Rows:
        """As encode, of the rows that some blocks of a table name, `count` in all."""
        weighed = target and self.schema.weight is not None
        rows = Rows(
            np.empty((count, self.features), np.float32),
            np.empty((count, len(self.categories)), np.int32),
            np.empty((count, self.targets if target else 0), np.float32),
            np.ones(count, np.float32) if weighed else None,
            np.empty(count, np.float32) if self.schema.offset else None,
        )
        start, any_weight = 0, False
        with workers(count) as each:
            for block, span in blocks:
                part = rows.slice(start, start + row_count(block, span))
                self._write_inputs(block, span, part, each)
                if part.offset is not None:
                    self._write_offset(block, span, part.offset)
                if target:
                    self._write_target(block, span, part.targets)
                if part.weights is not None and self.schema.weight in block.names:  # some come without the column
                    part.weights[:] = row_weights(block, self.schema.weight, span)
                    any_weight = True
                start += len(part)
        return rows if any_weight or not weighed else replace(rows, weights=None)

    def encode_labels(self, blocks: Blocks, count: int) -> Rows:
        """As encode_blocks, without features."""
        return Encoding(replace(self.schema, columns=())).encode_blocks(blocks, count)

    def write_stored(self, table: SparseTable, rows: RowIndex | slice, to: Matrix) -> None:
        """Writes the features of these rows into [n, F] float32: first as if every cell were 0, then what is stored.

        Raises:
            ColumnError: the schema has a column that no sparse matrix has.
            CellError: a value is too far out.
        """
        columns, indicator, center, scale, empty = self._numbered
        places = np.full((2, table.matrix.shape[1]), -1)  # of the value and the indicator of each column, if any
        places[indicator, columns] = np.arange(len(columns))
        matrix = table.matrix[rows]
        place, missing = places[:, matrix.indices]
        used, gone = np.flatnonzero(place >= 0), np.flatnonzero((missing >= 0) & np.isnan(matrix.data))
        place = place[used]
        stored = self._of(matrix.data[used], place, center, scale)
        stored[np.isnan(matrix.data[used])] = 0.0
        row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        to[...] = empty
        to[row[used], place] = stored
        to[row[gone], missing[gone]] = 1.0
        if not np.isfinite(np.append(empty, stored)).all():
            for first, feature in np.argwhere(~np.isfinite(to))[:1].tolist():
                raise _too_far(table, rows, first, self.layout[feature].column, "leave it empty")

    def _of(self, values: Numbers, place: RowIndex, center: Numbers, scale: Numbers) -> Vector:
        """[n] as Feature.of, each of the feature at its place of the layout, of columns of a matrix."""
        scaled = _scaled(values, center[place], scale[place], smooth=self.scaling != "standard")
        curved = [number for number, feature in enumerate(self.layout) if len(feature.curve[0])]
        order = np.argsort(place, kind="stable") if curved else place
        for number in curved:
            own = order[slice(*np.searchsorted(place, [number, number + 1], sorter=order))]
            scaled[own] = self.layout[number].of(values[own])
        return scaled

    def decode(self, outputs: Matrix) -> NDArray[Any]:
        """What the outputs [N, K] of a network mean, of a regression after the link of its loss.

        Returns:
            regression: standardised numbers in the units of the target, float64, [N], or [N, K] of several.
            multilabel: [N, T] whether the probability is above ½, in the targets' own type.
            classes: [N] labels in the target's own type; of one output per row classes[1] where it is above 0, of
            several the class of the largest.
        """
        target = self.schema.target
        if target.task == "regression":
            values: NDArray[Any] = outputs.astype(np.float64) * np.array(target.deviation) + np.array(target.mean)
            return values.reshape(-1) if values.shape[1] == 1 else values
        if target.task == "multilabel":
            return np.asarray(outputs > 0.5, np.bool_ if target.kind == "boolean" else np.int64)
        labels: NDArray[Any] = np.array(target.classes)
        if outputs.shape[1] == 1 and len(labels) == 2:
            chosen: NDArray[np.intp] = (outputs[:, 0] > 0).astype(np.intp)
        else:
            chosen = outputs.argmax(axis=1)
        decoded: NDArray[Any] = labels[chosen]
        return decoded

    def _write_inputs(self, table: Table, span: RowIndex | slice, to: Rows, each: Each) -> None:
        """Features, computed in float64, a few rows at a time, column by column; and levels."""
        if isinstance(table, SparseTable):
            self.write_stored(table, span, to.features)
            for place, spiked in enumerate(self.spiked):
                stored = table.matrix[span][:, [column_number(spiked.name)]]
                to.codes[:, place] = _spikes_of(stored.toarray()[:, 0], spiked)
            return
        for column in self.schema.columns:
            check_kind(table, column)
        plain = [column for column in self.schema.columns if not isinstance(column, CategoricalColumn)]
        values = dict(zip((column.name for column in plain), each(partial(column_numbers, table), plain), strict=True))
        columns = [(values[own.column], own) for own in self.layout]

        def write(part: slice) -> bool:
            if isinstance(span, slice):
                rows: RowIndex | slice = slice(span.start + part.start, span.start + part.stop)
            else:
                rows = span[part]
            return _write_features(columns, rows, to.features[part])

        if not all(each(write, _blocks(len(to)))):
            for name in values:
                check_finite(table, name, values[name])
            row, place = (int(i) for i in np.argwhere(~np.isfinite(to.features))[0])
            raise _too_far(table, span, row, self.layout[place].column, "leave it empty")
        for place, column in enumerate(self._categorical):
            to.codes[:, place] = _codes_of(table.column(column.name), column)[span]
        for place, spiked in enumerate(self.spiked, len(self._categorical)):
            to.codes[:, place] = _spikes_of(values[spiked.name][span], spiked)

    def _write_offset(self, table: Table, span: RowIndex | slice, to: Vector) -> None:
        """In units of the target's deviation."""
        assert self.schema.offset
        with np.errstate(over="ignore"):
            to[:] = row_offsets(table, self.schema.offset, span) / (*self.schema.target.deviation, 1.0)[0]
        if not np.isfinite(to).all():
            raise _too_far(table, span, int((~np.isfinite(to)).argmax()), self.schema.offset.name, "leave the row out")

    def _write_target(self, table: Table, span: RowIndex | slice, to: Matrix) -> None:
        """Standardised numbers, 0 and 1, or class numbers."""
        target = self.schema.target
        if target.classes:
            to[:, 0] = class_numbers(table, target, span)
            return
        for place, name in enumerate(target.names):
            values = _numbers_of(table, name, "target column")[span]
            if table.data[name].null_count:
                _check_present(table, name, span, np.isnan(values))
            with np.errstate(over="ignore"):
                if target.task == "multilabel":
                    _check_truth(table, name, span, values)
                    to[:, place] = values
                else:
                    to[:, place] = (values - target.mean[place]) / target.deviation[place]
        if not np.isfinite(to).all():
            for name in target.names:
                check_finite(table, name, numbers(table.data[name]))
            row, place = (int(i) for i in np.argwhere(~np.isfinite(to))[0])
            raise _too_far(table, span, row, target.names[place], "leave the row out")


def _check_truth(table: Table, name: str, span: RowIndex | slice, values: Numbers) -> None:
    """Every value is 0 or 1."""
    strange = ~((values == 0) | (values == 1))
    if strange.any():
        row = int(_numbers_of_rows(table, span)[strange.argmax()])
        raise CellError(f"{table.where(row)}: the target {name!r} is {values[strange.argmax()]:g}, and can be true or "
                        "false, 1 or 0. Correct it, or leave the row out.")  # fmt: skip


def class_numbers(table: Table, target: Target, span: RowIndex | slice) -> Codes:
    """[n] the place of each label among the classes. Raises CellError where one is missing or not among them."""
    name = target.names[0]
    column = table.column(name, "target column")
    found = places_of(column, target.classes, -1, -2)[span]
    _check_present(table, name, span, found == -2)
    if (found == -1).any():
        row = int(_numbers_of_rows(table, span)[(found == -1).argmax()])
        raise CellError(f"{table.where(row)}: the class {column[row].as_py()!r} in {name!r} did not occur in "
                        "training. Leave such rows out.")  # fmt: skip
    return found


def _write_features(columns: Sequence[tuple[Numbers, Feature]], rows: RowIndex | slice, to: Matrix) -> bool:
    """Writes [n, F] features of these rows of F columns; whether all of them are finite."""
    try:
        from schuss import _core  # needs a compiler
    except ImportError:
        for place, (values, feature) in enumerate(columns):
            missing = np.isnan(values[rows])
            to[:, place] = missing if feature.indicator else np.where(missing, 0.0, feature.of(values[rows]))
        return bool(np.isfinite(to).all())
    part, rows = (rows, _NO_ROWS) if isinstance(rows, slice) else (slice(None), rows)
    plain = [
        (values[part], own.center, 0.0 if own.indicator else own.scale, own.smooth, *own.curve)
        for values, own in columns
    ]
    return _core.write_features(plain, rows, to)


def _codes_of(values: pa.ChunkedArray, column: CategoricalColumn) -> Codes:
    """[N] the code of each value of a categorical column."""
    found = places_of(values, column.levels, column.other_code, column.missing_code)
    if column.other and column.buckets > 1:
        places, texts = codes(values)
        other = found == column.other_code
        rest = np.flatnonzero(np.bincount(places[other], minlength=len(texts)))
        bucket = np.zeros(len(texts), np.int32)
        bucket[rest] = [_hash(text) % column.buckets for text in texts.take(from_numpy(rest)).to_pylist()]
        found[other] += bucket[places[other]]
    return found


def _spikes_of(values: Numbers, column: NumericColumn) -> Codes:
    """[n] the code of each number of a column with spikes, -1 where it is missing."""
    known = np.array(column.spikes)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    otherwise = np.where(np.isnan(values), -1, column.other_code)
    return np.where(known[places] == values, places, otherwise).astype(np.int32)


def _hash(value: Label) -> int:
    """The same wherever and whenever; 3.0 as 3, for whole numbers with gaps among them arrive as that."""
    whole = isinstance(value, float) and value.is_integer()
    return zlib.crc32(str(int(value) if whole else value).encode())


def places_of(column: pa.ChunkedArray, labels: Sequence[Label], otherwise: int, missing: int) -> Codes:
    """[N] the place of each value among the labels, `otherwise` for a value that is none of them.

    A number or truth value stands for the text that reads as it, when exactly one label does: 3 and 3.0 for "3".
    """
    numeric = {int: "integer", float: "float"}.get(type(labels[0])) if labels else None
    if numeric and numeric == kind_of(column.type) and not column.null_count and len(column) <= _BLOCK_ROWS:
        return _places_of_numbers(integers(column) if numeric == "integer" else numbers(column), labels, otherwise)
    found, distinct = codes(column)
    if labels and isinstance(labels[0], str) and kind_of(distinct.type) == "text":
        return np.append(positions(distinct, [str(label) for label in labels], otherwise), np.int32(missing))[found]
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


def _features(column: NumericColumn | BooleanColumn | CategoricalColumn, scaling: Scaling) -> Iterator[Feature]:
    """The features of one column: its value unless that is constant, and whether it is missing if it ever was."""
    match column:
        case NumericColumn(name=name) if column.distinct > 1:
            yield _number(column, scaling)
        case BooleanColumn(name=name, share=share) if 0 < share < 1:
            share = share if column.weighted_share is None else column.weighted_share
            yield Feature(name, name, share, float(np.sqrt(share * (1 - share))))
    if not isinstance(column, CategoricalColumn) and column.missing:
        yield Feature(column.name, f"{column.name} is missing", indicator=True)


def _number(column: NumericColumn, scaling: Scaling) -> Feature:
    """The feature of a column of numbers. One of a sparse matrix has no quantiles, and keeps mean and deviation."""
    plain = Feature(column.name, column.name, column.mean, column.deviation, smooth=scaling != "standard")
    if scaling == "standard" or not column.quantiles:
        return plain
    if scaling == "quantile" and 0 < column.quantiles[-1] - column.quantiles[0] < math.inf:
        return replace(plain, curve=_curve(column.quantiles))
    at = np.interp([0.05, 0.25, 0.5, 0.75, 0.95], _LEVELS, column.quantiles)
    lowest, first, middle, third, highest = at.tolist()
    scale = next((gap for gap in (third - first, highest - lowest) if _TINY < gap < math.inf), column.deviation)
    return replace(plain, center=middle, scale=scale)


def _curve(quantiles: Sequence[float]) -> tuple[Numbers, Numbers]:
    """The quantiles, each once, and the place of each in a normal distribution; of a heavy one that of its middle."""
    from statistics import NormalDist  # which takes 15 ms

    x, first, count = np.unique(quantiles, return_index=True, return_counts=True)
    levels = (first + (count - 1) / 2) / (QUANTILES - 1)
    normal = NormalDist()
    y = np.clip([normal.inv_cdf(level) for level in np.clip(levels, 1e-9, 1 - 1e-9).tolist()], -_END, _END)
    return x, y


def _scaled(values: Numbers, center: Numbers | float, scale: Numbers | float, smooth: bool) -> Vector:
    """[n] as Feature.of, without a curve."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (values - center) / scale
        if not smooth:
            return scaled.astype(np.float32)
        near = np.where(np.isinf(values), values, np.clip(scaled, -_FAR, _FAR)).astype(np.float32)
        smoothed: Vector = near / np.sqrt(1 + near * near * np.float32(1 / 9))
        return smoothed


def _knots(column: NumericColumn, most: int) -> Numbers:
    """At most so many values of a column, in ascending order."""
    fixed = np.union1d(column.heavy, [column.least, column.greatest])
    if len(fixed) >= most:
        return fixed[_evenly(len(fixed), most)]
    others = np.setdiff1d(column.others if column.heavy else column.quantiles, fixed)
    spare = min(most - len(fixed), len(others))
    return np.union1d(fixed, others[_evenly(len(others), spare + 2)[1:-1]] if spare < len(others) else others)


def _evenly(count: int, some: int) -> RowIndex:
    """Some of so many places, at equal steps from the first to the last."""
    return np.rint(np.linspace(0, count - 1, some)).astype(np.int64)


def column_numbers(table: Table, column: NumericColumn | BooleanColumn) -> Numbers:
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


def check_kind(table: Table, column: Column) -> None:
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


def _too_far(table: Table, span: RowIndex | slice, place: int, name: str, advice: str) -> CellError:
    row = int(_numbers_of_rows(table, span)[place])
    return CellError(f"{table.where(row)}: the value of {name!r} lies too far from those seen in training to be a "
                     f"number in float32. Correct it, or {advice}.")  # fmt: skip


def _check_present(table: Table, name: str, span: RowIndex | slice, absent: NDArray[np.bool_]) -> None:
    """Every row has this target."""
    if absent.any():
        row = int(_numbers_of_rows(table, span)[absent.argmax()])
        raise CellError(f"{table.where(row)}: the target {name!r} is missing. Leave the row out.")


def _numbers_of_rows(table: Table, span: RowIndex | slice) -> RowIndex:
    """The row numbers that a span stands for."""
    return np.arange(len(table))[span] if isinstance(span, slice) else span


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK_ROWS, count)) for start in range(0, count, _BLOCK_ROWS)]
