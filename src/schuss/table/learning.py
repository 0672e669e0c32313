"""What the training rows say of each column, learned block by block: only one block is looked at at a time."""

import math
from collections.abc import Sequence
from dataclasses import replace
from operator import methodcaller
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from schuss.arrays import RowIndex
from schuss.errors import CellError, ColumnError, SettingError
from schuss.table.columns import Numbers, codes, kind_of, nearest, numbers, workers
from schuss.table.sample import SAMPLE_ROWS, Sample, Sampled
from schuss.table.schema import (
    MOST_COUNTED,
    MOST_KNOWN,
    QUANTILES,
    BooleanColumn,
    CategoricalColumn,
    Column,
    NumericColumn,
    Offset,
    Schema,
    Target,
    check_finite,
    counted_numbers,
    row_offsets,
    row_weights,
)
from schuss.table.sparse import SparseTable, column_name
from schuss.table.table import Blocks, Table, row_count

MOST_LEVELS = 1000  # of the texts that occur often enough; the others are spread …
MOST_BUCKETS = 256  # … over so many codes at most
FEWEST_ROWS_PER_LEVEL = 3  # rarer texts are folded into "other" …
SMALL_TABLE = 100  # … in tables of at least so many training rows
IDENTIFIER_SHARE = 0.9
IDENTIFIER_ROWS = 50
_INEXACT = 2.0**53  # from here on float64 does not tell whole numbers apart
_MOST_TEXTS = 1 << 20  # of a column that are counted at the same time; the rarest are let go
_LEAST_DEVIATION = 1e-100  # of a target, so that its square is a number
_GREATEST_DEVIATION = 1e100
_TINY = 1e-300
_BETWEEN = np.linspace(0, 1, QUANTILES)[1:-1]
_Counted: TypeAlias = tuple[Numbers, RowIndex]  # the distinct values in ascending order, and how often each occurs


def learn_schema(
    table: Table,
    target: Target,
    blocks: Blocks,
    *,
    weight: str | None = None,
    offset: Offset | None = None,
    exclude: str | Sequence[str] = (),
    by: str | None = None,
) -> Schema:
    """Learns from the training rows what the network must know of every column.

    Arguments:
        table: names and kinds of the columns.
        target: from `find_target`; one without names makes every column a feature, so that a table can be described.
        blocks: of the table in their order, each with the rows to learn from, which have a target.
        weight: a column of row weights; it weighs means and deviations and is no feature.
        offset: a column that is added to output 0; it is no feature.
        exclude: a column that is no feature, or several.
        by: a column that is no feature because it decides which rows are held out.

    Raises:
        SettingError: weight, offset, exclude and target name the same column.
        ColumnError: a column is not there, no feature is left, or a target is too large or too small for float32.
        CellError: a feature is infinite, or a weight is impossible (see `row_weights`), or all are 0.
    """
    exclude = (exclude,) if isinstance(exclude, str) else exclude
    if by is not None and by in (*target.names, weight, offset and offset.name):
        raise SettingError(f"{by!r} is the target, weight or offset and cannot decide which rows are held out.")
    _check_roles(table, target, weight, offset, exclude)
    taken = {*target.names, *exclude, weight, by, offset and offset.name}
    learners = {name: _learner(table, name) for name in table.names if name not in taken}
    scales = [_Numeric(name) for name in target.names] if target.task == "regression" else []
    sample, stored, any_weight, center = Sample(), _Stored(), weight is None, _Numeric("")
    with workers(len(table)) as each:
        for block, rows in blocks:
            weights = None if weight is None else row_weights(block, weight, rows)
            any_weight = any_weight or bool(np.any(weights))
            if weights is not None and (weights == 1).all():
                weights = None  # that is the same, bit for bit
            if offset:
                center.take_in(row_offsets(block, offset, rows), weights, gaps=False)
            sampled = sample.next(row_count(block, rows))
            each(methodcaller("learn", block, rows, weights, sampled), [*learners.values(), *scales])
            if isinstance(block, SparseTable):
                stored.add(block.matrix[rows], weights)
        learners |= stored.learners()
        learned = dict(zip(learners, each(methodcaller("learned", sample.seen), [*learners.values()]), strict=True))
    if not any_weight:
        raise CellError(f"{table.name}: all weights in {weight!r} are 0. At least one row must count.")
    reasons = {name: reason for name, reason in learned.items() if isinstance(reason, str)}
    reasons |= {by: "it decides which rows are held out"} if by else {}
    reasons |= dict.fromkeys(exclude, "excluded by you")
    dropped = tuple((name, reasons[name]) for name in dict.fromkeys([*table.names, *learned]) if name in reasons)
    columns = tuple(column for column in learned.values() if not isinstance(column, str))
    if not columns and target.names:
        told = "; ".join(f"{name!r}: {reason}" for name, reason in dropped[:10])
        raise ColumnError(f"{table.name} has no column left to predict from ({told or 'only the target'}).")
    target = _scaled(table, target, scales)
    if offset and target.deviation and target.support == "real":
        offset = replace(offset, center=center.scale()[0])
    return Schema(columns, target, weight, dropped, sample.seen, table.missing, offset=offset)


