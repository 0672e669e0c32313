"""The sample is the same however rows are cut, and every row has the same chance of it."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, strategies as st

from schuss.arrays import RowIndex
from schuss.table.sample import SAMPLE_ROWS, Sample


def sampled(sizes: Sequence[int]) -> RowIndex:
    """The row numbers in each place after blocks of these sizes."""
    sample, start = Sample(), 0
    found = np.full(SAMPLE_ROWS, -1)
    for size in sizes:
        rows, places = sample.next(size)
        found[places] = np.arange(start, start + size)[rows]
        start += size
    assert sample.seen == start
    return found


@given(st.lists(st.integers(0, 3 * SAMPLE_ROWS), min_size=1, max_size=6))
def test_rows_cut_in_any_way_give_the_same_sample(sizes: list[int]) -> None:
    assert (sampled(sizes) == sampled([sum(sizes)])).all()


def test_few_rows_are_all_in_the_sample() -> None:
    assert sampled([3, SAMPLE_ROWS - 3]).tolist() == list(range(SAMPLE_ROWS))
    assert sampled([5])[:6].tolist() == [0, 1, 2, 3, 4, -1]


def test_a_sample_takes_as_many_from_every_part_of_the_table() -> None:
    count, parts = 2_000_000, 16
    found = sampled([count])
    assert len(np.unique(found)) == SAMPLE_ROWS
    of_part = np.bincount(found * parts // count, minlength=parts)
    expected = SAMPLE_ROWS / parts
    assert np.square(of_part - expected).sum() / expected < 40  # χ² of 15 degrees: once in two thousand
    assert np.ptp(np.bincount(found % 4)) < 0.15 * SAMPLE_ROWS / 4
