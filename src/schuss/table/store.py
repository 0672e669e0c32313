"""Encoded rows as training asks for them: windows of rows with the order to visit them in."""

from collections.abc import Iterator
from typing import Protocol

from schuss.arrays import RowIndex, Rows
from schuss.table.order import permutation


class Store(Protocol):
    """Rows in memory or on disk; training cannot tell which."""

    def __len__(self) -> int: ...

    def windows(self, seed: int, epoch: int, batch_size: int, start: int = 0) -> Iterator[tuple[Rows, RowIndex]]:
        """The rows of an epoch in its order, from batch number `start` on.

        Each item is a window of rows and the positions within it, in the order to visit them: whole batches, of which
        only the last of the epoch may be short.
        """
        ...


class MemoryStore:
    """Rows that lie in memory: the window is all of them."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def windows(self, seed: int, epoch: int, batch_size: int, start: int = 0) -> Iterator[tuple[Rows, RowIndex]]:
        """The rows of an epoch in its order, from batch number `start` on."""
        if start * batch_size < len(self.rows):
            yield self.rows, permutation(seed, epoch, len(self.rows))[start * batch_size :]