class _Learner(Protocol):
    """What is known of a column so far."""

    def learn(self, block: Table, rows: RowIndex | slice, weights: Numbers | None, sampled: Sampled) -> None:
        """Takes in some rows of a block; weights: theirs, or None where each counts once; sampled: see Sample."""

    def learned(self, count: int) -> Column | str:
        """The column, or the reason to drop it; count: all rows learned from."""


def _learner(table: Table, name: str) -> _Learner:
    kind = kind_of(table.schema.field(name).type)
    if kind == "text":
        return _Categorical(name)
    if kind == "boolean":
        return _Boolean(name)
    return _Numeric(name, date=name in table.dates, counted=True, whole=kind == "integer", sampled=True)


class _Numeric:
    """A column of numbers; counted: with its distinct values; whole: of whole numbers; sampled: with quantiles."""

    def __init__(
        self, name: str, date: bool = False, counted: bool = False, whole: bool = False, sampled: bool = False
    ) -> None:
        self.name, self.date, self.whole = name, date, whole
        self.missing = self.present = 0
        self.least, self.greatest = math.inf, -math.inf
        self.weight, self.mean, self.deviation = 0.0, 0.0, 0.0
        self._counted: _Counted | None = (np.empty(0), np.empty(0, np.int64)) if counted else None  # None: too many
        self._sample = np.empty(SAMPLE_ROWS) if sampled else None

    def learn(self, block: Table, rows: RowIndex | slice, weights: Numbers | None, sampled: Sampled) -> None:
        """As _Learner."""
        column = block.data[self.name]
        values = numbers(column)
        check_finite(block, self.name, values)
        values = values[rows]
        if self._sample is not None:
            taken, places = sampled
            self._sample[places] = values[taken]
        self.take_in(values, weights, bool(column.null_count))

    def take_in(self, values: Numbers, weights: Numbers | None, gaps: bool) -> None:
        """Learns from values [n], NaN where missing, and their weights. gaps: whether some may be missing."""
        if gaps:
            valid = ~np.isnan(values)
            self.missing += int(len(values) - np.count_nonzero(valid))
            values, weights = values[valid], None if weights is None else weights[valid]
        if not len(values):
            return
        least, greatest = float(values.min()), float(values.max())
        if self._counted is not None:
            self._counted = _with_more(self._counted, values, least == greatest)
        self._add(*_moments(values, weights, least, greatest))
        self.present += len(values)
        self.least, self.greatest = min(self.least, least), max(self.greatest, greatest)

    def _add(self, weight: float, mean: float, deviation: float) -> None:
        """The moments of more rows (Chan, Golub and LeVeque, 1979); from halves, so that nothing overflows."""
        if not self.weight or not weight:
            if weight or not self.present:
                self.weight, self.mean, self.deviation = weight, mean, deviation
            return
        share, half_gap = weight / (self.weight + weight), mean / 2 - self.mean / 2
        spread = half_gap * (2 * math.sqrt(share * (1 - share)))
        self.deviation = math.hypot(self.deviation * math.sqrt(1 - share), deviation * math.sqrt(share), spread)
        self.mean = 2 * (self.mean / 2 + half_gap * share)
        self.weight += weight

    def learned(self, count: int) -> Column | str:
        """As _Learner."""
        if not self.present:
            return "all missing"
        distinct = MOST_COUNTED + 1 if self._counted is None else len(self._counted[0])
        if distinct == 1 and not self.missing:
            return "constant"
        if self.whole and max(-self.least, self.greatest) >= _INEXACT:
            return (
                "an identifier: whole numbers of 2^53 and more; make them text if they are categories, or divide them"
            )
        mean, deviation = self.scale()
        known = {} if self._sample is None else self._spread(self._sample[:count])
        return NumericColumn(
            name=self.name,
            missing=self.missing,
            distinct=distinct,
            least=self.least,
            greatest=self.greatest,
            mean=mean,
            deviation=deviation,
            date=self.date,
            **known,
        )

    def _spread(self, sample: Numbers) -> dict[str, tuple[float, ...]]:
        """Quantiles, heavy and other values and spikes of a column, by name."""
        ordered = np.sort(sample)[: np.count_nonzero(sample == sample)]  # NaN, a missing value, comes last
        values, counts = np.unique(ordered, return_counts=True)
        heavy = values[counts * MOST_KNOWN >= len(ordered)]
        rest: tuple[float, ...] = ()
        if len(heavy) and self._counted is not None and len(self._counted[0]) <= MOST_KNOWN:
            rest = tuple(np.setdiff1d(self._counted[0], heavy, assume_unique=True).tolist())
        elif len(heavy) and len(others := ordered[~np.isin(ordered, heavy)]):
            rest = _quantiles(others, float(others[0]), float(others[-1]))
        quantiles = _quantiles(ordered, self.least, self.greatest)
        spikes = _spikes(*(self._counted or (values, counts)))
        return {"quantiles": quantiles, "heavy": tuple(heavy.tolist()), "others": rest, "spikes": spikes}

    def scale(self) -> tuple[float, float]:
        """Mean and deviation; a deviation of 0 becomes 1."""
        if self.least == self.greatest:
            return self.least, 1.0
        return self.mean, self.deviation if self.deviation > _TINY else 1.0


