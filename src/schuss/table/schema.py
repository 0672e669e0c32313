"""What a table is to the network: the kind of every column, the target, and what was learned from the training rows.

Kinds and classes come from all rows; means, quantiles and categories from training rows alone. A schema is plain
values, goes through JSON and back unchanged, and travels in the model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import CellError, ColumnError, SettingError
from schuss.losses import Loss, Support, supported
from schuss.table.columns import (
    Kind,
    Numbers,
    are_numbers,
    codes,
    first_not_number,
    from_numpy,
    integers,
    kind_of,
    numbers,
    present,
)
from schuss.table.table import Table

Task: TypeAlias = Literal["regression", "binary", "multiclass", "multilabel"]
Label: TypeAlias = bool | int | float | str
TargetKind: TypeAlias = Literal["integer", "float", "boolean", "text"]

MOST_NUMBER_CLASSES = 20  # more distinct whole numbers than this are a quantity
FEWEST_ROWS_PER_CLASS = 5  # fewer rows per distinct whole number than this are a quantity
MOST_CLASSES = 1000
MOST_COUNTED = 10_000  # distinct numbers are counted up to here: all that are to be counted must be sorted
QUANTILES = 129  # the ends of 128 parts with equally many rows, and of 64, 32, 16 …
MOST_KNOWN = QUANTILES - 1  # distinct numbers that are all kept
_ROWS_LOOKED_AT = 12_288  # first, to see whether there are more
MOSTLY = 0.5  # a column of text with a larger share of numbers is worth a note
LEAST_WEIGHT = 1e-37  # what float32 holds with all its digits
GREATEST_WEIGHT = 3e38


class NumericColumn(msgspec.Struct, frozen=True, tag="numeric"):
    """A column of numbers. missing, distinct, least … are those of the training rows; date: dates or times, as days.

    distinct: exact up to MOST_COUNTED; one more than that stands for any larger number.
    quantiles: QUANTILES values that stand at equal steps from the least to the greatest, in ascending order; () of a
        column of a sparse matrix.
    heavy: values that each fill a 128th of the sampled rows or more, in ascending order.
    others: where there are heavy ones, the other values: each of them where there are at most MOST_KNOWN in all, else
        as many quantiles of theirs.
    spikes: where one value fills half of the rows or more, those that occur often enough to be levels of their own, as
        those of a categorical column, in ascending order, at most MOST_KNOWN; else ().
    """

    name: str
    missing: int
    distinct: int
    least: float
    greatest: float
    mean: float
    deviation: float
    quantiles: tuple[float, ...] = ()
    date: bool = False
    heavy: tuple[float, ...] = ()
    others: tuple[float, ...] = ()
    spikes: tuple[float, ...] = ()

    @property
    def other_code(self) -> int:
        """The code of a value that is no spike; -1 when training had none."""
        return len(self.spikes) if self.distinct > len(self.spikes) else -1

    @property
    def codes(self) -> int:
        """How many codes there are, of a column with spikes; a missing value has none."""
        return len(self.spikes) + (self.distinct > len(self.spikes))


class BooleanColumn(msgspec.Struct, frozen=True, tag="boolean"):
    """A column of true and false; share is that of true among the training rows that have a value.

    weighted_share: that of their weight, by which the column is standardised; None where it is the same.
    """

    name: str
    missing: int
    share: float
    weighted_share: float | None = None


class CategoricalColumn(msgspec.Struct, frozen=True, tag="categorical"):
    """A column of text. levels: by count, then name, with their counts; other: training rows in other texts.

    Codes are 0 … len(levels) - 1, then one for each bucket of other texts if other > 0, then one for missing if
    missing > 0. buckets: over which a hash spreads other texts, seen or not; 1 where they are only rare.
    """

    name: str
    missing: int
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    distinct: int
    other: int
    buckets: int = 1

    @property
    def other_code(self) -> int:
        """The first code of rare and unseen texts; -1 when training had none."""
        return len(self.levels) if self.other else -1

    @property
    def missing_code(self) -> int:
        """The code of a missing value; -1 when training had none."""
        return self.codes - 1 if self.missing else -1

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return len(self.levels) + (self.buckets if self.other else 0) + bool(self.missing)


Column: TypeAlias = NumericColumn | BooleanColumn | CategoricalColumn


@dataclass(frozen=True)
class Target:
    """The column or columns to predict, and why they are a regression or a choice between classes.

    classes: in ascending order, () for regression, and for multilabel, whose targets are true or false each.
    mean, deviation, least, greatest: one number for each target column of a regression, from training rows; a deviation
    of 0 is kept as 1.
    support: the numbers that the loss takes. Only where these are all real ones is a target standardised: otherwise its
    mean is kept as 0 and its deviation as 1.
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
    support: Support = "real"


