from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_Float32 = NDArray[np.float32]
_Float64 = NDArray[np.float64]
# Features, codes, targets; weights and offsets, or empty arrays.
_Rows = tuple[_Float32, NDArray[np.int32], _Float32, _Float32, _Float32]

def isa() -> str: ...
def available_isas() -> list[str]: ...
def has_bf16() -> bool: ...
def permutations(
    seed: int, first_epoch: int, epochs: int, count: int, memory: NDArray[np.int64], part: int = 0
) -> None: ...
def read_numbers(
    text: bytearray,
    separator: str,
    places: Sequence[int],
    missing: Sequence[str],
    values: NDArray[np.int64],
    present: NDArray[np.uint8],
    /,
) -> tuple[int, list[int], list[int]]: ...
def write_features(
    columns: Sequence[tuple[_Float64, float, float, bool, _Float64, _Float64]],
    rows: NDArray[np.int64],
    to: _Float32,
    /,
) -> bool: ...

class Engine:
    def __init__(
        self,
        *,
        layers: Sequence[tuple[str, int, int, int, str, float]],  # kind, inputs, outputs, start, activation, number
        parameters: int,
        features: int,
        levels: Sequence[int],
        widths: Sequence[int],
        knot_counts: Sequence[int],
        knots: Sequence[float],
        knot_width: int,
        targets: int,
        loss: str,
        loss_numbers: Sequence[float],
        l1: float,
        l2: float,
        mean_weight: float,
        optimizer: str,
        constants: Sequence[tuple[str, float]],
        weight_decay: float,
        clip_value: float = 0.0,
        clip_norm: float = 0.0,
        seed: int = 0,
        threads: int = 0,
        settle: bool = True,
        precision: str = "float32",
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    def load(self, W: _Float32, vectors: _Float32, average: _Float32, step: int, /) -> None: ...
    def state(self, W: _Float32, vectors: _Float32, average: _Float32, /) -> int: ...
    def train(
        self,
        rows: _Rows,
        order: NDArray[np.int64],
        epochs: int,
        batch_size: int,
        rates: _Float64,  # learning rates, average rates if any
        losses: _Float64,
        /,
    ) -> None: ...
    def train_watched(
        self,
        rows: _Rows,
        order: NDArray[np.int64],
        epochs: int,
        batch_size: int,
        rates: _Float64,
        losses: _Float64,
        watched: _Rows,
        path: _Float32,
        outputs: _Float32,
        /,
    ) -> None: ...
    def gradient(self, W: _Float32, rows: _Rows, step: int, gradient: _Float64, /) -> float: ...
    def total_loss(self, W: _Float32, rows: _Rows, /) -> float: ...
    def outputs(self, W: _Float32, rows: _Rows, step: int, outputs: _Float32, /) -> None: ...