class _Stored:
    """What rows of a sparse matrix store."""

    def __init__(self) -> None:
        self._rows: list[Any] = []
        self._weights: list[Numbers] = []

    def add(self, rows: Any, weights: Numbers | None) -> None:
        """Some rows, csr [n, F], and their weights, None where each counts once."""
        self._rows.append(rows)
        self._weights.append(np.ones(rows.shape[0]) if weights is None else weights)

    def learners(self) -> dict[str, _Learner]:
        """What is known of each column; what is not stored is 0."""
        if not self._rows:
            return {}
        from scipy.sparse import vstack  # for those who give sparse matrices

        columns, weights = vstack(self._rows, "csc"), np.concatenate(self._weights)
        nothing, total = _Numeric("", counted=True), weights.sum()
        nothing.take_in(np.zeros(1), None, gaps=False)
        found: dict[str, _Learner] = dict.fromkeys(map(column_name, range(columns.shape[1])), nothing)
        for number in np.flatnonzero(np.diff(columns.indptr)).tolist():
            stored = slice(*columns.indptr[number : number + 2])
            values, own = columns.data[stored].astype(np.float64), weights[columns.indices[stored]]
            if len(own) < len(weights):  # one 0 stands for all, with their weight
                values, own = np.append(values, 0.0), np.append(own, max(total - own.sum(), 0.0))
            found[column_name(number)] = learner = _Numeric(column_name(number), counted=True)
            learner.take_in(values, own, gaps=True)
        return found


