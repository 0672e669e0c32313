"""schuss trains neural networks on tables: a straight run downhill at full speed.

Names are loaded when they are first used, so that ``import schuss`` itself costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schuss.arrays import Rows as Rows
    from schuss.cross_validation import CrossValidation as CrossValidation, cross_validate as cross_validate
    from schuss.descent import (
        EMA as EMA,
        LBFGS as LBFGS,
        SWA as SWA,
        Adagrad as Adagrad,
        Adam as Adam,
        AdamW as AdamW,
        Constant as Constant,
        Cosine as Cosine,
        Coslog4 as Coslog4,
        Exponential as Exponential,
        GradientDescent as GradientDescent,
        Lion as Lion,
        Momentum as Momentum,
        NAdam as NAdam,
        Nesterov as Nesterov,
        OneCycle as OneCycle,
        Optimizer as Optimizer,
        Plateau as Plateau,
        Polynomial as Polynomial,
        RMSprop as RMSprop,
        Step as Step,
    )
    from schuss.errors import SchussError as SchussError
    from schuss.estimators import SchussClassifier as SchussClassifier, SchussRegressor as SchussRegressor
    from schuss.job import train as train, update as update
    from schuss.metrics import Metric as Metric
    from schuss.model import Model as Model
    from schuss.network import (
        Dense as Dense,
        Dropout as Dropout,
        LayerNorm as LayerNorm,
        Network as Network,
        Residual as Residual,
    )
    from schuss.objective import Objective as Objective
    from schuss.own import OwnLoss as OwnLoss, TorchLoss as TorchLoss
    from schuss.table.delimited import TableFormat as TableFormat
    from schuss.tuning.trials import Trial as Trial, Tuning as Tuning
    from schuss.tuning.tuning import tune as tune
    from schuss.view.comparison import compare as compare
    from schuss.view.rates import find_learning_rate as find_learning_rate

__version__ = "0.1.0"

_HOMES = (
    {
        "Rows": "arrays",
        "SchussError": "errors",
        "SchussClassifier": "estimators",
        "SchussRegressor": "estimators",
        "train": "job",
        "update": "job",
        "CrossValidation": "cross_validation",
        "cross_validate": "cross_validation",
        "Metric": "metrics",
        "Model": "model",
        "Objective": "objective",
        "OwnLoss": "own",
        "TorchLoss": "own",
        "TableFormat": "table.source",
        "Trial": "tuning.trials",
        "Tuning": "tuning.trials",
        "tune": "tuning.tuning",
        "compare": "view.comparison",
        "find_learning_rate": "view.rates",
    }
    | dict.fromkeys(("Dense", "Dropout", "LayerNorm", "Network", "Residual"), "network")
    | dict.fromkeys(
        (
            *("Adagrad", "Adam", "AdamW", "GradientDescent", "LBFGS", "Lion", "Momentum", "NAdam", "Nesterov"),
            *("Optimizer", "RMSprop", "EMA", "SWA"),
            *("Constant", "Coslog4", "Cosine", "Exponential", "OneCycle", "Plateau", "Polynomial", "Step"),
        ),
        "descent",
    )
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
