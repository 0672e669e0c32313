"""When training ends, and how its end is called."""

from enum import Enum


class Outcome(Enum):
    """How a training ended; the value says so in words and what could be done next."""

    COMPLETED = "all epochs done"
    CONVERGED = "converged: the gradient is 0 as far as it can be told"
    EARLY_STOPPED = "stopped early: the validation loss no longer improved"
    OUT_OF_TIME = "stopped by the time budget: give more seconds to go on"
    INTERRUPTED = "interrupted: the best W so far was kept"
    DIVERGED = "diverged: the loss exploded or became undefined. Try a learning rate ten times smaller"

    @property
    def advice(self) -> str:
        """The sentence for a person."""
        return self.value
