"""Which rows stand for all the others: a pure function of how many there are."""

from typing import TypeAlias

import numpy as np

from schuss.arrays import RowIndex

Sampled: TypeAlias = tuple[RowIndex | slice, RowIndex | slice]  # rows, and their places in the sample

SAMPLE_ROWS = (
    4096  # a quantile of theirs is off by 0.8 % of all rows at most, two times in three; see docs/decisions.md
)
_AT_ONCE = 4096
_COUNTER = (0, 0, 2)  # far from what orders and splits take of Philox


class Sample:
    """SAMPLE_ROWS of the rows that pass, each with the same chance; all of fewer. The same however the table is cut.

    Rows are told by their numbers, and those that stay out cost nothing: each time, the number of the next that comes
    in is drawn (Li, 1994, "Reservoir-sampling algorithms of time complexity O(n(1 + log(N/n)))", algorithm L).

    seen: rows so far.
    """

    def __init__(self) -> None:
        self.seen = 0
        self._rows = self._places = np.empty(0, np.int64)  # of the rows drawn that are still to come, in their order
        self._drawn, self._waited = SAMPLE_ROWS - 1, 0.0
        self._source: np.random.Philox | None = None

    def next(self, count: int) -> Sampled:
        """Which of the next `count` rows come in, and their places."""
        first, self.seen = self.seen, self.seen + count
        if self.seen <= SAMPLE_ROWS:
            return slice(0, count), slice(first, self.seen)
        while self._drawn < self.seen:
            self._draw()
        now = np.searchsorted(self._rows, self.seen)
        holders = np.full(SAMPLE_ROWS, -1)
        holders[first:] = np.arange(first, SAMPLE_ROWS)
        holders[self._places[:now]] = self._rows[:now]  # of several rows for one place, NumPy leaves the last
        self._rows, self._places = self._rows[now:], self._places[now:]
        places = np.flatnonzero(holders >= 0)
        return holders[places] - first, places

    def _draw(self) -> None:
        """Some more rows that will come in, and the places they will take."""
        if self._source is None:
            self._source = np.random.Philox(key=np.zeros(2, np.uint64), counter=np.array([0, *_COUNTER], np.uint64))
        numbers = ((self._source.random_raw((3, _AT_ONCE)) >> np.uint64(12)) + 0.5) * 2.0**-52  # above 0, below 1
        waits = -np.log(numbers[:2])
        logs = self._waited + np.cumsum(waits[0]) / SAMPLE_ROWS  # minus the logarithm of the chance of the next row
        rows = self._drawn + np.cumsum(waits[1] // -np.log1p(-np.exp(-logs)) + 1).astype(np.int64)
        self._drawn, self._waited = int(rows[-1]), float(logs[-1])
        self._rows = np.append(self._rows, rows)
        self._places = np.append(self._places, (numbers[2] * SAMPLE_ROWS).astype(np.int64))
