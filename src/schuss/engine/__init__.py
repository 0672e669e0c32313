"""Who does the arithmetic."""

import warnings

from schuss.descent.optimizers import RULES, Optimizer
from schuss.engine.protocol import Cost, Engine
from schuss.engine.reference import ReferenceEngine
from schuss.errors import EngineError, SettingError
from schuss.losses import LOSSES
from schuss.network import Network
from schuss.settings import PRECISIONS

ENGINES = ("auto", "native", "reference")


def make_engine(
    network: Network,
    cost: Cost,
    optimizer: Optimizer,
    engine: str = "auto",
    *,
    seed: int = 0,
    threads: int | None = None,
    precision: str = "float32",
) -> Engine:
    """An engine for one (network, cost, optimiser).

    Arguments:
        network: the function (W, x) -> output.
        cost: what a step makes smaller.
        optimizer: the rule for the step.
        engine: "native", "reference" (NumPy, float64), or "auto": native, and where the native core cannot be loaded,
            one warning and the reference. With a loss or a rule that a person wrote, native is stepwise: slower.
        seed: of the masks of dropout, 0 ≤ seed < 2**63.
        threads: at most; None for all that the process may use. How many are worth it is measured; W does not depend
            on it.
        precision: of the native engine: "float32", or "bf16" for products of bf16 numbers with sums and W in float32.
            "float64" is the reference, which computes in float64 whatever is asked. "auto" is "float32" here: only a
            trial can tell whether "bf16" will do (see engine_by_trial).

    Raises:
        EngineError: the native engine, or bf16, was asked for and cannot be used here.
        SettingError: there is no engine or precision of that name, or the seed is out of range.
    """
    if engine not in ENGINES:
        raise SettingError(f"There is no engine {engine!r}: choose one of {', '.join(ENGINES)}.")
    if precision not in PRECISIONS:
        raise SettingError(f"There is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}.")
    if not 0 <= seed < 2**63:
        raise SettingError(f"The seed is {seed}: give a whole number from 0 to 2**63 - 1.")
    if (engine, precision) in (("native", "float64"), ("reference", "bf16")):
        raise EngineError(f"The {engine} engine does not compute in {precision}: leave the engine at auto.")
    needs_core = engine == "native" or precision == "bf16"
    if engine == "reference" or precision == "float64":
        return ReferenceEngine(network, cost, optimizer, seed=seed)
    try:
        from schuss.engine.native import NativeEngine  # the one part that needs a compiler
        from schuss.engine.stepwise import StepwiseEngine
    except ImportError as error:
        if needs_core:
            raise EngineError(f"The native core cannot be loaded ({error}): build it, or use the reference.") from error
        _warn_once(str(error))
        return ReferenceEngine(network, cost, optimizer, seed=seed)
    kind = StepwiseEngine if own_code(cost, optimizer) else NativeEngine
    products = "bf16" if precision == "bf16" else "float32"
    return kind(network, cost, optimizer, seed=seed, threads=threads, precision=products)


def own_code(cost: Cost, optimizer: Optimizer) -> tuple[str, ...]:
    """What a person wrote, or derived from ours, and Python calls at every step: () for nothing."""
    loss = f"loss {getattr(cost.loss, 'title', type(cost.loss).__name__)}"
    own = {loss: type(cost.loss) not in LOSSES.values(), f"optimiser {optimizer.title}": type(optimizer) not in _OURS}
    return tuple(name for name, is_own in own.items() if is_own)


_OURS = tuple(RULES.values())


_warned: list[str] = []  # reasons that were already given in this process


def _warn_once(reason: str) -> None:
    if not _warned:
        _warned.append(reason)
        warnings.warn(
            f"The native core cannot be loaded ({reason}): going on with the NumPy engine, which is much slower.",
            RuntimeWarning,
            stacklevel=3,
        )
