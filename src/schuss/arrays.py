"""Array types, and Rows: encoded rows as every engine takes them.

Letters of shapes, here and everywhere:

    N  rows             B  rows of a batch     F  numeric features      C  categorical columns
    H  width of a layer K  outputs             T  columns of the target P  parameters: the length of W
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schuss.errors import DataError

Floats: TypeAlias = NDArray[np.floating[Any]]  # float32 or float64
Vector: TypeAlias = Floats  # one axis
Matrix: TypeAlias = Floats  # two axes
Outputs: TypeAlias = Floats  # [epochs, N, K]
Codes: TypeAlias = NDArray[np.int32]  # [N, C]; -1 stands for "no level"
RowIndex: TypeAlias = NDArray[np.int64]  # [N]
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Rows:
    """Encoded rows.

    features: [N, F] float32 as the encoding makes them; float64 is kept when the caller's arrays were float64.
    codes:    [N, C] int32, the level of each categorical column, -1 for none.
    targets:  [N, T]; numbers (T = K), 0/1 (T = 1) or the class number (T = 1).
    weights:  [N], or None when every row counts once.
    offset:   [N] added to output 0 before the link, or None.
    """

    features: Matrix
    codes: Codes
    targets: Matrix
    weights: Vector | None = None
    offset: Vector | None = None

    @classmethod
    def from_arrays(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        weight: ArrayLike | None = None,
        codes: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> "Rows":
        """Rows made by hand from plain arrays; float32 stays float32, all else becomes float64.

        Arguments:
            X: numeric features, [N, F] or [N] for a single feature; finite.
            y: targets, [N, T] or [N]; numbers, 0/1, or class numbers from 0.
            weight: [N], at least 0 and not all 0; None counts every row once.
            codes: levels of categorical columns, [N, C] whole numbers, -1 for none.
            offset: added to output 0 before the link, [N].

        Raises:
            DataError: the lengths differ, there is no row, or a value is not finite or out of range.

        >>> Rows.from_arrays([[1.0], [2.0]], [3.0, 4.0]).targets.shape
        (2, 1)
        """
        features = _matrix(X, "X")
        targets = _matrix(y, "y")
        count = len(targets)
        levels = np.zeros((count, 0), np.int32) if codes is None else np.ascontiguousarray(codes, np.int32)
        if count == 0:
            raise DataError("There are no rows: give at least one.")
        if len(features) != count or levels.ndim != 2 or len(levels) != count:
            raise DataError(f"X has {len(features):,} rows, codes {levels.shape}, y {count:,}: they must be as many.")
        if offset is not None and np.shape(offset) != (count,):
            raise DataError(f"The offset has shape {np.shape(offset)}: ({count},) is expected, one for each row.")
        weights = None if weight is None else _weights(weight, count)
        return cls(features, levels, targets, weights, None if offset is None else _matrix(offset, "offset")[:, 0])

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def total_weight(self) -> float:
        """Σ w_i, the number of rows where no weights were given."""
        return float(len(self)) if self.weights is None else float(self.weights.sum(dtype=np.float64))

    def take(self, index: RowIndex) -> "Rows":
        """Copies of the rows at these positions, in this order."""
        return _part(self, index)

    def slice(self, start: int, stop: int) -> "Rows":
        """Views of the rows from start up to stop."""
        return _part(self, slice(start, stop))

    def batches(self, size: int) -> Iterator["Rows"]:
        """Views of `size` rows after one another; the last may be shorter."""
        for start in range(0, len(self), size):
            yield self.slice(start, start + size)


def _part(rows: Rows, where: RowIndex | slice) -> Rows:
    """The rows there."""
    weights = None if rows.weights is None else rows.weights[where]
    offset = None if rows.offset is None else rows.offset[where]
    return Rows(rows.features[where], rows.codes[where], rows.targets[where], weights, offset)


def _matrix(values: ArrayLike, name: str) -> Matrix:
    """[N, …] finite floats, C-contiguous; a vector becomes one column."""
    array: NDArray[Any] = np.asarray(values)
    if array.dtype != np.float32:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{name} holds values that are no numbers ({error}).") from None
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2:
        raise DataError(f"{name} has {array.ndim} axes: one or two are expected.")
    finite = np.isfinite(array)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        raise DataError(f"{name} holds {array[row, column]} in row {row}, column {column}: use finite numbers only.")
    return np.ascontiguousarray(array)


def _weights(values: ArrayLike, count: int) -> Vector:
    """[N] finite float64, none negative, not all zero."""
    weights = np.ascontiguousarray(values, np.float64)
    if weights.shape != (count,):
        raise DataError(f"The weights have shape {weights.shape}: ({count},) is expected, one for each row.")
    if not np.isfinite(weights).all() or (weights < 0).any() or not (weights > 0).any():
        raise DataError("Weights must be finite, none negative, and at least one above zero.")
    return weights
