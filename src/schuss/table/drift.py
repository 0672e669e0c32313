"""How the rows of a table differ from those that a schema was learned from, block by block."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from operator import methodcaller
from typing import Literal, Protocol, TypeAlias

import numpy as np

from schuss.table.columns import Numbers, codes, workers
from schuss.table.encoding import check_kind, column_numbers, places_of
from schuss.table.sample import SAMPLE_ROWS, Sample, Sampled
from schuss.table.schema import QUANTILES, BooleanColumn, CategoricalColumn, Column, NumericColumn, Schema
from schuss.table.table import Table

Kind: TypeAlias = Literal["unknown", "outside", "missing", "moved"]

ALARMING = 0.1
_LEAST = 0.1  # of a distribution that must have moved to be told
_BY_CHANCE = 1.63  # / √rows: a Kolmogorov distance that chance alone exceeds once in a hundred
_FAR = 3.0  # widths of the range that a value lies outside of it, to be told alone: long tails reach two by chance
_MOST_TEXTS = 10_000  # that are counted at the same time; the rarer half is let go
_LEVELS = np.linspace(0, 1, QUANTILES)


@dataclass(frozen=True)
class Drift:
    """One difference between a table and the training rows.

    kind:  unknown texts; values outside the range seen; a share of missing values, or a distribution, that moved.
    alarm: from 0 to 1, about the share of the rows that it concerns; values far outside count tenfold.
    words: what happened, with its figures.
    """

    column: str
    kind: Kind
    alarm: float
    words: str

    def __str__(self) -> str:
        return f"{self.column}: {self.words}"


def drift(schema: Schema, table: Table) -> tuple[Drift, ...]:
    """What differs from the training rows by more than chance would make it, the most alarming first.

    Raises:
        ColumnError: a column is not there or holds another kind of values.
        CellError: a text or number stands where it cannot be understood.
    """
    watchers = [_Quantity(column) if isinstance(column, NumericColumn) else _Label(column) for column in schema.columns]
    sample = Sample()
    with workers(len(table)) as each:
        for block in table.blocks([column.name for column in schema.columns]):
            each(methodcaller("look", block, sample.next(len(block))), watchers)
        found = each(lambda watcher: list(watcher.differences(len(table), schema.rows)), watchers)
    return tuple(sorted((each for own in found for each in own), key=lambda one: (-one.alarm, one.column)))


class _Watcher(Protocol):
    """What is known of a column so far."""

    def look(self, block: Table, sampled: Sampled) -> None:
        """Takes in the rows of a block."""

    def differences(self, count: int, trained: int) -> Iterator[Drift]:
        """From the training rows; count, trained: rows there are now, and were in training."""


class _Quantity:
    """A column of numbers."""

    def __init__(self, column: NumericColumn) -> None:
        self.column = column
        self.missing = self.below = self.above = self.far = 0
        self.least, self.greatest = column.least, column.greatest
        self._sample = np.empty(SAMPLE_ROWS)

    def look(self, block: Table, sampled: Sampled) -> None:
        """As _Watcher."""
        check_kind(block, self.column)
        values, known = column_numbers(block, self.column), self.column
        rows, places = sampled
        self._sample[places] = values[rows]
        self.missing += block.null_count(known.name)
        outside = values[(values < known.least) | (values > known.greatest)]
        if len(outside):
            below = int(np.count_nonzero(outside < known.least))
            self.below, self.above = self.below + below, self.above + len(outside) - below
            reach = known.greatest / 2 - known.least / 2  # halves, so that nothing overflows
            self.far += int(
                np.count_nonzero(np.abs(outside / 2 - known.greatest / 4 - known.least / 4) > (_FAR + 0.5) * reach)
            )
            self.least, self.greatest = min(self.least, float(outside.min())), max(self.greatest, float(outside.max()))

    def differences(self, count: int, trained: int) -> Iterator[Drift]:
        """As _Watcher."""
        known, present, seen = self.column, count - self.missing, trained - self.column.missing
        yield from _missing(known, self.missing, count, trained)
        outside = self.below + self.above
        if self.far or outside > max(3 + 10 * present / seen, 0.001 * present):  # some are so by chance
            words = [
                f"{_share(number / present)} of the values {side} {self._value(limit)}, the {most} seen, "
                f"{way} to {self._value(reached)}"
                for number, side, limit, most, way, reached in (
                    (self.below, "below", known.least, "least", "down", self.least),
                    (self.above, "above", known.greatest, "greatest", "up", self.greatest),
                )
                if number
            ]
            yield Drift(known.name, "outside", min((outside + 9 * self.far) / present, 1.0), "; ".join(words))
        values = np.sort(self._sample[:count])
        values = values[: np.count_nonzero(values == values)]
        if len(values) and known.quantiles:
            yield from self._moved(values, min(seen, SAMPLE_ROWS))

    def _moved(self, values: Numbers, seen: int) -> Iterator[Drift]:
        """The Kolmogorov distance of ordered values from the quantiles."""
        quantiles = np.array(self.column.quantiles)
        first, last = np.searchsorted(quantiles, quantiles), np.searchsorted(quantiles, quantiles, "right") - 1
        was = _LEVELS[np.stack([last, first])]  # up to each quantile, and below it; off by a step at most
        ends = [np.searchsorted(values, quantiles, "right"), np.searchsorted(values, quantiles)]
        now = np.stack(ends) / len(values)
        most = np.unravel_index(np.abs(now - was).argmax(), was.shape)
        if (gap := float(np.abs(now - was)[most])) > _least(len(values), seen):
            limit = f"{('up to', 'below')[most[0]]} {self._value(quantiles[most[1]])}"
            words = f"{_share(now[most])} of the values {limit}, {_share(was[most])} in training"
            yield Drift(self.column.name, "moved", gap, words)

    def _value(self, value: float) -> str:
        return str(np.datetime64(int(value), "D")) if self.column.date else f"{value:,.6g}"


class _Label:
    """A column of texts, or of truth values."""

    def __init__(self, column: CategoricalColumn | BooleanColumn) -> None:
        self.column = column
        self.levels = ("true", "false") if isinstance(column, BooleanColumn) else column.levels
        self.counts = np.zeros(len(self.levels) + 2, np.int64)  # the last two: unknown, missing
        self.unknown: Counter[str] = Counter()

    def look(self, block: Table, sampled: Sampled) -> None:
        """As _Watcher."""
        check_kind(block, self.column)
        unknown, missing = len(self.levels), len(self.levels) + 1
        if isinstance(self.column, BooleanColumn):
            values = column_numbers(block, self.column)
            found = np.where(np.isnan(values), missing, values == 0).astype(np.int32)
        else:
            column = block.data[self.column.name]
            found = places_of(column, self.levels, unknown, missing)
            if (new := found == unknown).any():
                places, texts = codes(column)
                counts = np.bincount(places[new])
                self.unknown.update({str(texts[i].as_py()): int(counts[i]) for i in np.flatnonzero(counts).tolist()})
                if len(self.unknown) > _MOST_TEXTS:
                    self.unknown = Counter(dict(self.unknown.most_common(_MOST_TEXTS // 2)))
        self.counts += np.bincount(found, minlength=len(self.counts))

    def differences(self, count: int, trained: int) -> Iterator[Drift]:
        """As _Watcher."""
        known, missing = self.column, int(self.counts[-1])
        present, seen = count - missing, trained - known.missing
        yield from _missing(known, missing, count, trained)
        if not present or not seen:
            return
        now, least = self.counts[:-1] / present, _least(present, seen)
        if isinstance(known, BooleanColumn):
            was = np.array([known.share, 1 - known.share, 0.0])
        else:
            was = np.array([*known.counts, known.other]) / seen
        if now[-1] > was[-1] + (least if was[-1] else 0.0):
            told = ", ".join(repr(text) for text, _ in self.unknown.most_common(3))
            more = ", …" if len(self.unknown) > 3 else ""
            rare = f" (rare or new; {_share(was[-1])} were rare in training)" if was[-1] else ""
            texts = f"{len(self.unknown):,} text{'s' if len(self.unknown) > 1 else ''} unknown to the model"
            words = f"{texts} in {_share(now[-1])} of the rows{rare}: {told}{more}"
            yield Drift(known.name, "unknown", float(now[-1] - was[-1]), words)
        gaps = np.abs(now - was)[:-1]
        if len(gaps) and gaps.max() > least:
            place = int(gaps.argmax())
            words = f"{self.levels[place]!r} in {_share(now[place])} of the rows, {_share(was[place])} in training"
            yield Drift(known.name, "moved", float(gaps[place]), words)


def _missing(column: Column, missing: int, count: int, trained: int) -> Iterator[Drift]:
    """Missing values where training had none, or a share of them that changed."""
    now, was = missing / count, column.missing / trained
    if missing and not column.missing:
        yield Drift(column.name, "missing", now, f"{_share(now)} of the values are missing, none in training")
    elif abs(now - was) > _least(count, trained):
        words = f"{_share(now)} of the values are missing, {_share(was)} in training"
        yield Drift(column.name, "missing", abs(now - was), words)


def _least(count: int, other: int) -> float:
    """The least difference between the shares in so many rows here and there that is worth a word."""
    return _LEAST + _BY_CHANCE * math.sqrt(1 / count + 1 / other)


def _share(share: float) -> str:
    """12%, 1.2%, 0.012%."""
    return f"{100 * share:.3g}%"
