"""TrainingState: where a training stands, as one value."""

from dataclasses import dataclass
from typing import Self

from schuss.arrays import Vector
from schuss.engine.protocol import EngineState
from schuss.training.stopping import Outcome


@dataclass(frozen=True, eq=False)
class TrainingState:
    """All that tells one moment of a training from another: who goes on from it reaches the same W, bit for bit.

    engine:     W, the optimiser's vectors, steps taken.
    epoch:      epochs finished. batch: batches of the running one that are done; sum: of their losses, each times the
        rows of its batch.
    best_W:     W of the best score so far, None before the first validation.
    best_score: that score. best_epoch: the epoch after which it was seen; 0 for none.
    marked_score, marked_epoch: the last that was better by more than the least improvement, for patience.
    seconds:    time spent in training so far.
    share:      of the learning rate of the plan: less after a divergence, other after a command.
    tries:      divergences so far.
    history:    validation losses of all epochs, where the schedule looks at them.
    outcome:    how the training ended, if it has come to its own end.
    before:     the state to go back to when the loss explodes; None for the start of the running epoch.
    """

    engine: EngineState
    epoch: int = 0
    batch: int = 0
    sum: float = 0.0
    best_W: Vector | None = None
    best_score: float | None = None
    best_epoch: int = 0
    marked_score: float | None = None
    marked_epoch: int = 0
    seconds: float = 0.0
    share: float = 1.0
    tries: int = 0
    history: tuple[float, ...] = ()
    outcome: Outcome | None = None
    before: Self | None = None

    @property
    def W(self) -> Vector:
        """The W to keep: the best on the validation rows, the last one or its average where there are none."""
        return self.engine.kept if self.best_W is None else self.best_W
