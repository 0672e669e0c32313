"""Encoded rows on disk, packed once and read window by window: memory stays bounded whatever the table's size.

A packed store is two files in a folder of the cache. NAME.rows holds pages, each of one shard: features, targets,
weights, offsets and codes of some rows, one array after another; codes are counted from 1 there, so that -1 is 0, in
the narrowest unsigned type that holds the page's. NAME.json, written last, tells where each shard's pages are, and
their checksums.

Row i belongs to a shard that number i of Philox chooses, so that every shard, and every window of some shards, is a
random sample even of a sorted table.
"""

import contextlib
import hashlib
import itertools
import math
import os
import shutil
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schuss.arrays import RowIndex, Rows
from schuss.errors import DataError, OutputError, SourceError
from schuss.files import STORAGE, Storage
from schuss.table.cache import CLEAR, read_signed, write_signed
from schuss.table.order import permutation, permutations
from schuss.table.store import Windows
from schuss.table.table import BLOCK_ROWS

FORMAT = 1
_DEAL_COUNTER = (0, 0, 0, 2)  # far beyond orders and splits
_SHARDS_IN_WINDOW = 8
_PAGE_BYTES = 2**20  # at most: longer pages read no faster


class _Page(msgspec.Struct, frozen=True, array_like=True):
    """Where some rows of a shard lie in the file; code_bytes: of one code; checksum: CRC-32 of the whole page."""

    offset: int
    rows: int
    code_bytes: int
    checksum: int


class _Widths(msgspec.Struct, frozen=True):
    """Columns of features, codes and targets, and whether rows have weights and offsets."""

    features: int
    codes: int
    targets: int
    weighted: bool
    offset: bool

    @classmethod
    def of(cls, rows: Rows) -> "_Widths":
        """Those of some rows."""
        features, codes, targets = (part.shape[1] for part in (rows.features, rows.codes, rows.targets))
        return cls(features, codes, targets, rows.weights is not None, rows.offset is not None)

    def row_bytes(self, code_bytes: int = 4) -> int:
        """Bytes of a row, with codes of so many bytes."""
        return 4 * (self.features + self.targets + self.weighted + self.offset) + code_bytes * self.codes

    def empty(self, count: int) -> Rows:
        """So many rows, to be filled."""
        return Rows(
            np.empty((count, self.features), np.float32),
            np.empty((count, self.codes), np.int32),
            np.empty((count, self.targets), np.float32),
            np.empty(count, np.float32) if self.weighted else None,
            np.empty(count, np.float32) if self.offset else None,
        )


class _Manifest(msgspec.Struct, frozen=True):
    """What a packed store knows of itself."""

    seed: int
    widths: _Widths
    shards_in_window: int
    shards: list[list[_Page]]


