"""Encoded rows as training asks for them: windows of rows with the order to visit them in."""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import fields
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

    def digest(self) -> str:
        """The same for the same rows in the same order, and for no others."""
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

    def digest(self) -> str:
        """Of all arrays."""
        return digest_of(self.blocks())

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


def digest_of(blocks: Iterable[Rows]) -> str:
    """A digest of rows, and of how they are cut into blocks."""
    digest = hashlib.blake2b(digest_size=16)
    for block in blocks:
        for item in fields(block):
            array = getattr(block, item.name)
            if array is not None:
                digest.update(f"{item.name} {array.dtype.str} {array.shape} ".encode())
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
