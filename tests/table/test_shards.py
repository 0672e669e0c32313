"""Packed rows come back whole, each once an epoch, in orders that depend on nothing else; memory is bounded."""

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import schuss
from schuss.arrays import Rows
from schuss.errors import DataError, OutputError, SourceError
from schuss.files import STORAGE, Storage
from schuss.table import shards
from schuss.table.cache import MANIFEST, entries, new_entry
from schuss.table.order import permutations
from schuss.table.shards import PackedStore, pack
from schuss.table.store import Store

NAME = "0123456789abcdef"
WINDOWS_7_3 = [[11, 9, 3, 8], [6, 0, 7, 10], [4, 1, 2, 5]]


def table(count: int, codes: int = 1, levels: int = 300, weighted: bool = True) -> Rows:
    """Rows of which every number tells which row it is."""
    numbers = np.arange(count, dtype=np.float32)
    levels_of = np.repeat(np.arange(count, dtype=np.int32)[:, None] % levels - 1, codes, axis=1)
    return Rows(np.stack([numbers, -numbers], axis=1), levels_of, numbers[:, None], numbers + 1 if weighted else None)


class Unsynced(Storage):
    """Fast."""

    def sync(self, file: BinaryIO) -> None:
        file.flush()

    def sync_folder(self, folder: Path) -> None:
        pass


def packed(folder: Path, rows: Rows, memory: int = 6000, **settings: Any) -> PackedStore:
    given = {"seed": 3, "memory": memory, "storage": Unsynced(), **settings}
    return made(folder / NAME, rows.batches(77), len(rows), **given)


def made(folder: Path, blocks: Iterable[Rows], count: int, storage: Storage = STORAGE, **settings: Any) -> PackedStore:
    """An entry of the cache with packed rows."""
    with new_entry(folder, storage) as entry:
        pack(blocks, entry / "part", count, storage=storage, **settings)
        (entry / MANIFEST).touch()
    return PackedStore(folder / "part")


def visited(store: Store, seed: int, epochs: range, batch_size: int, start: int = 0) -> list[list[int]]:
    """The row numbers of each item."""
    windows = store.windows(seed, epochs, batch_size, start)
    return [rows.targets[positions, 0].astype(int).tolist() for rows, positions in windows]


def numbers_of(items: list[list[int]]) -> list[int]:
    return list(itertools.chain(*items))


@given(
    st.integers(1, 90),
    st.integers(1, 4000),
    st.integers(1, 40),
    st.tuples(st.integers(0, 2), st.sampled_from([3, 254, 255, 70_000]), st.booleans()),
    st.booleans(),
)
@settings(max_examples=60)
def test_every_row_comes_once_an_epoch_in_whole_batches(
    count: int, memory: int, batch_size: int, columns: tuple[int, int, bool], deal: bool
) -> None:
    rows = table(count, *columns)
    with tempfile.TemporaryDirectory() as folder:
        store = packed(Path(folder), rows, memory, deal=deal)
        assert len(store) == count
        for epoch in range(2):
            seen, lengths = [], []
            for window, positions in store.windows(5, range(epoch, epoch + 1), batch_size):
                numbers = window.targets[positions, 0].astype(int)
                for found, expected in zip(_arrays(window.take(positions)), _arrays(rows.take(numbers)), strict=True):
                    assert found.dtype == expected.dtype
                    assert np.array_equal(found, expected)
                seen.extend(numbers.tolist())
                lengths.append(len(positions))
            assert sorted(seen) == list(range(count))
            assert all(length % batch_size == 0 and length for length in lengths[:-1])


def _arrays(rows: Rows) -> list[Any]:
    return [rows.features, rows.codes, rows.targets, *([] if rows.weights is None else [rows.weights])]


