"""Dropout masks: published numbers, the rule written out for single units, and that nothing in them hangs together."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from schuss.network.layers import DropoutLayer
from schuss.network.masks import Draw, philox4x32

HALF = 32768
LOW = 0xFFFFFFFF


# Random123 1.14, tests/kat_vectors, philox4x32 with 10 rounds
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_numbers(counter: str, key: str, words: str) -> None:
    first, second = (int(word, 16) for word in key.split())
    found = philox4x32(tuple(np.uint64(int(word, 16)) for word in counter.split()), (first, second))
    assert " ".join(f"{word:08x}" for word in found) == words


def number_of(seed: int, step: int, layer: int, row: int, unit: int) -> int:
    """The 16 bits of one unit, with Python's own whole numbers."""
    a, b, c, d = (unit // 32) * 16 + unit % 16, row // 4, layer, step & LOW
    key0, key1 = seed & LOW, seed >> 32
    for _ in range(10):
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = right >> 32 ^ b ^ key0, right & LOW, left >> 32 ^ d ^ key1, left & LOW
        key0, key1 = key0 + 0x9E3779B9 & LOW, key1 + 0xBB67AE85 & LOW
    word = (a, b, c, d)[row % 4]
    return word & 0xFFFF if unit % 32 < 16 else word >> 16


@given(
    seed=st.integers(0, 2**63 - 1),
    step=st.integers(0, 2**40),
    layer=st.integers(0, 100),
    first_row=st.integers(0, 10_000),
    rows=st.integers(1, 9),
    units=st.integers(1, 70),
    threshold=st.integers(0, 65535),
)
def test_masks_follow_the_rule_unit_by_unit(
    seed: int, step: int, layer: int, first_row: int, rows: int, units: int, threshold: int
) -> None:
    expected = [
        [number_of(seed, step, layer, first_row + row, unit) >= threshold for unit in range(units)]
        for row in range(rows)
    ]
    assert Draw(seed, step, first_row).kept(layer, rows, units, threshold).tolist() == expected


def test_a_unit_whose_number_is_the_threshold_is_kept() -> None:
    number = number_of(seed=4, step=5, layer=1, row=6, unit=37)
    assert Draw(4, 5).kept(1, 7, 38, number)[6, 37]
    assert not Draw(4, 5).kept(1, 7, 38, number + 1)[6, 37]


def test_a_row_has_the_same_mask_whatever_rows_and_units_are_asked_for() -> None:
    whole = Draw(1, 2).kept(0, 100, 77, HALF)
    for first in (0, 1, 3, 4, 50):
        np.testing.assert_array_equal(Draw(1, 2, first).kept(0, 20, 40, HALF), whole[first : first + 20, :40])


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_the_share_of_units_that_is_0_is_the_probability(probability: float) -> None:
    rows, units = 1000, 1000
    layer = DropoutLayer("dropout1", units, probability, 0)
    output, _ = layer.forward(np.zeros(0), np.ones((rows, units)), Draw(seed=5, step=3))
    # five standard deviations of a mean of so many independent numbers, and what the threshold rounds
    assert abs((output == 0).mean() - probability) < 5 * np.sqrt(probability * (1 - probability) / output.size) + 1e-5
    variance = probability / (1 - probability)
    assert abs(output.mean() - 1) < 5 * np.sqrt(variance / output.size)
    assert output.var() == pytest.approx(variance, rel=0.2)
    # sums over a row, and over a unit, vary as sums of independent numbers do
    for axis in (0, 1):
        assert output.sum(axis=axis).var() == pytest.approx(1000 * variance, rel=0.3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Draw(0, 0).kept(0, 256, 256, HALF), Draw(0, 1).kept(0, 256, 256, HALF)),
        (Draw(0, 0).kept(0, 256, 256, HALF), Draw(1, 0).kept(0, 256, 256, HALF)),
        (Draw(0, 0).kept(0, 256, 256, HALF), Draw(2**32, 0).kept(0, 256, 256, HALF)),
        (Draw(0, 0).kept(0, 256, 256, HALF), Draw(0, 0).kept(1, 256, 256, HALF)),
        (Draw(0, 0).kept(0, 256, 256, HALF), Draw(0, 0, 256).kept(0, 256, 256, HALF)),
        *(
            (Draw(0, 0).kept(0, 256, 256, HALF), np.roll(Draw(0, 0).kept(0, 256, 256, HALF), shift, axis))
            for shift in (1, 2, 4, 16, 32)
            for axis in (0, 1)
        ),
    ],
    ids=[
        "step",
        "seed",
        "high half of the seed",
        "layer",
        "rows",
        *(f"{a} {n}" for n in (1, 2, 4, 16, 32) for a in "ru"),
    ],
)
def test_masks_of_other_steps_seeds_layers_rows_and_units_do_not_hang_together(
    one: np.ndarray, other: np.ndarray
) -> None:
    assert abs((one == other).mean() - 0.5) < 5 * 0.5 / np.sqrt(one.size)


def test_a_step_counts_up_to_its_low_32_bits() -> None:
    np.testing.assert_array_equal(Draw(0, 7).kept(0, 8, 8, HALF), Draw(0, 2**32 + 7).kept(0, 8, 8, HALF))


def test_the_threshold_is_the_probability_in_65536ths_and_never_all_of_them() -> None:
    thresholds = [DropoutLayer("", 1, probability, 0).threshold for probability in (1e-9, 0.5, 0.25, 0.1, 1 - 1e-9)]
    assert thresholds == [0, 32768, 16384, 6554, 65535]
    assert Draw(0, 0).kept(0, 50, 50, 0).all()


def test_what_is_dropped_is_0_whatever_it_was_and_goes_back_as_0() -> None:
    layer, draw = DropoutLayer("dropout1", 64, 0.5, 0), Draw(1, 1)
    kept = draw.kept(0, 16, 64, HALF)
    x = np.where(kept, 3.0, np.inf)
    output, backward = layer.forward(np.zeros(0), x, draw)
    np.testing.assert_array_equal(output, np.where(kept, 6.0, 0.0))
    np.testing.assert_array_equal(backward(np.full((16, 64), 5.0), np.zeros(0)), np.where(kept, 10.0, 0.0))


def test_nothing_is_dropped_outside_of_training() -> None:
    x = np.random.default_rng(0).normal(size=(4, 8))
    output, backward = DropoutLayer("dropout1", 8, 0.9, 0).forward(np.zeros(0), x)
    assert output is x
    assert backward(x, np.zeros(0)) is x