@dataclass(frozen=True)
class Offset:
    """A column that is added to output 0 before the link, or the logarithm of one, which is an exposure.

    center: what is taken off first; the mean of the training rows where the target is standardised, else 0.
    """

    name: str
    logarithm: bool = False
    center: float = 0.0


@dataclass(frozen=True)
class Schema:
    """The features in use, the target, and the columns left out with the reason.

    rows: training rows. missing: the words that stood for a missing value in the text files it was learned from.
    suffix: what was cut off the end of texts there.
    """

    columns: tuple[Column, ...]
    target: Target
    weight: str | None
    dropped: tuple[tuple[str, str], ...]
    rows: int
    missing: tuple[str, ...] = ()
    suffix: str = ""
    offset: Offset | None = None


def find_target(table: Table, names: Sequence[str], task: Task | None = None, loss: Loss | None = None) -> Target:
    """The task that was asked for, or that the loss is for, or that the target's values call for.

    Text and truth values are classes. Whole numbers are classes when at most 20 of them occur, each in 5 rows on
    average; all other numbers, and several targets at once, are a regression.

    Arguments:
        table: all rows; those without a target do not count.
        names: the target, or several for a regression with several outputs or for multilabel.
        task: overrules the choice.
        loss: one that serves no task but regression, or only classes, leaves no other choice; None for any.

    Raises:
        ColumnError: a target is not there, has no value, or has too many classes.
        SettingError: there is no such task, or it does not fit the target.
    """
    if task not in (None, *get_args(Task)):
        raise SettingError(f"task is {task!r}: it must be one of {', '.join(get_args(Task))}.")
    if not names or len(set(names)) < len(names):
        raise SettingError(f"The target is {list(names)}: name one column, or several different ones.")
    kinds, support = [_target_kind(table, name) for name in names], loss.support if loss else "real"
    if len(names) == 1 and task == "multilabel":
        raise SettingError(f"The task is multilabel with the one target {names[0]!r}: name several, or take binary.")
    if len(names) > 1:
        labels = "multilabel" in loss.tasks if loss else set(kinds) == {"boolean"}
        task = "multilabel" if task is None and labels else task
        return replace(_several_targets(table, tuple(names), kinds, task), support=support)
    name, kind, implied = names[0], kinds[0], loss.tasks if loss and task is None else ()
    found = ((), 0) if "regression" in (task, *implied) else _labels(table, name, kind)
    if task:
        chosen, reason = task, "you asked for it"
    elif loss:
        chosen, reason = _implied_task(implied, len(found[0])), f"the loss is {loss.name}"
    else:
        chosen, reason = _choose_task(kind, *found)
    if chosen == "regression":
        if kind == "text":
            raise _text_regression(table, name)
        return Target((name,), "regression", reason, kind, support=support)
    _check_classes(table, name, kind, chosen, *found)
    return Target((name,), chosen, reason, kind, found[0])


def has_target(table: Table, target: Target) -> NDArray[np.bool_]:
    """[N] whether a row has every target. Raises CellError where a target is infinite, or one that no loss takes."""
    columns = [table.column(name, "target column") for name in target.names]
    for name, column in zip(target.names, columns, strict=True):
        if kind_of(column.type) == "float":
            check_finite(table, name, numbers(column))
        if target.support != "real":
            _check_support(table, name, target.support)
    found = np.ones(len(table), np.bool_)
    for column in columns:
        if column.null_count:
            found &= present(column)
    return found


