"""Dropout masks: which units a training step keeps, a pure function of (seed, step, layer, row, unit).

The random numbers come from Philox4x32-10, a generator without state: a step that is taken again, after whatever stop,
finds the same masks, and nobody has to draw them in a certain order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schuss.arrays import Mask

_LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class Draw:
    """Where in a training a mask belongs.

    seed:      of the training, 0 ≤ seed < 2**63.
    step:      steps taken before this one.
    first_row: position, in its batch, of the first row of a mask.
    """

    seed: int
    step: int
    first_row: int = 0

    def kept(self, layer: int, rows: int, units: int, threshold: int) -> Mask:
        """Which units are kept, each with probability 1 − threshold / 65536.

        A call of Philox gives eight numbers of 16 bits: for four rows that follow one another, and for a unit and the
        one 16 further on. A unit is kept where its number is at least the threshold.

            key     = low and high 32 bits of the seed
            counter = (unit // 32 · 16 + unit % 16, row // 4, layer, low 32 bits of step)
            number  = low half of word (row % 4) where unit % 32 < 16, else its high half

        Arguments:
            layer: which dropout layer of the network, counted from 0.
            rows: how many, from first_row on.
            units: width of the layer.
            threshold: from 0, which keeps all, to 65535.

        Returns:
            [rows, units].
        """
        fours = np.arange(self.first_row // 4, -(-(self.first_row + rows) // 4), dtype=np.uint64)
        groups = -(-units // 32)
        counter = np.arange(16 * groups, dtype=np.uint64), fours[:, np.newaxis], np.uint64(layer), np.uint64(self.step)
        words = philox4x32(counter, (self.seed & _LOW, self.seed >> 32))
        halves = np.stack([words & 0xFFFF, words >> 16]).reshape(2, 4, len(fours), groups, 16)
        numbers = halves.transpose(2, 1, 3, 0, 4).reshape(4 * len(fours), 32 * groups)
        start = self.first_row % 4
        return np.asarray(numbers[start : start + rows, :units] >= threshold)


def philox4x32(counter: tuple[NDArray[np.uint64] | np.uint64, ...], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Philox4x32-10 (Salmon et al. 2011, section 3.3): four words of 32 bits that look random for each counter.

    Arguments:
        counter: four arrays that broadcast to one shape; of each number the low 32 bits count.
        key: two numbers below 2**32.

    Returns:
        [4, …] the words.
    """
    a, b, c, d = np.broadcast_arrays(*(np.asarray(word) & _LOW for word in counter))
    key0, key1 = key
    for _ in range(10):
        left, right = a * 0xD2511F53, c * 0xCD9E8D57  # 64 bits each
        a, b, c, d = (right >> 32) ^ b ^ key0, right & _LOW, (left >> 32) ^ d ^ key1, left & _LOW
        key0, key1 = (key0 + 0x9E3779B9) & _LOW, (key1 + 0xBB67AE85) & _LOW
    return np.stack([a, b, c, d]).astype(np.uint32)
