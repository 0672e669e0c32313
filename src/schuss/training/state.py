"""TrainingState: where a training stands, as one value."""

import math
from dataclasses import dataclass

from schuss.arrays import Vector
from schuss.engine.protocol import EngineState


@dataclass(frozen=True, eq=False)
class TrainingState:
    """All that tells one moment of a training from another.

    engine:     W, the optimiser's vectors, steps taken.
    epoch:      epochs finished.
    best_W:     W of the least validation loss so far, None before the first validation.
    best_loss:  that loss.
    best_epoch: the epoch after which it was seen; 0 for none.
    seconds:    time spent in training so far.
    """

    engine: EngineState
    epoch: int = 0
    best_W: Vector | None = None
    best_loss: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0

    @property
    def W(self) -> Vector:
        """The W to keep: the best on the validation rows, the last one or its average where there are none."""
        return self.engine.kept if self.best_W is None else self.best_W
