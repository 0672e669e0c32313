"""Parts of whole groups, or of what came last: rows that belong together are never on both sides.

Nothing is held that grows with the rows: groups are counted in 2^22 bins of their hash, whose members stay together,
and times are found digit by digit, in four passes over their column.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schuss.errors import ColumnError, SettingError
from schuss.table.columns import codes, integers, kind_of, numbers, present
from schuss.table.schema import check_finite
from schuss.table.table import Table

Keys: TypeAlias = NDArray[np.uint64]  # [n] of rows: hashes of groups, or times in their order
KeyBlocks: TypeAlias = Callable[[], Iterable[Keys]]  # reads them block by block

_BITS, _DIGIT = 22, 16
_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True)
class By:
    """The column that decides which rows are held out.

    kind: group: the rows of one value are all in the same part; time: the latest are tested, those before validated.
    """

    kind: Literal["group", "time"]
    column: str

    @classmethod
    def of(cls, words: "str | By | None") -> "By | None":
        """From "group:COLUMN" or "time:COLUMN". Raises SettingError for anything else."""
        if words is None or isinstance(words, By):
            return words
        kind, _, column = str(words).partition(":")
        if kind not in ("group", "time") or not column:
            raise SettingError(f"valid_by is {words!r}: write group:COLUMN or time:COLUMN.")
        return cls("group" if kind == "group" else "time", column)

    def known(self, block: Table) -> NDArray[np.bool_]:
        """[n] whether a row has a value.

        Raises:
            ColumnError: the column is not there, or its times are no numbers or dates.
            CellError: a time is infinite.
        """
        column = block.column(self.column, f"{self.kind} column")
        kind = kind_of(column.type)
        if self.kind == "time" and kind not in ("integer", "float"):
            raise ColumnError(
                f"{block.name}: the time column {self.column!r} holds {kind}: it must hold numbers, or dates such as "
                "2024-03-31."
            )
        if kind == "float":
            check_finite(block, self.column, numbers(column))
        return present(column)

    def keys(self, block: Table, seed: int) -> Keys:
        """[n] those of all rows; a row without a value has any."""
        column = block.data[self.column]
        kind = kind_of(column.type)
        if kind == "text":
            places, texts = codes(column)
            bits = np.append(_text_numbers(texts), np.uint64(0))[places]
        elif kind == "integer":
            whole = np.zeros(len(block), np.int64)
            whole[present(column)] = integers(column)
            bits = whole.view(np.uint64) ^ np.uint64(1 << 63)
        else:
            bits = (numbers(column) + 0.0).view(np.uint64)  # one zero only
            bits ^= np.where(bits >> np.uint64(63), ~np.uint64(0), np.uint64(1 << 63))
        return bits if self.kind == "time" else _mixed(bits ^ _mixed(np.array([seed], np.uint64)))


def share_groups(keys: KeyBlocks, wanted: Sequence[int], column: str) -> tuple[NDArray[np.int8], list[int]]:
    """Gives whole groups to parts: [bins] the part of each, and how many groups each part has; the last has the rest.

    In the order of their hash, a part takes each group that does not exceed its size, and at the end one more if that
    brings it nearer; at least one.

    Arguments:
        keys: of all rows.
        wanted: rows of the parts before the last, 0 for none.
        column: for the message.

    Raises:
        SettingError: there are fewer groups than parts.
    """
    sizes = _group_sizes(keys)
    free = np.flatnonzero(sizes)
    parts = sum(want > 0 for want in wanted) + 1
    _check_enough(len(free), parts, f"groups in {column!r}")
    part, counts = np.full(len(sizes), len(wanted), np.int8), []
    for number, want in enumerate(wanted):
        parts -= want > 0
        taken = _picked(sizes[free], want, len(free) - parts) if want else []
        part[free[taken]] = number
        counts.append(len(taken))
        free = np.delete(free, taken)
    return part, [*counts, len(free)]


def fold_groups(keys: KeyBlocks, folds: int, column: str) -> NDArray[np.int8]:
    """[bins] the fold of each group: the largest first, each to the fold with the fewest rows; as share_groups."""
    sizes = _group_sizes(keys)
    groups = np.flatnonzero(sizes)
    _check_enough(len(groups), folds, f"groups in {column!r}")
    fold, loads = np.zeros(len(sizes), np.int8), [(0, number) for number in range(folds)]
    for group in groups[np.argsort(-sizes[groups], kind="stable")].tolist():
        load, number = heapq.heappop(loads)
        fold[group] = number
        heapq.heappush(loads, (load + int(sizes[group]), number))
    return fold


def bins(keys: Keys) -> NDArray[np.int64]:
    """[n] the bin of each group."""
    return (keys >> np.uint64(64 - _BITS)).astype(np.int64)


def latest(keys: KeyBlocks, wanted: int, column: str) -> int:
    """The time from which on there are as near to `wanted` rows as times allow, at least one and not all of them.

    Arguments:
        keys: of all rows.
        wanted: at least 1.
        column: for the message.

    Raises:
        SettingError: all these rows have the same time.
    """
    prefix = after = total = 0
    for shift in range(64 - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(1 << _DIGIT, np.int64)
        for block in keys():
            digits = block >> np.uint64(shift)
            own = digits >> np.uint64(_DIGIT) == np.uint64(prefix)
            counts += np.bincount((digits[own] % np.uint64(1 << _DIGIT)).astype(np.int64), minlength=len(counts))
        reached = after + counts[::-1].cumsum()[::-1]  # rows from each digit on
        total = total or int(reached[0])
        digit = int(np.flatnonzero(reached >= min(wanted, total))[-1])
        after, prefix = int(reached[digit] - counts[digit]), prefix << _DIGIT | digit
    with_ties = after + int(counts[digit])
    if with_ties == total and not after:
        raise SettingError(f"There are too few different times in {column!r}: some part would have no row.")
    return prefix + (with_ties == total or (after > 0 and wanted - after <= with_ties - wanted))


def _group_sizes(keys: KeyBlocks) -> NDArray[np.int64]:
    """[bins] the rows of each group."""
    sizes = np.zeros(1 << _BITS, np.int64)
    for block in keys():
        np.add.at(sizes, bins(block), 1)
    return sizes


def _check_enough(count: int, least: int, what: str) -> None:
    if count < least:
        raise SettingError(f"There are {count:,} {what}, and at least {least} are needed for as many parts.")


def _picked(sizes: NDArray[np.int64], wanted: int, most: int) -> list[int]:
    """Places of at least one and at most `most` groups, which have about so many rows."""
    taken: list[int] = []
    room = wanted
    for place, size in enumerate(sizes.tolist()):
        if size <= room and len(taken) < most:
            taken.append(place)
            room -= size
    left = np.delete(np.arange(len(sizes)), taken)
    if len(left) and len(taken) < most:
        smallest = int(left[sizes[left].argmin()])
        if not taken or abs(room - int(sizes[smallest])) < room:
            taken.append(smallest)
    return taken


def _text_numbers(texts: pa.StringArray) -> Keys:
    """[n] 64 bits that stand for each text: the sum of one random number for each byte and place (Zobrist 1970)."""
    _, bounds, content = texts.buffers()
    ends = np.frombuffer(bounds or bytes(4), np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    letters = np.frombuffer(content or b"", np.uint8)[ends[0] : ends[-1]].astype(np.uint64)
    ends -= ends[0]
    places = np.arange(len(letters)) - np.repeat(ends[:-1], np.diff(ends))
    sums = np.append(np.uint64(0), _mixed(letters + 256 * places.astype(np.uint64)).cumsum(dtype=np.uint64))
    return np.asarray(sums[ends[1:]] - sums[ends[:-1]])


def _mixed(x: Keys) -> Keys:
    """Mixed up by a bijection, whose every bit depends on every bit (Steele, Lea and Flood 2014, SplitMix64)."""
    x = x + np.uint64(_MIX[0])
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX[1])
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX[2])
    return np.asarray(x ^ (x >> np.uint64(31)))