def _check_support(table: Table, name: str, support: Support) -> None:
    """Raises CellError where a target is no number that its loss takes."""
    values = numbers(table.data[name])
    strange = ~supported(values, support)
    if strange.any():
        row = int(strange.argmax())
        raise CellError(f"{table.where(row)}: the target {name!r} is {values[row]:g}, and its loss takes numbers "
                        f"{support}. Choose another loss, or leave the row out.")  # fmt: skip


def doubtful_columns(table: Table, schema: Schema) -> tuple[str, ...]:
    """Notes on columns that are taken for text because of few values among numbers, or because their zeros matter."""
    notes = []
    for column in schema.columns:
        if isinstance(column, CategoricalColumn) and kind_of(table.schema.field(column.name).type) == "text":
            share, strange = _numbers_among(table, column.name)
            code = next((level for level in column.levels if level.startswith("0")), None)
            if strange is None and code and table.missing:
                notes.append(f"{column.name}: text, because of leading zeros ({code!r}); drop them if it is a quantity")
            if share > MOSTLY and strange:
                notes.append(
                    f"{column.name}: text, because {table.where(strange[0])} holds {strange[1]!r}; {share:.1%} of its "
                    f"values are numbers. If {strange[1]!r} means missing, say so with --missing."
                )
    return tuple(notes)


def _numbers_among(table: Table, name: str) -> tuple[float, tuple[int, str] | None]:
    """The share of the texts of a column that read as numbers; row and text of the first that does not."""
    start, found, present, first = 0, 0, 0, None
    known, numeric = None, np.zeros(0, np.bool_)
    for block in table.blocks([name]):
        places, texts = codes(block.data[name])
        if known is None or not texts.equals(known):  # blocks of a table in memory have one dictionary
            known, numeric = texts, are_numbers(texts)
        counts = np.bincount(places[places >= 0], minlength=len(texts))
        found, present = found + int(counts[numeric].sum()), present + int(counts.sum())
        if first is None and counts[~numeric].any():
            row, text = first_not_number(block.data[name]) or (0, "")
            first = start + row, text
        start += len(block)
    return found / max(present, 1), first


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


def row_offsets(table: Table, offset: Offset, rows: RowIndex | slice) -> Numbers:
    """The offsets of these rows, less their center, float64.

    Raises:
        ColumnError: the column is not there or holds no numbers.
        CellError: an offset is missing or infinite, or an exposure is not above 0.
    """
    role = "exposure" if offset.logarithm else "offset"
    column = table.column(offset.name, f"{role} column")
    if kind_of(column.type) not in ("integer", "float", "boolean"):
        raise ColumnError(f"{table.name}: the {role} column {offset.name!r} holds no numbers.")
    everything = numbers(column)
    values = everything[rows]
    bad = ~(np.isfinite(values) & ((values > 0) | (not offset.logarithm)))
    if bad.any():
        row = int(np.arange(len(everything))[rows][bad.argmax()])
        value = "missing" if np.isnan(everything[row]) else f"{everything[row]:g}"
        rule = "Exposures are finite and above 0." if offset.logarithm else "Offsets are finite."
        raise CellError(f"{table.where(row)}: the {role} in {offset.name!r} is {value}. {rule}")
    return np.asarray((np.log(values) if offset.logarithm else values) - offset.center)


def counted_numbers(values: NDArray[Any]) -> tuple[NDArray[Any], RowIndex]:
    """The distinct values in ascending order with their counts; of more than MOST_COUNTED, one more than that."""
    for some in (values[:_ROWS_LOOKED_AT], values):
        distinct, counts = _counted(some)
        if len(some) == len(values) or len(distinct) > MOST_COUNTED:
            break
    return distinct[: MOST_COUNTED + 1], counts[: MOST_COUNTED + 1]


