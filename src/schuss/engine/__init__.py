"""Who does the arithmetic."""

import warnings

from schuss.descent.optimizers import OPTIMIZERS, Optimizer
from schuss.engine.protocol import Cost, Engine
from schuss.engine.reference import ReferenceEngine
from schuss.errors import EngineError, SettingError
from schuss.losses import LOSSES
from schuss.network import Network

ENGINES = ("auto", "native", "reference")


def make_engine(network: Network, cost: Cost, optimizer: Optimizer, engine: str = "auto") -> Engine:
    """An engine for one (network, cost, optimiser).

    Arguments:
        network: the function (W, x) -> output.
        cost: what a step makes smaller.
        optimizer: the rule for the step.
        engine: "native", "reference" (NumPy, float64), or "auto": native where it can do this, and where the native
            core cannot be loaded, one warning and the reference.

    Raises:
        EngineError: the native engine was asked for and cannot be used here.
        SettingError: there is no engine of that name.
    """
    if engine not in ENGINES:
        raise SettingError(f"There is no engine {engine!r}: choose one of {', '.join(ENGINES)}.")
    if engine == "reference" or (engine == "auto" and not _is_ours(cost, optimizer)):
        return ReferenceEngine(network, cost, optimizer)
    try:
        from schuss.engine.native import NativeEngine  # the one part that needs a compiler
    except ImportError as error:
        if engine == "native":
            raise EngineError(f"The native core cannot be loaded ({error}): build it, or use the reference.") from error
        _warn_once(str(error))
        return ReferenceEngine(network, cost, optimizer)
    if not _is_ours(cost, optimizer):
        raise EngineError(
            f"The native engine knows only schuss's own losses and optimisers, not {type(cost.loss).__name__} with "
            f"{type(optimizer).__name__}: use the reference."
        )
    return NativeEngine(network, cost, optimizer)


def _is_ours(cost: Cost, optimizer: Optimizer) -> bool:
    """Neither the loss nor the rule was written, or derived from ours, by the user."""
    return type(optimizer) in OPTIMIZERS.values() and type(cost.loss) in map(type, LOSSES.values())


_warned: list[str] = []  # reasons that were already given in this process


def _warn_once(reason: str) -> None:
    if not _warned:
        _warned.append(reason)
        warnings.warn(
            f"The native core cannot be loaded ({reason}): going on with the NumPy engine, which is much slower.",
            RuntimeWarning,
            stacklevel=3,
        )
