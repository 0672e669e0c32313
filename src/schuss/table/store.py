"""Encoded rows as training asks for them: windows of rows with the order to visit them in."""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import fields
from typing import Protocol, TypeAlias

import numpy as np

from schuss.arrays import RowIndex, Rows
from schuss.table.order import permutations

_COPIED = 1 << 16  # rows at a time

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
    """Rows that lie in memory: the window is all of them, for all epochs that are asked for.

    places: [n] of the rows that count, where others share the memory; None for all.
    """

    def __init__(self, rows: Rows, places: RowIndex | None = None) -> None:
        self.rows, self._places = rows, places
        self._memory = np.empty(0, np.int64)  # of the last orders

    def __len__(self) -> int:
        return len(self.rows) if self._places is None else len(self._places)

    def blocks(self) -> Iterator[Rows]:
        """All rows at once, or copies of some of those that count."""
        if self._places is None:
            yield self.rows
        else:
            yield from (self.rows.take(each) for each in np.split(self._places, range(_COPIED, len(self), _COPIED)))

    def part(self, places: RowIndex) -> "MemoryStore":
        """The rows at these places, which stay where they lie."""
        return MemoryStore(self.rows, places)

    def twin(self) -> "MemoryStore":
        """The same rows, with room of its own for orders: for another thread."""
        return MemoryStore(self.rows, self._places)

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
        wanted = len(epochs) * len(self)
        if len(self._memory) < wanted:
            self._memory = np.empty(wanted, np.int64)
        order = permutations(seed, epochs, len(self), self._memory)
        return order if self._places is None else self._places[order]


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