def _counted(values: NDArray[Any]) -> tuple[NDArray[Any], RowIndex]:
    """The distinct values in ascending order with their counts; many whole numbers close to each other need no sort."""
    if len(values) >= _ROWS_LOOKED_AT:
        least = values.min()
        if least % 1 == 0 and float(values.max()) - float(least) <= MOST_COUNTED:
            places = (values - least).astype(np.intp)
            if (places + least == values).all():
                counts = np.bincount(places)
                taken = np.flatnonzero(counts)
                return taken + least, counts[taken]
    ordered = np.sort(values)
    new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    first = np.flatnonzero(new)
    return ordered[first], np.diff(first, append=len(ordered))


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
    if name not in table.names:
        table.column(name, "target column")
    if table.null_count(name) == len(table):
        raise ColumnError(f"{table.name}: the target {name!r} has no value in any row.")
    kind: Kind | None = kind_of(table.schema.field(name).type)
    assert kind in ("integer", "float", "boolean", "text"), kind
    return kind


def _several_targets(table: Table, names: tuple[str, ...], kinds: Sequence[TargetKind], task: Task | None) -> Target:
    if task == "multilabel":
        return _labels_of_several(table, names, kinds)
    if task not in (None, "regression"):
        raise SettingError(f"The task is {task} with {len(names)} targets: several are a regression or multilabel.")
    if "text" in kinds:
        raise _text_regression(table, names[kinds.index("text")])
    joint: TargetKind = "float" if "float" in kinds else "integer"
    return Target(names, "regression", f"{len(names)} targets", joint)


def _labels_of_several(table: Table, names: tuple[str, ...], kinds: Sequence[TargetKind]) -> Target:
    """Targets that are true or false each."""
    for name, kind in zip(names, kinds, strict=True):
        if kind == "text" or not set(_labels(table, name, kind)[0]) <= {0, 1}:
            raise ColumnError(f"{table.name}: the target {name!r} holds other values than true and false or 1 and 0, "
                              "which multilabel needs. Convert it, or leave it out.")  # fmt: skip
    joint: TargetKind = "boolean" if set(kinds) == {"boolean"} else "integer"
    return Target(names, "multilabel", f"{len(names)} labels", joint)


def _text_regression(table: Table, name: str) -> SettingError:
    """Text as the target of a regression, with the first value that is no number."""
    _, strange = _numbers_among(table, name)
    told = "" if strange is None else f" {table.where(strange[0])} holds {strange[1]!r}."
    return SettingError(f"The task is regression and the target {name!r} holds text.{told} Correct it, or name what "
                        "stands for a missing value.")  # fmt: skip


def _labels(table: Table, name: str, kind: TargetKind) -> tuple[tuple[Label, ...], int]:
    """The distinct finite values in ascending order, and the number of rows that have one.

    Of more numbers than MOST_COUNTED, and of more texts than can be classes of so many rows, not all.
    """
    found: set[Label] = set()
    rows = 0
    for block in table.blocks([name]):
        labels, count = _labels_of(block.data[name], kind)
        rows += count
        if kind == "text" or len(found) <= MOST_COUNTED:
            found.update(labels)
    return tuple(sorted(found)), rows


def _labels_of(column: pa.ChunkedArray, kind: TargetKind) -> tuple[Iterable[Label], int]:
    """As _labels, of a block, in any order."""
    if kind == "text":
        places, texts = codes(column)
        counts = np.bincount(places[places >= 0], minlength=len(texts))
        return texts.take(from_numpy(np.flatnonzero(counts))).to_pylist(), int(counts.sum())
    if kind == "integer":
        values: NDArray[Any] = integers(column)
    else:
        values = numbers(column)
        values = values[np.isfinite(values)]
    distinct, _ = counted_numbers(values)
    return (distinct > 0 if kind == "boolean" else distinct).tolist(), len(values)


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


def _implied_task(tasks: Sequence[str], count: int) -> Task:
    """The task of one target with so many classes, of those that a loss serves."""
    if "regression" in tasks:
        return "regression"
    return _classes_task(count) if "multiclass" in tasks else "binary"


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
    _, strange = _numbers_among(table, name)
    example = "" if strange is None else f" (if it should be numbers: {table.where(strange[0])} holds {strange[1]!r})"
    raise ColumnError(f"{told} It looks like an identifier{example}. Choose another target, or correct its values.")