@given(st.integers(1, 60), st.integers(100, 3000), st.integers(3, 40))
@settings(max_examples=20)
def test_a_run_goes_on_from_any_batch_as_if_it_had_not_ended(count: int, memory: int, batch_size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = packed(Path(folder), table(count), memory)
        whole = numbers_of(visited(store, 5, range(2, 4), batch_size))
        for start in range(math.ceil(count / batch_size)):
            assert numbers_of(visited(store, 5, range(2, 4), batch_size, start)) == whole[start * batch_size :]


def test_going_on_reads_only_the_windows_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = packed(tmp_path, table(1000))
    last = visited(store, 5, range(1), 16)[-1]
    read, fill = [], PackedStore._fill

    def counted(*arguments: Any) -> None:
        read.append(arguments)
        fill(*arguments)

    monkeypatch.setattr(PackedStore, "_fill", counted)
    assert visited(store, 5, range(1), 16, 62) == [last[-8:]]
    assert len(read) == 1


def test_a_window_holds_no_row_that_was_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, empty = packed(tmp_path, table(300)), shards._Widths.empty

    def marked(widths: shards._Widths, count: int) -> Rows:
        rows = empty(widths, count)
        rows.codes[...] = -7
        return rows

    monkeypatch.setattr(shards._Widths, "empty", marked)
    for start in range(30):
        assert all(rows.codes.min() >= -1 for rows, _ in store.windows(5, range(1), 10, start))


def test_orders_depend_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    store = packed(tmp_path, table(300))
    orders = {tuple(numbers_of(visited(store, seed, range(e, e + 1), 10))) for seed in range(3) for e in range(3)}
    assert len(orders) == 9
    assert visited(store, 1, range(2), 10) == visited(PackedStore(tmp_path / NAME / "part"), 1, range(2), 10)
    assert numbers_of(visited(store, 1, range(1), 10)) == numbers_of(visited(store, 1, range(1), 37))


def test_orders_are_the_same_on_every_machine(tmp_path: Path) -> None:
    assert visited(packed(tmp_path, table(12), memory=300), 7, range(3, 4), 4) == WINDOWS_7_3


def test_a_dealt_table_does_not_depend_on_how_it_was_cut(tmp_path: Path) -> None:
    rows = table(500)
    one = made(tmp_path / "one", [rows], 500, seed=3, memory=6000)
    many = made(tmp_path / "many", rows.batches(7), 500, seed=3, memory=6000)
    assert visited(one, 0, range(1), 16) == visited(many, 0, range(1), 16)


@pytest.mark.parametrize("count", [5, 256, 300_000])
def test_the_core_gives_the_orders_of_windows_that_numpy_defines(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (0, 1, 2, 2**31)
    native = [permutations(7, range(3, 5), count, part=part) for part in parts]
    monkeypatch.delattr(schuss, "_core", raising=False)
    monkeypatch.setitem(sys.modules, "schuss._core", None)
    for part, order in zip(parts, native, strict=True):
        assert np.array_equal(order, permutations(7, range(3, 5), count, part=part))
    assert len({order.tobytes() for order in native}) == len(parts)


@pytest.mark.parametrize("memory", [300, 6000, 10**9])
def test_rows_that_are_not_dealt_come_back_as_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(shards, "BLOCK_ROWS", 64)
    rows = table(1000)
    blocks = list(packed(tmp_path, rows, memory, deal=False).blocks())
    assert [len(block) for block in blocks] == [64] * 15 + [40]
    for found, expected in zip(zip(*map(_arrays, blocks), strict=True), _arrays(rows), strict=True):
        assert np.array_equal(np.concatenate(found), expected)


def test_blocks_of_a_dealt_table_hold_every_row_once(tmp_path: Path) -> None:
    blocks = packed(tmp_path, table(1000)).blocks()
    assert sorted(number for block in blocks for number in block.targets[:, 0].tolist()) == list(range(1000))


def test_batches_of_a_sorted_table_are_as_mixed_as_chance_mixes_them(tmp_path: Path) -> None:
    count, batch = 25_600, 32
    store = packed(tmp_path, table(count), memory=200_000)
    assert len(visited(store, 0, range(1), batch)) > 5
    means = np.array(numbers_of(visited(store, 4, range(20), batch))).reshape(-1, batch).mean(axis=1)
    variance = ((means - (count - 1) / 2) ** 2).mean()
    expected = (count**2 - 1) / 12 / batch * (count - batch) / (count - 1)  # of a shuffle of all rows
    assert abs(variance / expected - 1) < 5 * math.sqrt(2 / means.size)


def test_fault_34_memory_is_bounded_whatever_the_size_of_the_table(tmp_path: Path) -> None:
    count, memory = 80_000, 4_000_000  # 32 MB
    tracemalloc.start()
    try:
        blocks = (_block(start, min(1024, count - start)) for start in range(0, count, 1024))
        store = made(tmp_path / NAME, blocks, count, seed=0, memory=memory)
        packing = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert sum(len(positions) for _, positions in store.windows(0, range(2), 100)) == 2 * count
        reading = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert packing < memory
    assert reading < 1.2 * memory  # 0.2: the manifest's pages


def _block(start: int, count: int) -> Rows:
    numbers = np.arange(start, start + count, dtype=np.float32)[:, None]
    return Rows(np.repeat(numbers, 100, axis=1), np.zeros((count, 0), np.int32), numbers)


def test_fault_08_a_flipped_bit_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    store = packed(tmp_path, table(60))
    path = tmp_path / NAME / "part.rows"
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(SourceError, match=r"rows is damaged at byte .* `schuss cache --clear`"):
            visited(store, 0, range(1), 8)
        with pytest.raises(SourceError, match="is damaged"):
            list(store.blocks())


def test_fault_08_a_flipped_bit_in_the_manifest_is_noticed(tmp_path: Path) -> None:
    packed(tmp_path, table(60))
    path = tmp_path / NAME / "part.json"
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(SourceError, match=r"part\.json"):
            PackedStore(tmp_path / NAME / "part")


def test_fault_08_a_truncated_file_is_noticed_before_training(tmp_path: Path) -> None:
    packed(tmp_path, table(60))
    os.truncate(tmp_path / NAME / "part.rows", 900)
    with pytest.raises(SourceError, match="rows is damaged: it has 900 bytes"):
        PackedStore(tmp_path / NAME / "part")


def test_a_file_that_is_truncated_later_is_an_error(tmp_path: Path) -> None:
    store = packed(tmp_path, table(60))
    os.truncate(tmp_path / NAME / "part.rows", 900)
    with pytest.raises(SourceError, match="rows is damaged"):
        visited(store, 0, range(1), 8)


def test_fault_09_a_newer_format_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "FORMAT", 8)
    packed(tmp_path, table(60))
    monkeypatch.undo()
    with pytest.raises(SourceError, match="format 8"):
        PackedStore(tmp_path / NAME / "part")


def test_fault_05_a_failure_of_any_operation_leaves_all_or_nothing(
    tmp_path: Path, failing: Callable[[int], Storage]
) -> None:
    for operation in range(1, 200):
        try:
            packed(tmp_path, table(60), storage=failing(operation))
            break
        except OutputError as error:
            message = str(error)
        assert str(tmp_path) in message
        assert "No space left on device" in message
        if left := set(os.listdir(tmp_path)) - {".lock"}:
            assert left == {NAME}  # all but the name was synced
            assert len(PackedStore(tmp_path / NAME / "part")) == 60
            shutil.rmtree(tmp_path / NAME)
    assert operation > 20
    assert sorted(numbers_of(visited(PackedStore(tmp_path / NAME / "part"), 0, range(1), 8))) == list(range(60))


def test_a_full_disk_is_an_error_that_says_how_much_is_needed(
    tmp_path: Path, failing: Callable[[int], Storage]
) -> None:
    with pytest.raises(OutputError, match=r"No space left on device.*0\.0 MB are needed.*SCHUSS_CACHE"):
        packed(tmp_path, table(60), storage=failing(5))


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    with pytest.raises(OutputError, match=r"1\.0 MB are free.*1\.8 MB are needed"):
        made(tmp_path / NAME, [table(50_000, 2, 9)], 100_000, seed=0, memory=10**6)
    assert os.listdir(tmp_path) == [".lock"]


def test_an_error_of_the_source_is_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    def blocks() -> Iterator[Rows]:
        yield table(40)
        raise FileNotFoundError("the table is gone")

    with pytest.raises(FileNotFoundError, match="the table is gone"):
        made(tmp_path / NAME, blocks(), 60, seed=0, memory=6000)
    assert os.listdir(tmp_path) == [".lock"]


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from schuss.arrays import Rows
from schuss.table.cache import new_entry
from schuss.table.shards import pack

def blocks():
    for i in range(100):
        if i == 50:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Rows(np.zeros((100, 2), np.float32), np.zeros((100, 0), np.int32), np.zeros((100, 1), np.float32))

with new_entry(Path(sys.argv[1])) as entry:
    pack(blocks(), entry / "part", 10_000, seed=0, memory=6000)
"""


def test_fault_02_a_killed_process_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / NAME)])
    assert killed.returncode == -signal.SIGKILL
    left = set(os.listdir(tmp_path))
    assert len(left) == 2
    assert NAME not in left
    assert entries(tmp_path) == []
    assert len(packed(tmp_path, table(60))) == 60
    assert sorted(os.listdir(tmp_path)) == [".lock", NAME]


def test_no_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        made(tmp_path / NAME, [table(0)], 10, seed=0, memory=6000)


def test_what_another_process_removes_can_still_be_read(tmp_path: Path) -> None:
    store = packed(tmp_path, table(60))
    shutil.rmtree(tmp_path / NAME)
    assert sorted(numbers_of(visited(store, 0, range(1), 8))) == list(range(60))


def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    store, before = packed(tmp_path, table(1000)), threading.active_count()
    windows = store.windows(0, range(3), 8)
    next(windows)
    assert threading.active_count() == before + 1
    windows.close()
    assert threading.active_count() == before
    visited(store, 0, range(2), 8)
    assert threading.active_count() == before


def test_a_window_that_nobody_wants_any_more_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, fill, read_page = packed(tmp_path, table(1000)), PackedStore._fill, PackedStore._read_page
    read: list[Any] = []
    begun = itertools.count()

    def slow(store: PackedStore, rows: Rows, at: int, pages: Any, stopped: threading.Event) -> None:
        if next(begun):
            assert stopped.wait(60)
            read.clear()
        fill(store, rows, at, pages, stopped)

    def counted(*arguments: Any) -> None:
        read.append(arguments)
        read_page(*arguments)

    monkeypatch.setattr(PackedStore, "_fill", slow)
    monkeypatch.setattr(PackedStore, "_read_page", counted)
    windows = store.windows(0, range(3), 8)
    next(windows)
    assert read
    windows.close()
    assert not read