@dataclass(frozen=True)
class _Plan:
    """How rows are packed: window, shard and page are the rows of each, page a power of two."""

    window: int
    shards: int
    shard: int
    page: int

    @classmethod
    def of(cls, rows: int, row_bytes: int, memory: int) -> "_Plan":
        """Two windows fit into memory, and pages that are being filled into half of it."""
        window = max(1, memory // (2 * row_bytes + 8))  # 8: a position
        shards = max(1, math.ceil(_SHARDS_IN_WINDOW * rows / window))
        most = min(memory // (2 * shards * row_bytes), _PAGE_BYTES // row_bytes, BLOCK_ROWS)
        page = 2 ** (max(most, 1).bit_length() - 1)  # so that whole pages make up a block
        return cls(window, shards, page * math.ceil(max(rows, 1) / (shards * page)), page)

    def shards_in_window(self, shards: list[list[_Page]]) -> int:
        """How many shards fit into a window, whichever they are; at least one."""
        sizes = sorted((_count(pages) for pages in shards), reverse=True)
        return max(1, sum(total <= self.window for total in itertools.accumulate(sizes)))


def pack(
    blocks: Iterable[Rows],
    path: Path,
    rows: int,
    *,
    seed: int,
    memory: int,
    deal: bool = True,
    storage: Storage = STORAGE,
) -> None:
    """Writes encoded rows to the disk. Beside the block in hand, packing holds pages of at most half of `memory`.

    Arguments:
        blocks: rows of equal widths, float32, all or none with weights; some 65,536 a block are fast.
        path: of the two files, without their endings, in a folder that is there.
        rows: how many will come; if there are more or fewer, so are there in a shard.
        seed: 0 ≤ seed < 2**63; deals rows to shards.
        memory: bytes for the two windows that training will hold, and the order of one; rows that make no whole batch
            come on top.
        deal: False keeps the rows in their order, for `PackedStore.blocks`.

    Raises:
        DataError: there are no rows.
        OutputError: the files cannot be written, or the disk is too small.
    """
    coming = iter(blocks)
    first = next((block for block in coming if len(block)), None)
    if first is None:
        raise DataError("There are no rows to pack: give at least one.")
    widths = _Widths.of(first)
    plan = _Plan.of(rows, widths.row_bytes(), memory)
    needed = rows * widths.row_bytes(_shifted(first.codes).itemsize)
    with _Packer(path, widths, plan, needed, storage) as packer:
        _deal(itertools.chain([first], coming), packer, plan, seed if deal else None)
        shards = packer.finish()
    manifest = _Manifest(seed, widths, plan.shards_in_window(shards), shards)
    write_signed(path.with_suffix(".json"), FORMAT, manifest, storage)


class PackedStore:
    """Rows that `pack` wrote, behind the protocol of every store. One that was removed can still be read.

    Raises:
        SourceError: there are no packed rows, damaged ones, or those of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_suffix(".rows")
        manifest = read_signed(path.with_suffix(".json"), FORMAT, _Manifest)
        self._manifest, self._widths, self._shards = manifest, manifest.widths, manifest.shards
        self._sizes = [_count(pages) for pages in manifest.shards]
        self._windows = math.ceil(len(self._shards) / manifest.shards_in_window)  # in an epoch
        self._window = sum(sorted(self._sizes)[-manifest.shards_in_window :])  # rows, at most
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read ({error.strerror or error}). {CLEAR}") from error
        weakref.finalize(self, os.close, self._file)
        size, pages = os.fstat(self._file).st_size, itertools.chain(*self._shards)
        if size != sum(page.rows * self._widths.row_bytes(page.code_bytes) for page in pages):
            raise SourceError(f"{self._path} is damaged: it has {size:,} bytes. {CLEAR}")

    def __len__(self) -> int:
        return sum(self._sizes)

    def digest(self) -> str:
        """Of the checksums of all pages, and of how they are dealt."""
        return hashlib.blake2b(msgspec.json.encode(self._manifest), digest_size=16).hexdigest()

    def blocks(self) -> Iterator[Rows]:
        """All rows, shard by shard, at most 65,536 at a time; if they were not dealt, in their order, 65,536 each.

        Raises:
            SourceError: a page is damaged.
        """
        for pages in _together(itertools.chain(*self._shards)):
            block = self._widths.empty(_count(pages))
            self._fill(block, 0, pages)
            yield block

    def rows(self) -> Rows:
        """All rows in memory, shard by shard.

        Raises:
            SourceError: a page is damaged.
        """
        rows = self._widths.empty(len(self))
        self._fill(rows, 0, itertools.chain(*self._shards))
        return rows

    def windows(self, seed: int, epochs: range, batch_size: int, start: int = 0) -> Windows:
        """The rows of these epochs in their orders, from batch number `start` of the first on.

        An epoch goes through the shards in random order, a window of them at a time, and through the rows of a window
        in random order; rows that make no whole batch come first in the next window. While one window is used, a
        thread reads the next. Only windows from the one of batch `start` on are read. What is yielded is overwritten
        as soon as the next item is asked for.

        Raises:
            SourceError: a page is damaged.
        """
        most = self._window + min(batch_size - 1, len(self))
        window, spare = self._widths.empty(most), self._widths.empty(most)
        positions, carried = np.empty(most, np.int64), np.empty(0, np.int64)
        visits, stopped = self._visits(seed, epochs, batch_size, start), threading.Event()
        with ThreadPoolExecutor(1, "schuss-reader") as reader:
            try:
                visit = next(visits, None)
                reading = reader.submit(self._read, spare, visit, stopped)
                while visit:
                    reading.result()
                    window, spare = spare, window
                    for ours, last in zip(_arrays(window), _arrays(spare), strict=True):
                        ours[: len(carried)] = last[carried]
                    following = next(visits, None)
                    reading = reader.submit(self._read, spare, following, stopped)
                    order = visit.order(positions)
                    carried = order[visit.stop :].copy()
                    if visit.start < visit.stop:
                        yield window.slice(0, len(order)), order[visit.start : visit.stop]
                    visit = following
            finally:
                stopped.set()

    def _visits(self, seed: int, epochs: range, batch_size: int, start: int) -> Iterator["_Visit"]:
        """The windows of these epochs in turn."""
        skipped, count = start * batch_size, len(self)
        for epoch in epochs:
            shards, passed = permutation(seed, epoch, len(self._shards)), 0
            for number, chosen in enumerate(np.array_split(shards, self._windows), 1):
                rows = sum(self._sizes[shard] for shard in chosen)
                before = passed if passed <= skipped else passed // batch_size * batch_size  # rows that are not here
                carried, passed = passed - before, passed + rows
                if rows and passed > skipped:
                    pages = list(itertools.chain(*(self._shards[shard] for shard in chosen)))
                    stop = passed if passed == count else passed // batch_size * batch_size
                    start = max(skipped - before, 0)
                    yield _Visit(seed, epoch, number, pages, carried, rows, start, stop - before)
            skipped = 0

    def _read(self, window: Rows, visit: "_Visit | None", stopped: threading.Event) -> None:
        """Fills the window, behind the rows that are carried over."""
        if visit:
            self._fill(window, visit.carried, visit.pages, stopped)

    def _fill(self, rows: Rows, at: int, pages: Iterable[_Page], stopped: threading.Event | None = None) -> None:
        """Reads pages into rows `at` and after, unless it is stopped."""
        for page in pages:
            if stopped and stopped.is_set():
                return
            self._read_page(page, rows.slice(at, at + page.rows))
            at += page.rows

    def _read_page(self, page: _Page, rows: Rows) -> None:
        """Reads a page into as many rows, and looks at its checksum."""
        codes = np.empty(rows.codes.shape, f"u{page.code_bytes}")
        into = _memory([*_arrays(rows)[:-1], codes])
        try:
            found = os.preadv(self._file, into, page.offset)
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read ({error.strerror or error}).") from error
        if found != sum(part.nbytes for part in into) or _checksum(into) != page.checksum:
            raise SourceError(f"{self._path} is damaged at byte {page.offset:,}. {CLEAR}")
        rows.codes[...] = codes
        rows.codes[...] -= 1


@dataclass(frozen=True)
class _Visit:
    """A window of an epoch.

    number: from 1 on. pages: of its shards. carried: rows of the window before, which come first. rows: its own.
    start, stop: the part of its order that is handed out.
    """

    seed: int
    epoch: int
    number: int
    pages: list[_Page]
    carried: int
    rows: int
    start: int
    stop: int

    def order(self, positions: RowIndex) -> RowIndex:
        """[carried + rows] positions in the window, in the order to visit them, in the memory given."""
        order = positions[: self.carried + self.rows]
        order[: self.carried] = np.arange(self.carried)
        own = order[self.carried :]
        epochs = range(self.epoch, self.epoch + 1)
        np.add(permutations(self.seed, epochs, self.rows, own, self.number), self.carried, out=own)
        return order


class _Packer:
    """The file of pages while it is written: a page for each shard is being filled."""

    def __init__(self, path: Path, widths: _Widths, plan: _Plan, needed: int, storage: Storage) -> None:
        self._cache, self._page, self._needed, self._storage = path.parent.parent, plan.page, needed, storage
        self._pages: list[list[_Page]] = [[] for _ in range(plan.shards)]
        self._filled, self._offset = [0] * plan.shards, 0
        self._filling = _arrays(widths.empty(plan.shards * plan.page))
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise self._error(f"{_megabytes(free)} are free")
        with self._output():
            self._file = storage.create(path.with_suffix(".rows"))

    def __enter__(self) -> "_Packer":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # what could fail here was synced, or has failed before
            self._file.close()

    def add(self, rows: Rows, shards: NDArray[np.integer[Any]]) -> None:
        """Adds rows to the shards named, [N], and writes the pages that get full."""
        order = np.argsort(shards, kind="stable")
        ends = np.cumsum(np.bincount(shards, minlength=len(self._pages)))
        for shard, index in enumerate(np.split(order, ends[:-1])):
            while len(index):
                start, stop = shard * self._page + self._filled[shard], (shard + 1) * self._page
                for filling, array in zip(self._filling, _arrays(rows), strict=True):
                    taken = index[: stop - start]
                    np.take(array, taken, axis=0, out=filling[start : start + len(taken)], mode="clip")  # no buffer
                self._filled[shard] += len(index[: stop - start])
                index = index[stop - start :]
                if self._filled[shard] == self._page:
                    self._write(shard)

    def finish(self) -> list[list[_Page]]:
        """Writes the pages that are not full, waits until all is on the disk, and returns the pages of each shard."""
        for shard in np.flatnonzero(self._filled):
            self._write(int(shard))
        with self._output():
            self._storage.sync(self._file)
        return self._pages

    def _write(self, shard: int) -> None:
        """Writes the page of a shard."""
        start, count = shard * self._page, self._filled[shard]
        *numbers, codes = (array[start : start + count] for array in self._filling)
        codes = _shifted(codes)
        content = _memory([*numbers, codes])
        self._pages[shard].append(_Page(self._offset, count, codes.itemsize, _checksum(content)))
        self._filled[shard] = 0
        with self._output():
            for part in content:
                self._storage.write(self._file, part.tobytes())
                self._offset += part.nbytes

    @contextlib.contextmanager
    def _output(self) -> Iterator[None]:
        """What the disk refuses becomes an OutputError."""
        try:
            yield
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error

    def _error(self, reason: str) -> OutputError:
        return OutputError(
            f"{self._cache}: cannot be written ({reason}), and {_megabytes(self._needed)} are needed. "
            "Set SCHUSS_CACHE to a folder on a larger disk, or make room with `schuss cache --clear`."
        )


def _deal(blocks: Iterable[Rows], packer: _Packer, plan: _Plan, seed: int | None) -> None:
    """Hands rows to their shards: dealt by Philox, or without a seed one shard after another."""
    philox = np.random.Philox(key=np.array([seed or 0, 0], np.uint64), counter=np.array(_DEAL_COUNTER, np.uint64))
    passed = 0
    for block in blocks:
        if seed is None:
            shards = np.minimum(np.arange(passed, passed + len(block)) // plan.shard, plan.shards - 1)
        else:
            shards = ((philox.random_raw(len(block)) >> 32) * plan.shards >> 32).astype(np.int64)
        packer.add(block, shards.astype(np.min_scalar_type(plan.shards)))  # 16 bits are sorted faster
        passed += len(block)


def _arrays(rows: Rows) -> list[NDArray[Any]]:
    """The arrays of some rows, codes last."""
    others = [part for part in (rows.weights, rows.offset) if part is not None]
    return [rows.features, rows.targets, *others, rows.codes]


def _shifted(codes: NDArray[np.int32]) -> NDArray[np.unsignedinteger[Any]]:
    """Codes counted from 1, so that -1 is 0, in the narrowest type."""
    shifted = codes.astype(np.int64) + 1
    return shifted.astype(np.min_scalar_type(shifted.max(initial=0)))


def _memory(arrays: list[NDArray[Any]]) -> list[memoryview]:
    """The memory of arrays, without empty ones."""
    return [array.data for array in arrays if array.size]


def _checksum(parts: list[memoryview]) -> int:
    """CRC-32 of one part after another."""
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum


def _together(pages: Iterable[_Page]) -> Iterator[list[_Page]]:
    """Pages in turn, as many together as make up no more than a block."""
    together: list[_Page] = []
    count = 0
    for page in pages:
        if count + page.rows > BLOCK_ROWS:
            yield together
            together, count = [], 0
        together.append(page)
        count += page.rows
    yield together


def _count(pages: Iterable[_Page]) -> int:
    """Rows of pages."""
    return sum(page.rows for page in pages)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
