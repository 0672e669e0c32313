"""A store gives every row once an epoch, in the order of the epoch."""

import numpy as np
from hypothesis import given, strategies as st

from schuss.arrays import Rows
from schuss.table.order import permutation
from schuss.table.store import MemoryStore, Store


def _store(count: int) -> MemoryStore:
    numbers = np.arange(count, dtype=np.float32)
    return MemoryStore(Rows.from_arrays(numbers, numbers))


@given(st.integers(1, 60), st.integers(1, 10), st.integers(0, 3), st.integers(0, 8))
def test_windows_are_the_order_of_the_epoch_from_any_start(count: int, batch_size: int, epoch: int, start: int) -> None:
    windows = list(_store(count).windows(5, range(epoch, epoch + 1), batch_size, start))
    seen = [rows.features[positions, 0] for rows, positions in windows]
    assert np.concatenate([*seen, np.empty(0)]).tolist() == permutation(5, epoch, count)[start * batch_size :].tolist()
    assert all(len(positions) % batch_size == 0 for _, positions in windows[:-1])


@given(st.integers(1, 20), st.integers(1, 10), st.integers(1, 4), st.integers(0, 3))
def test_several_epochs_come_one_after_another(count: int, batch_size: int, epochs: int, start: int) -> None:
    windows = _store(count).windows(5, range(2, 2 + epochs), batch_size, start)
    seen = [position for _, positions in windows for position in positions]
    orders = [permutation(5, epoch, count) for epoch in range(2, 2 + epochs)]
    assert seen == np.concatenate([orders[0][start * batch_size :], *orders[1:]]).tolist()


def test_the_window_of_a_memory_store_is_no_copy() -> None:
    store = _store(10)
    assert all(rows is store.rows for rows, _ in store.windows(0, range(2), 3))


def test_a_store_knows_its_length() -> None:
    store: Store = _store(10)
    assert len(store) == 10
