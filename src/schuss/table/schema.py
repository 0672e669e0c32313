"""What a table is to the network: the kind of every column, the target, and what was learned from the training rows.

Kinds and classes come from all rows; means, quantiles and categories from training rows alone. A schema is plain
values, goes through JSON and back unchanged, and travels in the model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import CellError, ColumnError, SettingError
from schuss.table.columns import (
    Kind,
    Numbers,
    as_slice,
    codes,
    first_not_number,
    in_parallel,
    integers,
    kind_of,
    nearest,
    numbers,
    present,
    share_of_numbers,
)
from schuss.table.source import Table

Task: TypeAlias = Literal["regression", "binary", "multiclass"]
Label: TypeAlias = bool | int | float | str
TargetKind: TypeAlias = Literal["integer", "float", "boolean", "text"]

MOST_NUMBER_CLASSES = 20  # more distinct whole numbers than this are a quantity
FEWEST_ROWS_PER_CLASS = 5  # fewer rows per distinct whole number than this are a quantity
MOST_CLASSES = 1000
MOST_COUNTED = 10_000  # distinct numbers are counted up to here: all that are to be counted must be sorted
_ROWS_LOOKED_AT = 16_384  # first, to see whether there are more
MOST_LEVELS = 1000
FEWEST_ROWS_PER_LEVEL = 3  # rarer texts are folded into "other" …
SMALL_TABLE = 100  # … in tables of at least so many training rows
IDENTIFIER_SHARE = 0.9
MOSTLY = 0.5  # a column of text with a larger share of numbers is worth a note
IDENTIFIER_ROWS = 50
LEAST_WEIGHT = 1e-37  # what float32 holds with all its digits
GREATEST_WEIGHT = 3e38
_LEAST_DEVIATION = 1e-100  # of a target, so that its square is a number
_GREATEST_DEVIATION = 1e100
_TINY = 1e-300


class NumericColumn(msgspec.Struct, frozen=True, tag="numeric"):
    """A column of numbers. missing, distinct, least … are those of the training rows; date: dates or times, as days.

    distinct: exact up to MOST_COUNTED; one more than that stands for any larger number.
    """

    name: str
    missing: int
    distinct: int
    least: float
    greatest: float
    mean: float
    deviation: float
    date: bool = False


class BooleanColumn(msgspec.Struct, frozen=True, tag="boolean"):
    """A column of true and false; share is that of true among the training rows that have a value."""

    name: str
    missing: int
    share: float


class CategoricalColumn(msgspec.Struct, frozen=True, tag="categorical"):
    """A column of text. levels: by count, then name, with their counts; other: training rows in rarer texts.

    Codes are 0 … len(levels) - 1, then one for "other" if other > 0, then one for missing if missing > 0.
    """

    name: str
    missing: int
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    distinct: int
    other: int

    @property
    def other_code(self) -> int:
        """The code of rare and unseen texts; -1 when training had none."""
        return len(self.levels) if self.other else -1

    @property
    def missing_code(self) -> int:
        """The code of a missing value; -1 when training had none."""
        return len(self.levels) + bool(self.other) if self.missing else -1

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return len(self.levels) + bool(self.other) + bool(self.missing)


Column: TypeAlias = NumericColumn | BooleanColumn | CategoricalColumn


@dataclass(frozen=True)
class Target:
    """The column or columns to predict, and why they are a regression or a choice between classes.

    classes: in ascending order, () for regression. mean, deviation, least, greatest: one number for each target column
    of a regression, from training rows; a deviation of 0 is kept as 1.
    """

    names: tuple[str, ...]
    task: Task
    reason: str
    kind: TargetKind
    classes: tuple[Label, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    least: tuple[float, ...] = ()
    greatest: tuple[float, ...] = ()


@dataclass(frozen=True)
class Schema:
    """The features in use, the target, and the columns left out with the reason.

    rows: training rows. missing: the words that stood for a missing value in the text files it was learned from.
    """

    columns: tuple[Column, ...]
    target: Target
    weight: str | None
    dropped: tuple[tuple[str, str], ...]
    rows: int
    missing: tuple[str, ...] = ()


def find_target(table: Table, names: Sequence[str], task: Task | None = None) -> Target:
    """The task that the target's values call for, or the one that was asked for.

    Text and truth values are classes. Whole numbers are classes when at most 20 of them occur, each in 5 rows on
    average; all other numbers, and several targets at once, are a regression.

    Arguments:
        table: all rows; those without a target do not count.
        names: the target, or several for a regression with several outputs.
        task: overrules the choice.

    Raises:
        ColumnError: a target is not there, has no value, or has too many classes.
        SettingError: the task does not fit the target.
    """
    if not names or len(set(names)) < len(names):
        raise SettingError(f"The target is {list(names)}: name one column, or several different ones.")
    kinds = [_target_kind(table, name) for name in names]
    if len(names) > 1:
        return _several_targets(table, tuple(names), kinds, task)
    name, kind = names[0], kinds[0]
    found = _labels(table.data[name], kind) if task != "regression" else ((), 0)
    chosen, reason = _choose_task(kind, *found) if task is None else (task, "you asked for it")
    if chosen == "regression":
        if kind == "text":
            raise _text_regression(table, name)
        return Target((name,), "regression", reason, kind)
    _check_classes(table, name, kind, chosen, *found)
    return Target((name,), chosen, reason, kind, found[0])


def target_rows(table: Table, target: Target) -> RowIndex:
    """The rows that have every target; the others are left out, and the caller says how many.

    Raises:
        CellError: a target is infinite.
        ColumnError: no row has a target.
    """
    columns = [table.column(name, "target column") for name in target.names]
    for name, column in zip(target.names, columns, strict=True):
        if kind_of(column.type) == "float":
            check_finite(table, name, numbers(column))
    gaps = [present(column) for column in columns if column.null_count]
    rows = np.flatnonzero(np.all(gaps, axis=0)) if gaps else np.arange(len(table))
    if not len(rows):
        raise ColumnError(f"{table.name}: no row has a value in {' and '.join(map(repr, target.names))}.")
    return rows.astype(np.int64, copy=False)


def learn_schema(
    table: Table, target: Target, training: RowIndex, *, weight: str | None = None, exclude: str | Sequence[str] = ()
) -> Schema:
    """Learns from the training rows what the network must know of every column.

    Arguments:
        table: all rows.
        target: from `find_target`; one without names makes every column a feature, so that a table can be described.
        training: the rows to learn from, each with a target.
        weight: a column of row weights; it weighs means and deviations and is no feature.
        exclude: a column that is no feature, or several.

    Raises:
        SettingError: weight, exclude and target name the same column.
        ColumnError: a column is not there, no feature is left, or a target is too large or too small for float32.
        CellError: a feature is infinite, or a weight is impossible (see `row_weights`), or all are 0.
    """
    exclude = (exclude,) if isinstance(exclude, str) else exclude
    _check_roles(table, target, weight, exclude)
    weights = None if weight is None else row_weights(table, weight, training)
    if weights is not None and not weights.any():
        raise CellError(f"{table.name}: all weights in {weight!r} are 0. At least one row must count.")
    if weights is not None and (weights == 1).all():
        weights = None  # that is the same, bit for bit
    taken = {*target.names, *exclude, weight}
    features = [name for name in table.names if name not in taken]
    rows = as_slice(training)
    learned = in_parallel(lambda name: _learn(table, name, rows, weights), features, len(training))
    columns = tuple(column for column in learned if not isinstance(column, str))
    reasons = {name: reason for name, reason in zip(features, learned, strict=True) if isinstance(reason, str)}
    reasons |= dict.fromkeys(exclude, "excluded by you")
    dropped = tuple((name, reasons[name]) for name in table.names if name in reasons)
    if not columns and target.names:
        told = "; ".join(f"{name!r}: {reason}" for name, reason in dropped[:10])
        raise ColumnError(f"{table.name} has no column left to predict from ({told or 'only the target'}).")
    learned_target = _learn_target(table, target, rows, weights)
    return Schema(columns, learned_target, weight, dropped, len(training), table.missing)


def doubtful_columns(table: Table, schema: Schema) -> tuple[str, ...]:
    """Notes on columns that are taken for text because of few values among numbers, with the first of those."""
    notes = []
    for column in schema.columns:
        if isinstance(column, CategoricalColumn) and kind_of(table.data[column.name].type) == "text":
            share, strange = share_of_numbers(table.data[column.name]), first_not_number(table.data[column.name])
            if share > MOSTLY and strange:
                notes.append(
                    f"{column.name}: text, because {table.where(strange[0])} holds {strange[1]!r}; {share:.1%} of its "
                    f"values are numbers. If {strange[1]!r} means missing, say so with --missing."
                )
    return tuple(notes)


def row_weights(table: Table, name: str, rows: RowIndex | slice) -> Numbers:
    """The weights of these rows, float64.

    Raises:
        ColumnError: the column is not there or holds no numbers.
        CellError: a weight is missing, negative or infinite, or too large or too small for float32.
    """
    column = table.column(name, "weight column")
    if kind_of(column.type) not in ("integer", "float", "boolean"):
        raise ColumnError(f"{table.name}: the weight column {name!r} holds no numbers.")
    everything = numbers(column)
    weights = everything[rows]
    bad = ~((weights >= LEAST_WEIGHT) & (weights <= GREATEST_WEIGHT))
    if bad.any() and (bad := bad & (weights != 0)).any():
        row = int(np.arange(len(everything))[rows][bad.argmax()])
        value = "missing" if np.isnan(everything[row]) else f"{everything[row]:g}"
        rule = "Weights are finite and at least 0."
        if 0 < everything[row] < np.inf:
            rule = f"Weights are 0 or from {LEAST_WEIGHT:g} to {GREATEST_WEIGHT:g}: multiply all by a power of ten."
        raise CellError(f"{table.where(row)}: the weight in {name!r} is {value}. {rule}")
    return weights


def distinct_numbers(values: NDArray[Any]) -> NDArray[Any]:
    """The distinct values in ascending order; of more than MOST_COUNTED, just one more than that."""
    distinct = np.unique(values[:_ROWS_LOOKED_AT])
    if len(values) > _ROWS_LOOKED_AT and len(distinct) <= MOST_COUNTED:
        distinct = np.unique(values)
    return distinct[: MOST_COUNTED + 1]


def _count_distinct(values: Numbers) -> int:
    """How many distinct values there are, up to one more than MOST_COUNTED."""
    for some in (values[:_ROWS_LOOKED_AT], values):
        ordered = np.sort(some)
        count = 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
        if len(some) == len(values) or count > MOST_COUNTED:
            break
    return min(count, MOST_COUNTED + 1)


def count_words(distinct: int) -> str:
    """How many distinct numbers there are, in words."""
    return f"{distinct:,}" if distinct <= MOST_COUNTED else f"more than {MOST_COUNTED:,}"


def check_finite(table: Table, name: str, values: Numbers) -> None:
    """Raises a CellError with the count and the first row when a column (NaN: missing) holds infinite values."""
    infinite = np.isinf(values)
    if infinite.any():
        count, row = int(infinite.sum()), int(infinite.argmax())
        raise CellError(
            f"{table.where(row)}: {name!r} holds {values[row]}"
            + (f", the first of {count:,} infinite values" if count > 1 else "")
            + ". Correct it, or leave it empty: that is a missing value."
        )


def _target_kind(table: Table, name: str) -> TargetKind:
    """The kind of a target column, which must have a value in some row."""
    column = table.column(name, "target column")
    if column.null_count == len(column):
        raise ColumnError(f"{table.name}: the target {name!r} has no value in any row.")
    kind: Kind | None = kind_of(column.type)
    assert kind in ("integer", "float", "boolean", "text"), kind
    return kind


def _several_targets(table: Table, names: tuple[str, ...], kinds: Sequence[TargetKind], task: Task | None) -> Target:
    if task not in (None, "regression"):
        raise SettingError(f"The task is {task} with {len(names)} targets: several targets are a regression.")
    if "text" in kinds:
        raise _text_regression(table, names[kinds.index("text")])
    joint: TargetKind = "float" if "float" in kinds else "integer"
    return Target(names, "regression", f"{len(names)} targets", joint)


def _text_regression(table: Table, name: str) -> SettingError:
    """Text as the target of a regression, with the first value that is no number."""
    strange = first_not_number(table.data[name])
    told = "" if strange is None else f" {table.where(strange[0])} holds {strange[1]!r}."
    return SettingError(f"The task is regression and the target {name!r} holds text.{told} Correct it, or name what "
                        "stands for a missing value.")  # fmt: skip


def _labels(column: pa.ChunkedArray, kind: TargetKind) -> tuple[tuple[Label, ...], int]:
    """The distinct finite values in ascending order, and the number of rows that have one."""
    if kind == "text":
        places, texts = codes(column)
        counts = np.bincount(places[places >= 0], minlength=len(texts))
        return tuple(sorted(text for text, count in zip(texts, counts, strict=True) if count)), int(counts.sum())
    if kind == "integer":
        values: NDArray[Any] = integers(column)
    else:
        values = numbers(column)
        values = values[np.isfinite(values)]
    distinct = distinct_numbers(values)
    return tuple((distinct > 0 if kind == "boolean" else distinct).tolist()), len(values)


def _choose_task(kind: TargetKind, labels: tuple[Label, ...], rows: int) -> tuple[Task, str]:
    """The task and its reason."""
    count = len(labels)
    if kind in ("text", "boolean"):
        return _classes_task(count), f"{count:,} distinct " + ("texts" if kind == "text" else "truth values")
    if any(label != int(label) for label in labels):
        return "regression", f"{count_words(count)} distinct numbers"
    if count > MOST_NUMBER_CLASSES or rows < FEWEST_ROWS_PER_CLASS * count:
        return "regression", f"{count_words(count)} distinct numbers"
    return _classes_task(count), f"{count:,} distinct whole numbers"


def _classes_task(count: int) -> Task:
    return "binary" if count == 2 else "multiclass"


def _check_classes(table: Table, name: str, kind: TargetKind, task: Task, labels: tuple[Label, ...], rows: int) -> None:
    """The classes are few enough to be classes, and two for a binary task."""
    count = len(labels)
    if task == "binary" and count != 2:
        raise SettingError(f"The task is binary and the target {name!r} has {count:,} classes: binary means two.")
    own_class = kind == "text" and count == rows and rows >= 10
    if count <= MOST_CLASSES and not own_class:
        return
    told = f"{table.name}: the target {name!r} has {count:,} classes in {rows:,} rows."
    if kind != "text":
        raise ColumnError(f"{told} Make it a regression (task regression).")
    strange = first_not_number(table.data[name])
    example = "" if strange is None else f" (if it should be numbers: {table.where(strange[0])} holds {strange[1]!r})"
    raise ColumnError(f"{told} It looks like an identifier{example}. Choose another target, or correct its values.")


def _check_roles(table: Table, target: Target, weight: str | None, exclude: Sequence[str]) -> None:
    """Target, weight and excluded columns are there, and no column has two roles."""
    for name in exclude:
        if name not in table.names:
            raise ColumnError(f"{table.name} has no column {name!r} to exclude. {nearest(name, table.names)}")
    for name in target.names:
        if name in exclude:
            raise SettingError(f"{name!r} is the target and cannot be excluded.")
        if name == weight:
            raise SettingError(f"{name!r} is the target and cannot be the weight as well.")
    if weight is not None and weight in exclude:
        raise SettingError(f"{weight!r} is the weight and cannot be excluded: it is no feature anyway.")


def _learn(table: Table, name: str, training: RowIndex | slice, weights: Numbers | None) -> Column | str:
    """What the training rows say of a column, or the reason to drop it."""
    column = table.data[name]
    kind = kind_of(column.type)
    if kind == "text":
        return _learn_categorical(name, column, training)
    values = numbers(column)
    check_finite(table, name, values)
    values, missing = values[training], 0
    if column.null_count:
        valid = ~np.isnan(values)
        missing = int(len(values) - np.count_nonzero(valid))
        values, weights = values[valid], None if weights is None else weights[valid]
        if weights is not None and not weights.any():
            weights = None
    if not len(values):
        return "all missing"
    if kind == "boolean":
        share = float(values.mean())
        return "constant" if not missing and share in (0.0, 1.0) else BooleanColumn(name, missing, share)
    learned = _learn_numeric(name, values, missing, weights, name in table.dates)
    return "constant" if not missing and learned.distinct == 1 else learned


def _learn_numeric(name: str, values: Numbers, missing: int, weights: Numbers | None, date: bool) -> NumericColumn:
    least, greatest = float(values.min()), float(values.max())
    mean, deviation = _moments(values, weights, least, greatest)
    return NumericColumn(
        name=name,
        missing=missing,
        distinct=_count_distinct(values),
        least=least,
        greatest=greatest,
        mean=mean,
        deviation=deviation,
        date=date,
    )


def _moments(values: Numbers, weights: Numbers | None, least: float, greatest: float) -> tuple[float, float]:
    """Mean and deviation, Σ w x / Σ w and √(Σ w (x - mean)² / Σ w); a deviation of 0 becomes 1."""
    if least == greatest:
        return least, 1.0
    most = max(abs(least), abs(greatest))
    scale = 1.0 if 1e-100 < most < 1e100 else max(most, _TINY)  # so that squares neither vanish nor overflow
    scaled = values if scale == 1.0 else values / scale
    mean = _mean(scaled, weights)
    offset = scaled - mean
    deviation = math.sqrt(_mean(np.square(offset, out=offset), weights)) * scale
    return mean * scale, deviation if deviation > _TINY else 1.0


def _mean(values: Numbers, weights: Numbers | None) -> float:
    """Σ w x / Σ w."""
    if weights is None:
        return float(values.sum() / len(values))
    return float((values * weights).sum() / weights.sum())


def _learn_categorical(name: str, column: pa.ChunkedArray, training: RowIndex | slice) -> CategoricalColumn | str:
    """The texts that occur often enough to be levels."""
    places, texts = codes(column)
    places = places[training]
    counts = np.bincount(places + 1, minlength=len(texts) + 1)
    missing, present = int(counts[0]), int(len(places) - counts[0])
    pairs = [(text, int(count)) for text, count in zip(texts, counts[1:], strict=True) if count]
    if not pairs:
        return "all missing"
    if len(pairs) == 1 and not missing:
        return "constant"
    if present > IDENTIFIER_ROWS and len(pairs) > IDENTIFIER_SHARE * present:
        return f"an identifier: {len(pairs):,} distinct texts in {present:,} rows"
    fewest = FEWEST_ROWS_PER_LEVEL if len(places) >= SMALL_TABLE else 1
    kept = sorted((pair for pair in pairs if pair[1] >= fewest), key=lambda pair: (-pair[1], pair[0]))[:MOST_LEVELS]
    other = present - sum(count for _, count in kept)
    if not kept and not missing:
        return f"no text in it occurs {fewest} times"
    return CategoricalColumn(
        name, missing, tuple(text for text, _ in kept), tuple(count for _, count in kept), len(pairs), other
    )


def _learn_target(table: Table, target: Target, training: RowIndex | slice, weights: Numbers | None) -> Target:
    """The target with the scale of its training rows."""
    if target.task != "regression":
        return target
    values = [numbers(table.data[name])[training] for name in target.names]
    ends = [(float(each.min()), float(each.max())) for each in values]
    moments = [_moments(each, weights, *reach) for each, reach in zip(values, ends, strict=True)]
    for name, (least, greatest), (_, deviation) in zip(target.names, ends, moments, strict=True):
        if least < greatest and not _LEAST_DEVIATION < min(deviation, greatest - least) < _GREATEST_DEVIATION:
            raise ColumnError(f"{table.name}: the target {name!r} runs from {least:g} to {greatest:g}, beyond "
                              "what can be computed with. Multiply it by a power of ten.")  # fmt: skip
    return replace(
        target,
        mean=tuple(mean for mean, _ in moments),
        deviation=tuple(deviation for _, deviation in moments),
        least=tuple(least for least, _ in ends),
        greatest=tuple(greatest for _, greatest in ends),
    )
