"""Which row comes when, and which row belongs to which part: pure functions of the seed.

All numbers come from Philox, a generator without state: number i of a stream depends on its key, its counter and i.
Orders of epochs use the key (seed, epoch) from counter 0; the split uses the key (seed, 0) far beyond their reach.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import SettingError

_SPLIT_COUNTER = (0, 0, 0, 1)


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of each part, each in ascending order."""

    training: RowIndex
    validation: RowIndex
    test: RowIndex


def permutation(seed: int, epoch: int, count: int, threads: int | None = 1) -> RowIndex:
    """The order in which an epoch visits its rows: as permutations, for one epoch."""
    return permutations(seed, range(epoch, epoch + 1), count, threads)


def permutations(
    seed: int, epochs: range, count: int, threads: int | None = 1, memory: RowIndex | None = None
) -> RowIndex:
    """The orders in which epochs visit their rows, one after another.

    Row i gets a random number of 64 bits as its key, in whose low bits, as many as the largest row number needs, stands
    i itself; the rows are visited by ascending key. No two keys are equal, so every machine gives the same order. NumPy
    defines it here; where the native core can be had, that computes the same numbers faster.

    Arguments:
        seed: 0 ≤ seed < 2**63.
        epochs: counted from 0, in steps of 1.
        count: number of rows.
        threads: the most that the core may use, None for all that the process may; no order depends on it.
        memory: [at least epochs · count] where the orders may be written, and sorted in what is left; None for new
            memory, which takes longer to touch than a short order takes to be sorted.

    Returns:
        [epochs · count] row numbers, in each epoch each once.

    Raises:
        SettingError: the seed is out of range.

    >>> permutations(seed=1, epochs=range(2), count=5).reshape(2, 5)
    array([[3, 2, 0, 1, 4],
           [0, 3, 4, 2, 1]])
    """
    try:
        from schuss import _core  # needs a compiler
    except ImportError:
        orders = [_by_key(_keys(seed, epoch, (0, 0, 0, 0), count)) for epoch in epochs]
        return np.concatenate(orders or [np.empty(0, np.int64)])
    numbers = len(epochs) * count
    memory = np.empty(numbers, np.int64) if memory is None else memory
    _core.permutations(_checked(seed), epochs.start, len(epochs), count, threads or 0, memory)
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

    order = _by_key(_keys(seed, 0, _SPLIT_COUNTER, count))
    order = order[np.argsort(members[order], kind="stable")]  # class by class, and by key within a class
    place = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    to_test = place < for_test[members[order]]
    to_validation = ~to_test & (place < (for_test + for_validation)[members[order]])
    parts = (order[~to_test & ~to_validation], order[to_validation], order[to_test])
    return Split(*(np.sort(part) for part in parts))


def _keys(seed: int, stream: int, counter: tuple[int, int, int, int], count: int) -> NDArray[np.uint64]:
    """[count] random numbers whose low bits, as many as the largest row number needs, are the row number."""
    key = np.array([_checked(seed), stream], np.uint64)
    numbers = np.random.Philox(key=key, counter=np.array(counter, np.uint64)).random_raw(count)
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
