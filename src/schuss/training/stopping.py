"""When training ends, and how its end is called."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """How a training ended; the value says so in words and what could be done next."""

    COMPLETED = "all epochs done"
    STEPS_DONE = "all steps done"
    REACHED = "stopped: the score that was asked for is reached"
    CONVERGED = "converged: the gradient is 0 as far as it can be told"
    EARLY_STOPPED = "stopped early: the validation score no longer improved"
    OUT_OF_TIME = "stopped by the time budget: give more seconds to go on"
    STOPPED = "stopped by you: the best W so far was kept"
    ABANDONED = "abandoned by you: nothing was kept"
    INTERRUPTED = "interrupted: the best W so far was kept"
    DIVERGED = (
        "diverged: the loss exploded or became undefined. Try a much smaller learning rate: find-rate suggests one"
    )

    @property
    def is_final(self) -> bool:
        """Whether the training came to its own end, so that there is nothing left to go on with."""
        return self not in (Outcome.OUT_OF_TIME, Outcome.STOPPED, Outcome.INTERRUPTED)

    @property
    def advice(self) -> str:
        """The sentence for a person."""
        return self.value


@dataclass(frozen=True)
class Goal:
    """Which validation score decides which W is best and when to stop.

    metric: its name; greater: whether more of it is better.
    improvement: by how much a score must be better than the last marked one, for patience.
    patience: epochs without that after which to stop, None for never.
    target: the score at which to stop, of the training rows where there are no others; None for none.
    """

    metric: str = "loss"
    greater: bool = False
    improvement: float = 0.0
    patience: int | None = None
    target: float | None = None

    def score(self, scores: Mapping[str, float]) -> float:
        """The one that decides; NaN where it is not there."""
        return scores.get(self.metric, math.nan)

    def is_better(self, score: float, than: float | None, by: float = 0.0) -> bool:
        """Whether a score is better than another by more than that; a number is better than none, NaN never."""
        if than is None or math.isnan(than):
            return not math.isnan(score)
        return score > than + by if self.greater else score < than - by

    def is_reached(self, score: float) -> bool:
        """Whether a score is as good as the target."""
        return self.target is not None and (score >= self.target if self.greater else score <= self.target)
