"""Encoded rows as training asks for them: windows of rows with the order to visit them in."""

from collections.abc import Generator, Iterator
from typing import Protocol, TypeAlias

import numpy as np

from schuss.arrays import RowIndex, Rows
from schuss.table.order import permutations

Windows: TypeAlias = Generator[tuple[Rows, RowIndex], None, None]


class Store(Protocol):
    """Rows in memory or on disk; training cannot tell which."""

    def __len__(self) -> int: ...

    def blocks(self) -> Iterator[Rows]:
        """All rows, some at a time."""
        ...

    def windows(self, seed: int, epochs: range, batch_size: int, start: int = 0) -> Windows:
        """The rows of these epochs in their orders, from batch number `start` of the first on.

        Each item is a window of rows and the positions within it, in the order to visit them: a part of one epoch, of
        whole batches, of which only the last of the epoch may be short; or several whole epochs after one another. Rows
        and positions may be overwritten as soon as the next item is asked for, here or in another call.
        """
        ...


class MemoryStore:
    """Rows that lie in memory: the window is all of them, for all epochs that are asked for."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._memory = np.empty(0, np.int64)  # of the last orders

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self) -> Iterator[Rows]:
        """All rows at once."""
        yield self.rows

    def windows(self, seed: int, epochs: range, batch_size: int, start: int = 0) -> Windows:
        """The rows of these epochs in their orders, from batch number `start` of the first on."""
        if start:
            yield self.rows, self._orders(seed, epochs[:1])[start * batch_size :]
            epochs = epochs[1:]
        if epochs:
            yield self.rows, self._orders(seed, epochs)

    def _orders(self, seed: int, epochs: range) -> RowIndex:
        wanted = len(epochs) * len(self.rows)
        if len(self._memory) < wanted:
            self._memory = np.empty(wanted, np.int64)
        return permutations(seed, epochs, len(self.rows), self._memory)
