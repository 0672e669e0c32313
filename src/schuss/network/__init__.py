"""The function (W, x) -> output."""

from schuss.network.network import Network as Network
