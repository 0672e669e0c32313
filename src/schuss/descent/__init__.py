"""The rules for the step."""

from schuss.descent.averaging import EMA as EMA, SWA as SWA, Averaging as Averaging
from schuss.descent.optimizers import (
    LBFGS as LBFGS,
    Adagrad as Adagrad,
    Adam as Adam,
    AdamW as AdamW,
    GradientDescent as GradientDescent,
    Lion as Lion,
    Momentum as Momentum,
    NAdam as NAdam,
    Nesterov as Nesterov,
    Optimizer as Optimizer,
    RMSprop as RMSprop,
)
from schuss.descent.schedules import (
    Constant as Constant,
    Cosine as Cosine,
    Coslog4 as Coslog4,
    Exponential as Exponential,
    OneCycle as OneCycle,
    Plateau as Plateau,
    Polynomial as Polynomial,
    Schedule as Schedule,
    Step as Step,
)