class _Boolean:
    """A column of true and false."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.missing = self.present = self.true = 0
        self.weight = self.true_weight = 0.0

    def learn(self, block: Table, rows: RowIndex | slice, weights: Numbers | None, sampled: Sampled) -> None:
        """As _Learner."""
        values = numbers(block.data[self.name])[rows]
        missing = int(np.count_nonzero(np.isnan(values)))
        self.missing += missing
        self.present += len(values) - missing
        self.true += int(np.count_nonzero(values == 1))
        weights = np.ones(len(values)) if weights is None else weights  # of another block they may not be all 1
        self.weight += float(weights[~np.isnan(values)].sum())
        self.true_weight += float(weights[values == 1].sum())

    def learned(self, count: int) -> Column | str:
        """As _Learner."""
        if not self.present:
            return "all missing"
        share = self.true / self.present
        if not self.missing and share in (0.0, 1.0):
            return "constant"
        weighted = 0 < self.true_weight < self.weight and self.true_weight / self.weight
        return BooleanColumn(self.name, self.missing, share, weighted if weighted and weighted != share else None)


class _Categorical:
    """A column of text. Blocks that share a dictionary are counted by its places, all others by their texts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.missing = self._rows = self._forgotten = 0
        self._counts: dict[str, int] = {}
        self._dictionary: pa.Array | None = None
        self._by_place = np.zeros(0, np.int64)

    def learn(self, block: Table, rows: RowIndex | slice, weights: Numbers | None, sampled: Sampled) -> None:
        """As _Learner."""
        places, dictionary = codes(block.data[self.name])
        places = places[rows]
        if self._dictionary is None or not dictionary.equals(self._dictionary):
            self._take_in()
            self._dictionary, self._by_place = dictionary, np.zeros(len(dictionary), np.int64)
        counts = np.bincount(places + 1, minlength=len(dictionary) + 1)
        self.missing += int(counts[0])
        self._rows += len(places)
        self._by_place += counts[1:]

    def _take_in(self) -> None:
        """The counts by place become counts by text, the rarest of which are let go when they are too many."""
        if self._dictionary is None:
            return
        for text, count in zip(self._dictionary.to_pylist(), self._by_place.tolist(), strict=True):
            if count:
                self._counts[text] = self._counts.get(text, 0) + count
        few = 1
        while len(self._counts) > _MOST_TEXTS:
            kept = {text: count for text, count in self._counts.items() if count > few}
            self._forgotten += len(self._counts) - len(kept)
            self._counts, few = kept, 2 * few
        self._dictionary = None

    def learned(self, count: int) -> Column | str:
        """As _Learner: the texts that occur often enough are levels."""
        self._take_in()
        pairs, present = list(self._counts.items()), self._rows - self.missing
        distinct = len(pairs) + self._forgotten
        if not present:
            return "all missing"
        if distinct == 1 and not self.missing:
            return "constant"
        if present > IDENTIFIER_ROWS and distinct > IDENTIFIER_SHARE * present:
            return f"an identifier: {distinct:,} distinct texts in {present:,} rows"
        fewest = FEWEST_ROWS_PER_LEVEL if count >= SMALL_TABLE else 1
        frequent = sorted((pair for pair in pairs if pair[1] >= fewest), key=lambda pair: (-pair[1], pair[0]))
        kept = frequent[:MOST_LEVELS]
        buckets = min(max(len(frequent) - MOST_LEVELS, 1), MOST_BUCKETS)
        other = present - sum(number for _, number in kept)
        if not kept and not self.missing:
            return f"no text in it occurs {fewest} times"
        levels, counts = tuple(text for text, _ in kept), tuple(number for _, number in kept)
        return CategoricalColumn(self.name, self.missing, levels, counts, distinct, other, buckets)


def _quantiles(ordered: Numbers, least: float, greatest: float) -> tuple[float, ...]:
    """Ordered values at equal steps, none between two of them, from the least of all rows to their greatest."""
    if not len(ordered):
        ordered = np.array([least, greatest])
    between = ordered[np.rint(_BETWEEN * (len(ordered) - 1)).astype(np.intp)]
    return (least, *between.tolist(), greatest)


