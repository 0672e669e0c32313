"""Orders and splits are pure functions: the same everywhere, each row once, sizes exact, classes balanced."""

import itertools
import math
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import schuss
from schuss import _core
from schuss.errors import SettingError
from schuss.table.order import TEST, TRAINING, VALIDATION, divide, permutation, permutations

PERMUTATION_7_3_12 = [7, 2, 1, 6, 3, 8, 5, 4, 11, 10, 9, 0]
SPLIT_7 = ([0, 1, 3, 4, 6, 9], [7, 8], [2, 5])


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(0, 500))
def test_an_order_holds_every_row_once(seed: int, epoch: int, count: int) -> None:
    order = permutation(seed, epoch, count)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_an_order_is_the_same_on_every_machine() -> None:
    assert permutation(7, 3, 12).tolist() == PERMUTATION_7_3_12


@pytest.fixture
def no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine on which the core was not built."""
    monkeypatch.delattr(schuss, "_core", raising=False)
    monkeypatch.setitem(sys.modules, "schuss._core", None)


COUNTS = (0, 1, 2, 3, 4, 5, 255, 256, 257, 1000, 65_537, 262_144, 262_145, 1_000_003)
STREAMS = ((0, 0), (7, 3), (2**32 + 5, 1), (2**63 - 1, 2**40))


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("count", COUNTS)
def test_the_core_gives_the_order_that_numpy_defines(
    count: int, isa: str, no_core: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHUSS_ISA", isa)
    for seed, epoch in STREAMS:
        memory = np.full(count + 1, -1)
        _core.permutations(seed, epoch, 1, count, memory)
        assert np.array_equal(memory[:count], permutation(seed, epoch, count))
        assert memory[count] == -1


def test_the_order_is_the_same_without_a_core_and_nothing_is_said(no_core: None) -> None:
    assert permutation(7, 3, 12).tolist() == PERMUTATION_7_3_12


@pytest.mark.parametrize("epochs", [range(0), range(3, 4), range(2, 7)])
def test_the_orders_of_some_epochs_come_one_after_another(epochs: range, request: pytest.FixtureRequest) -> None:
    orders = permutations(7, epochs, 12)
    assert orders.dtype == np.int64
    assert orders.tolist() == [row for epoch in epochs for row in permutation(7, epoch, 12)]
    request.getfixturevalue("no_core")
    assert permutations(7, epochs, 12).tolist() == orders.tolist()


def test_an_order_that_does_not_fit_into_memory_is_a_memory_error() -> None:
    with pytest.raises(MemoryError):
        permutation(0, 0, 2**45)


def test_memory_that_is_too_short_for_the_orders_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        permutations(0, range(3), 10, memory=np.empty(29, np.int64))


def test_orders_differ_by_seed_and_epoch() -> None:
    orders = {tuple(permutation(seed, epoch, 50).tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_every_row_is_as_likely_in_every_place() -> None:
    orders = np.array([permutation(0, epoch, 10) for epoch in range(4000)])
    counts = np.array([np.bincount(orders[:, place], minlength=10) for place in range(10)])
    assert np.abs(counts - 400).max() < 100  # 5 deviations of a binomial


@pytest.mark.parametrize("count", [3, 4, 5])
def test_every_order_of_a_few_rows_is_as_likely(count: int) -> None:
    orders = permutations(0, range(20_000), count).reshape(-1, count)
    _, found = np.unique(orders, axis=0, return_counts=True)
    expected = len(orders) / math.factorial(count)
    assert len(found) == math.factorial(count)
    assert ((found - expected) ** 2 / expected).sum() < len(found) + 5 * math.sqrt(2 * len(found))  # of a chi-squared


# 256 and 1024 are the sizes at which fewer rounds show first.
@pytest.mark.parametrize("count", [150, 256, 1000, 1024, 65_536, 200_000])
def test_rows_that_follow_each_other_have_nothing_to_do_with_each_other(count: int) -> None:
    epochs = 2_000_000 // count
    orders = permutations(3, range(epochs), count).reshape(epochs, count)
    for lag in (1, 2, 3, 16, 32, 64):
        distances = (orders[:, lag:] - orders[:, :-lag]) % count * 16 // count
        found = np.array([(distances == part).sum(axis=1) for part in range(16)])
        part_sizes = np.bincount(np.arange(1, count) * 16 // count)  # distance 0 does not come
        expected = (count - lag) * part_sizes[:, None] / (count - 1)
        assert np.abs(((found - expected) ** 2 / expected).sum(axis=0).mean() - 15) < 5 * math.sqrt(30 / epochs) + 0.3


def test_batches_of_a_sorted_table_are_as_mixed_as_chance_mixes_them() -> None:
    count, batch = 25_600, 32
    orders = permutations(4, range(50), count).reshape(50, -1, batch)
    variance = ((orders.mean(axis=2) - (count - 1) / 2) ** 2).mean()
    expected = (count**2 - 1) / 12 / batch * (count - batch) / (count - 1)
    assert abs(variance / expected - 1) < 5 * math.sqrt(2 / orders[..., 0].size)


def dealt(
    seed: int, validation: float, test: float, classes: Sequence[int], block: int = 1 << 62
) -> tuple[list[int], list[int], list[int]]:
    """The rows for training, validation and testing, whose classes are read in blocks of so many rows."""
    owners = np.array(classes, np.int32)
    starts = range(0, len(owners), block)
    division = divide(
        seed, validation, test, np.bincount(owners), lambda: (owners[start : start + block] for start in starts)
    )
    parts = np.concatenate([division.parts(start, owners[start : start + block]) for start in starts])
    for part in (TEST, VALIDATION, TRAINING):
        assert np.array_equal(division.sizes[part], np.bincount(owners[parts == part], minlength=max(classes) + 1))
    training, validating, testing = (np.flatnonzero(parts == part).tolist() for part in (TRAINING, VALIDATION, TEST))
    return training, validating, testing


def _rounded(fraction: float, count: int) -> int:
    size = int(fraction * count + 0.5)
    return max(size, 1) if fraction > 0 and count >= 3 else size


fractions = st.floats(0, 0.45)


blocks = st.sampled_from([1, 5, 64, 1000])


@given(st.integers(0, 2**63 - 1), fractions, fractions, st.integers(1, 400), blocks)
def test_sizes_of_parts_are_exact(seed: int, validation: float, test: float, count: int, block: int) -> None:
    parts = dealt(seed, validation, test, [0] * count, block)
    assert sorted(itertools.chain(*parts)) == list(range(count))
    wanted_test = min(_rounded(test, count), count - 1)
    assert len(parts[2]) == wanted_test
    assert len(parts[1]) == min(_rounded(validation, count), count - 1 - wanted_test)
    assert len(parts[0]) >= 1


@given(st.integers(0, 1000), fractions, fractions, st.lists(st.integers(0, 4), min_size=1, max_size=300), blocks)
@settings(max_examples=200)
def test_parts_are_balanced_and_every_class_keeps_a_training_row(
    seed: int, validation: float, test: float, labels: list[int], block: int
) -> None:
    parts = dealt(seed, validation, test, labels, block)
    assert sorted(itertools.chain(*parts)) == list(range(len(labels)))
    assert {labels[row] for row in parts[0]} == set(labels)
    spare = sum(labels.count(label) - 1 for label in set(labels))
    assert len(parts[2]) == min(_rounded(test, len(labels)), spare)
    assert len(parts[1]) == min(_rounded(validation, len(labels)), spare - len(parts[2]))


@given(st.integers(0, 1000), fractions, fractions, st.lists(st.integers(0, 2), min_size=1, max_size=300))
def test_the_rows_of_smallest_hash_are_tested_and_the_next_validated(
    seed: int, validation: float, test: float, labels: list[int]
) -> None:
    hashes = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=[0, 0, 0, 1]).random_raw(len(labels))
    training, validating, testing = dealt(seed, validation, test, labels, 7)
    for label in set(labels):
        of_class = sorted((row for row, own in enumerate(labels) if own == label), key=lambda row: int(hashes[row]))
        in_parts = [{row for row in part if labels[row] == label} for part in (testing, validating, training)]
        first, second = len(in_parts[0]), len(in_parts[0]) + len(in_parts[1])
        assert in_parts == [set(of_class[:first]), set(of_class[first:second]), set(of_class[second:])]


def test_large_classes_are_shared_out_in_proportion() -> None:
    classes = [0] * 700 + [1] * 290 + [2] * 10
    parts = dealt(1, 0.1, 0.2, classes)
    for rows, share in ((parts[2], 0.2), (parts[1], 0.1)):
        sizes = np.bincount([classes[row] for row in rows], minlength=3)
        assert np.abs(sizes - share * np.array([700, 290, 10])).max() <= 1


def test_parts_of_many_rows_are_found_from_the_few_near_their_ends() -> None:
    training, validating, testing = dealt(5, 0.1, 0.2, [0] * 300_000 + [1] * 50, 65_536)
    assert [len(training), len(validating), len(testing)] == [210_035, 30_005, 60_010]


def test_whether_a_row_is_tested_depends_on_seed_and_row_alone() -> None:
    tested = [set(dealt(seed, 0.0, 0.5, [0] * 1000)[2]) for seed in (0, 0, 1)]
    assert tested[0] == tested[1] != tested[2]
    more = set(dealt(0, 0.0, 0.5, [0] * 2000)[2])
    assert len(tested[0] & more) > 450  # the same hashes decide, at nearly the same threshold


def test_a_split_is_the_same_on_every_machine() -> None:
    assert dealt(7, 0.2, 0.2, [0] * 10) == SPLIT_7


def test_split_and_order_draw_from_different_streams() -> None:
    tested = dealt(0, 0.0, 0.5, [0] * 1000)[2]
    assert 150 < len(set(tested) & set(permutation(0, 0, 1000)[:500].tolist())) < 350


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0), (0.5, 0.5), (0, 1.0), (float("nan"), 0)])
def test_impossible_fractions_are_refused(validation: float, test: float) -> None:
    with pytest.raises(SettingError, match="below 1"):
        dealt(0, validation, test, [0] * 10)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_impossible_seeds_are_refused(seed: int) -> None:
    with pytest.raises(SettingError, match="seed"):
        permutation(seed, 0, 10)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_impossible_seeds_are_refused_without_a_core(seed: int, no_core: None) -> None:
    with pytest.raises(SettingError, match="seed"):
        permutation(seed, 0, 10)


@pytest.mark.parametrize("count", [1, 2])
def test_fault_17_one_or_two_rows_are_all_for_training(count: int) -> None:
    assert len(dealt(0, 0.1, 0.1, [0] * count)[0]) == count
