"""schuss trains neural networks on tables: a straight run downhill at full speed.

Names are loaded when they are first used, so that ``import schuss`` itself costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schuss.arrays import Rows as Rows
    from schuss.descent import (
        EMA as EMA,
        SWA as SWA,
        Adagrad as Adagrad,
        Adam as Adam,
        AdamW as AdamW,
        Constant as Constant,
        Cosine as Cosine,
        GradientDescent as GradientDescent,
        Lion as Lion,
        Momentum as Momentum,
        NAdam as NAdam,
        Nesterov as Nesterov,
        Optimizer as Optimizer,
        RMSprop as RMSprop,
    )
    from schuss.errors import SchussError as SchussError
    from schuss.estimators import SchussClassifier as SchussClassifier, SchussRegressor as SchussRegressor
    from schuss.job import train as train, update as update
    from schuss.model import Model as Model
    from schuss.network import Network as Network
    from schuss.objective import Objective as Objective
    from schuss.own import OwnLoss as OwnLoss, TorchLoss as TorchLoss
    from schuss.table.delimited import TableFormat as TableFormat

__version__ = "0.1.0"

_HOMES = {
    "Rows": "arrays",
    "SchussError": "errors",
    "SchussClassifier": "estimators",
    "SchussRegressor": "estimators",
    "train": "job",
    "update": "job",
    "Model": "model",
    "Network": "network",
    "Objective": "objective",
    "OwnLoss": "own",
    "TorchLoss": "own",
    "TableFormat": "table.source",
} | dict.fromkeys(
    (
        *("Adagrad", "Adam", "AdamW", "GradientDescent", "Lion", "Momentum", "NAdam", "Nesterov", "Optimizer"),
        *("RMSprop", "Constant", "Cosine", "EMA", "SWA"),
    ),
    "descent",
)
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'schuss' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"schuss.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