def _spikes(distinct: Numbers, counts: RowIndex) -> tuple[float, ...]:
    """As of a NumericColumn, of its distinct values, two of which are what their number says anyway."""
    if len(distinct) < 3 or 2 * counts.max() < counts.sum():
        return ()
    frequent = np.argsort(-counts, kind="stable")[:MOST_KNOWN]
    return tuple(np.sort(distinct[frequent[counts[frequent] >= FEWEST_ROWS_PER_LEVEL]]).tolist())


def _with_more(known: _Counted, values: Numbers, constant: bool) -> _Counted | None:
    """The distinct values with those of more rows; None where they are too many."""
    distinct, counts = (values[:1], np.array([len(values)])) if constant else counted_numbers(values)
    if len(known[0]):
        distinct, places = np.unique(np.append(known[0], distinct), return_inverse=True)
        counts = np.bincount(places, np.append(known[1], counts)).astype(np.int64)
    return (distinct, counts) if len(distinct) <= MOST_COUNTED else None


def _moments(values: Numbers, weights: Numbers | None, least: float, greatest: float) -> tuple[float, float, float]:
    """Σ w, Σ w x / Σ w and √(Σ w (x - mean)² / Σ w); without weights where all are 0, but then Σ w = 0."""
    weight = float(len(values) if weights is None else weights.sum())
    if least == greatest:
        return weight, least, 0.0
    most = max(abs(least), abs(greatest))
    scale = 1.0 if 1e-100 < most < 1e100 else max(most, _TINY)  # so that squares neither vanish nor overflow
    scaled = values if scale == 1.0 else values / scale
    mean = _mean(scaled, weights if weight else None)
    offset = scaled - mean
    deviation = math.sqrt(_mean(np.square(offset, out=offset), weights if weight else None))
    return weight, mean * scale, deviation * scale


def _mean(values: Numbers, weights: Numbers | None) -> float:
    """Σ w x / Σ w."""
    if weights is None:
        return float(values.sum() / len(values))
    return float((values * weights).sum() / weights.sum())


def _scaled(table: Table, target: Target, scales: Sequence[_Numeric]) -> Target:
    """The target with the scale of its training rows."""
    for of in scales:
        reach = of.greatest - of.least
        if reach > 0 and not _LEAST_DEVIATION < min(of.scale()[1], reach) < _GREATEST_DEVIATION:
            raise ColumnError(f"{table.name}: the target {of.name!r} runs from {of.least:g} to {of.greatest:g}, beyond "
                              "what can be computed with. Multiply it by a power of ten.")  # fmt: skip
    taken_as_it_is = target.support != "real"
    return replace(
        target,
        mean=tuple(0.0 if taken_as_it_is else of.scale()[0] for of in scales),
        deviation=tuple(1.0 if taken_as_it_is else of.scale()[1] for of in scales),
        least=tuple(of.least for of in scales),
        greatest=tuple(of.greatest for of in scales),
    )


def _check_roles(
    table: Table, target: Target, weight: str | None, offset: Offset | None, exclude: Sequence[str]
) -> None:
    """Target, weight and excluded columns are there, and no column has two roles."""
    for name in exclude:
        if name not in table.names:
            raise ColumnError(f"{table.name} has no column {name!r} to exclude. {nearest(name, table.names)}")
    for name in target.names:
        if name in exclude:
            raise SettingError(f"{name!r} is the target and cannot be excluded.")
        if name == weight:
            raise SettingError(f"{name!r} is the target and cannot be the weight as well.")
    if offset and offset.name in (*target.names, *exclude, weight):
        raise SettingError(f"{offset.name!r} is the offset and cannot have another role: it is no feature anyway.")
    if weight is not None and weight in exclude:
        raise SettingError(f"{weight!r} is the weight and cannot be excluded: it is no feature anyway.")
