"""Which row comes when, and which row belongs to which part: pure functions of the seed.

Both come from Philox, a generator without state: number i of a stream depends on its key, its counter and i. The order
of an epoch uses numbers 20·part … 20·part + 19 of the key (seed, epoch), the split the key (seed, 0) far beyond their
reach.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import RowIndex
from schuss.errors import SettingError

Classes: TypeAlias = NDArray[np.integer[Any]]  # [n] the class of each row

TEST, VALIDATION, TRAINING = 0, 1, 2
_SPLIT_COUNTER = (0, 0, 1)  # above the number of a row
_ROUNDS, _LEAST_BITS = 10, 8


@dataclass(frozen=True, eq=False)
class Division:
    """Which part of a table a row belongs to, known from its number and its class: rows whose hash is small.

    numbers, rows: [parts − 1, classes] hash and number of the first row of a class that is beyond each part but the
    last. sizes: [parts, classes] rows of each.
    """

    seed: int
    numbers: NDArray[np.uint64]
    rows: RowIndex
    sizes: NDArray[np.int64]

    def parts(self, first: int, classes: Classes) -> NDArray[np.int8]:
        """[n] the part, such as TEST, VALIDATION or TRAINING, of the rows `first`, first + 1, … of these classes."""
        parts = np.full(len(classes), len(self.numbers), np.int8)
        if not self.numbers.any():
            return parts
        numbers, rows = _numbers(self.seed, first, len(classes)), np.arange(first, first + len(classes))
        for part in reversed(range(len(self.numbers))):
            number, row = self.numbers[part][classes], self.rows[part][classes]
            parts[(numbers < number) | ((numbers == number) & (rows < row))] = part
        return parts


def permutation(seed: int, epoch: int, count: int) -> RowIndex:
    """The order in which an epoch visits its rows: as permutations, for one epoch."""
    return permutations(seed, range(epoch, epoch + 1), count)


def permutations(seed: int, epochs: range, count: int, memory: RowIndex | None = None, part: int = 0) -> RowIndex:
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
        part: at least 0; where a part of the rows is visited at a time, its number, so that each has its own order.

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
        orders = [_order(_checked(seed), epoch, count, part) for epoch in epochs]
        return np.concatenate(orders or [np.empty(0, np.int64)])
    numbers = len(epochs) * count
    memory = np.empty(numbers, np.int64) if memory is None else memory
    _core.permutations(_checked(seed), epochs.start, len(epochs), count, memory, part)
    return memory[:numbers]


def divide(
    seed: int,
    validation: float,
    test: float,
    sizes: RowIndex,
    blocks: Callable[[], Iterable[Classes]],
    folds: int = 1,
) -> Division:
    """Deals rows to test, validation and training by a hash of (seed, row number).

    The parts have round(fraction · count) rows, halves rounded up, and at least one where the fraction is above 0 and
    there are three rows or more. Over classes they are balanced by largest remainder. Training keeps a row of every
    class, before all else.

    Arguments:
        seed: 0 ≤ seed < 2**63.
        validation: fraction of the rows, at least 0; with that of test below 1.
        test: likewise.
        sizes: [classes] rows of each; of a regression all rows are one class.
        blocks: reads the class of every row, block by block: once more than there are folds, if anything is to be
            dealt at all.
        folds: parts 1, 2, … are for validation, so many of the same size, as far as there are rows that are not tested.

    Raises:
        SettingError: the fractions are out of range.

    >>> classes = np.zeros(100, np.int32)
    >>> dealt = divide(0, validation=0.1, test=0.1, sizes=np.array([100]), blocks=lambda: [classes])
    >>> int((dealt.parts(0, classes) == TRAINING).sum())
    80
    """
    spare = np.maximum(sizes - 1, 0)
    ends = [0 * sizes]
    for wanted in part_sizes(validation, test, int(sizes.sum()), folds):
        ends.append(ends[-1] + _shares(wanted, sizes, spare - ends[-1]))
    return _division(seed, np.stack(ends[1:]), sizes, blocks)


def part_sizes(validation: float, test: float, count: int, folds: int = 1) -> tuple[int, ...]:
    """Rows for testing, and for validation of each fold; as divide. Raises SettingError where fractions do not fit."""
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise SettingError(
            f"validation is {validation} and test is {test}: give fractions of at least 0, together below 1."
        )
    of_test, of_each = _part_size(test, count), _part_size(validation, count)
    if folds > 1:
        of_each = min(of_each, (count - of_test) // folds)
    return of_test, *[of_each] * folds


def divide_evenly(seed: int, folds: int, sizes: RowIndex, blocks: Callable[[], Iterable[Classes]]) -> Division:
    """Deals rows to folds of the same size, give or take one, over all rows and over each class; as `divide`."""
    ends = np.cumsum(sizes)
    dealt = [(ends - fold + folds - 1) // folds for fold in range(folds)]  # rows of these classes and those before
    shares = np.diff(np.stack(dealt), axis=1, prepend=0)
    return _division(seed, shares.cumsum(axis=0)[:-1], sizes, blocks)


def _division(seed: int, ends: NDArray[np.int64], sizes: RowIndex, blocks: Callable[[], Iterable[Classes]]) -> Division:
    """The parts of which each class has so many rows up to their ends, [parts − 1, classes]."""
    numbers, rows = np.zeros(ends.shape, np.uint64), np.zeros(ends.shape, np.int64)
    if ends.any():
        for end, wanted in enumerate(ends):
            numbers[end], rows[end] = _nth_numbers(_checked(seed), wanted, sizes, blocks())
    shares = np.diff(np.vstack([0 * sizes, ends, sizes]), axis=0)
    return Division(seed, numbers, rows, shares)


def _order(seed: int, epoch: int, count: int, part: int) -> RowIndex:
    """What permutations promises, for one epoch."""
    philox = np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=part * _ROUNDS // 2)  # counts fours
    numbers = philox.random_raw((_ROUNDS, 2))
    bits = max(_LEAST_BITS, max(count - 1, 0).bit_length())
    mask, half = np.uint64((1 << bits) - 1), np.uint64((bits + 1) // 2)
    x = np.arange(1 << bits, dtype=np.uint64)
    for number, addend in numbers:
        x *= number & ~np.uint64(7) | np.uint64(5)
        x += addend
        x &= mask
        x ^= x >> half
    return x[x < count].view(np.int64)


def _numbers(seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """[count] the hashes of the rows `first`, first + 1, …"""
    counter = np.array([first // 4, *_SPLIT_COUNTER], np.uint64)
    source = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=counter)
    return np.asarray(source.random_raw(first % 4 + count)[first % 4 :])


def _nth_numbers(
    seed: int, wanted: RowIndex, sizes: RowIndex, blocks: Iterable[Classes]
) -> tuple[NDArray[np.uint64], RowIndex]:
    """[classes] hash and number of the row of each class that has `wanted` rows of smaller hash.

    0 where none are wanted, and the greatest numbers where all rows are.

    Hashes are evenly spread, so that only those near the expected place are kept: it cannot be ten deviations away.
    """
    share, known = wanted / np.maximum(sizes, 1), np.maximum(sizes, 1)
    reach = 10 * np.sqrt(share * (1 - share) / known) + 20 / known
    least, most = share - reach, share + reach
    first, below, near = 0, np.zeros(len(sizes), np.int64), []
    for classes in blocks:
        numbers = _numbers(seed, first, len(classes))
        places = numbers * 2.0**-64
        too_small = places < least[classes]
        below += np.bincount(classes[too_small], minlength=len(sizes))
        rows = np.flatnonzero(~too_small & (places <= most[classes]))
        near.append((rows + first, numbers[rows], classes[rows].astype(np.int64)))
        first += len(classes)
    rows, hashes, owners = (np.concatenate(each) for each in zip(*near, strict=True))
    order = np.lexsort((rows, hashes, owners))
    of_class = np.searchsorted(owners[order], np.arange(len(sizes)))
    found, inside = np.where(wanted >= sizes, np.iinfo(np.int64).max, 0), (wanted > 0) & (wanted < sizes)
    ends = np.where(wanted >= sizes, np.uint64(2**64 - 1), np.uint64(0))
    chosen = order[(of_class + wanted - below)[inside]]
    ends[inside], found[inside] = hashes[chosen], rows[chosen]
    return ends, found


def _checked(seed: int) -> int:
    """The seed, if it is in range."""
    if not 0 <= seed < 2**63:
        raise SettingError(f"The seed is {seed}: give a whole number from 0 to 2**63 - 1.")
    return seed


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
