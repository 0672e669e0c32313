"""Which row comes when, and which row belongs to which part: pure functions of the seed.

Both come from Philox, a generator without state: number i of a stream depends on its key, its counter and i. The order
of an epoch uses the first few numbers of the key (seed, epoch), the split the key (seed, 0) far beyond their reach.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import SettingError

_SPLIT_COUNTER = (0, 0, 0, 1)
_ROUNDS, _LEAST_BITS = 10, 8


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of each part, each in ascending order."""

    training: RowIndex
    validation: RowIndex
    test: RowIndex


def permutation(seed: int, epoch: int, count: int) -> RowIndex:
    """The order in which an epoch visits its rows: as permutations, for one epoch."""
    return permutations(seed, range(epoch, epoch + 1), count)


def permutations(seed: int, epochs: range, count: int, memory: RowIndex | None = None) -> RowIndex:
    """The orders in which epochs visit their rows, one after another.

    The numbers below 2**bits, the least power of two of at least 256 and `count`, are mixed up by a bijection, and the
    images of 0, 1, … that are below `count` are the order. In each of ten rounds x becomes (x · factor + addend) modulo
    2**bits, and then x xor (x >> ⌈bits/2⌉): nothing but whole numbers, so every machine gives the same order. Factors
    (whose last three bits are made 101) and addends are numbers of Philox. NumPy defines it here; where the native core
    can be had, that computes the same numbers faster. The idea is that of Mitchell, Stokes, Frank and Holmes, 2022,
    "Bandwidth-optimal random shuffling for GPUs".

    Arguments:
        seed: 0 ≤ seed < 2**63.
        epochs: counted from 0, in steps of 1.
        count: number of rows.
        memory: [at least epochs · count] where the orders may be written; None for new memory, which takes longer to
            touch than an order takes to be computed.

    Returns:
        [epochs · count] row numbers, in each epoch each once.

    Raises:
        SettingError: the seed is out of range.

    >>> permutations(seed=1, epochs=range(2), count=5).reshape(2, 5)
    array([[3, 1, 4, 2, 0],
           [4, 1, 3, 0, 2]])
    """
    try:
        from schuss import _core  # needs a compiler
    except ImportError:
        orders = [_order(_checked(seed), epoch, count) for epoch in epochs]
        return np.concatenate(orders or [np.empty(0, np.int64)])
    numbers = len(epochs) * count
    memory = np.empty(numbers, np.int64) if memory is None else memory
    _core.permutations(_checked(seed), epochs.start, len(epochs), count, memory)
    return memory[:numbers]


def split(seed: int, validation: float, test: float, classes: NDArray[Any] | None, count: int) -> Split:
    """Deals rows to training, validation and test by a hash of (seed, row number).

    The parts have round(fraction · count) rows, halves rounded up, and at least one where the fraction is above 0 and
    there are three rows or more. Over classes they are balanced by largest remainder. Training keeps a row of every
    class, before all else.

    Arguments:
        seed: 0 ≤ seed < 2**63.
        validation: fraction of the rows, at least 0; with that of test below 1.
        test: likewise.
        classes: [count] the class of each row, or None.
        count: number of rows.

    Raises:
        SettingError: the fractions are out of range.

    >>> len(split(seed=0, validation=0.1, test=0.1, classes=None, count=100).training)
    80
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise SettingError(
            f"validation is {validation} and test is {test}: give fractions of at least 0, together below 1."
        )
    if not validation and not test:
        return Split(np.arange(count), np.zeros(0, np.int64), np.zeros(0, np.int64))
    members = np.zeros(count, np.int64) if classes is None else np.unique(classes, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(members, minlength=1)
    spare = np.maximum(sizes - 1, 0)
    for_test = _shares(_part_size(test, count), sizes, spare)
    for_validation = _shares(_part_size(validation, count), sizes, spare - for_test)

    order = _by_key(_keys(seed, count))
    order = order[np.argsort(members[order], kind="stable")]  # class by class, and by key within a class
    place = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    to_test = place < for_test[members[order]]
    to_validation = ~to_test & (place < (for_test + for_validation)[members[order]])
    parts = (order[~to_test & ~to_validation], order[to_validation], order[to_test])
    return Split(*(np.sort(part) for part in parts))


def _order(seed: int, epoch: int, count: int) -> RowIndex:
    """What permutations promises, for one epoch."""
    numbers = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw((_ROUNDS, 2))
    bits = max(_LEAST_BITS, max(count - 1, 0).bit_length())
    mask, half = np.uint64((1 << bits) - 1), np.uint64((bits + 1) // 2)
    x = np.arange(1 << bits, dtype=np.uint64)
    for number, addend in numbers:
        x *= number & ~np.uint64(7) | np.uint64(5)
        x += addend
        x &= mask
        x ^= x >> half
    return x[x < count].view(np.int64)


def _keys(seed: int, count: int) -> NDArray[np.uint64]:
    """[count] random numbers whose low bits, as many as the largest row number needs, are the row number."""
    key, counter = np.array([_checked(seed), 0], np.uint64), np.array(_SPLIT_COUNTER, np.uint64)
    numbers = np.random.Philox(key=key, counter=counter).random_raw(count)
    return (numbers & ~_row_mask(count)) | np.arange(count, dtype=np.uint64)


def _checked(seed: int) -> int:
    """The seed, if it is in range."""
    if not 0 <= seed < 2**63:
        raise SettingError(f"The seed is {seed}: give a whole number from 0 to 2**63 - 1.")
    return seed


def _by_key(keys: NDArray[np.uint64]) -> RowIndex:
    """The row numbers in ascending order of their keys."""
    keys.sort()
    return (keys & _row_mask(len(keys))).view(np.int64)


def _row_mask(count: int) -> np.uint64:
    """Ones in as many bits as the largest row number needs."""
    return np.uint64((1 << max(count - 1, 1).bit_length()) - 1)


def _part_size(fraction: float, count: int) -> int:
    """round(fraction · count), halves up; at least one of three rows when any are wanted."""
    size = int(np.floor(fraction * count + 0.5))
    return max(size, 1) if fraction > 0 and count >= 3 else size


def _shares(wanted: int, sizes: NDArray[np.int64], room: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows of each class make up `wanted` rows: in proportion, by largest remainder, none above its room."""
    wanted = min(wanted, int(room.sum()))
    exact = wanted * sizes / max(int(sizes.sum()), 1)
    shares = np.minimum(np.floor(exact).astype(np.int64), room)
    while (short := wanted - int(shares.sum())) > 0:
        open_classes = np.flatnonzero(shares < room)
        largest = open_classes[np.argsort(shares[open_classes] - exact[open_classes], kind="stable")][:short]
        shares[largest] += 1
    return shares
