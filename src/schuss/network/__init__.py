"""The function (W, x) -> output."""

from schuss.network.network import Network as Network
from schuss.network.specifications import (
    Dense as Dense,
    Dropout as Dropout,
    LayerNorm as LayerNorm,
    Residual as Residual,
)
