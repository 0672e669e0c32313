"""What a person may ask of a training while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

ACTIONS = ("pause", "resume", "stop", "abandon", "learning_rate")


@dataclass(frozen=True)
class Command:
    """Pause, resume, stop (and keep what is best), abandon (and keep nothing), or a new learning rate.

    action: one of ACTIONS. value: the learning rate, above 0, which the schedule goes on to multiply. id: whose it is,
    for the answer.
    """

    action: str
    value: float | None = None
    id: str = ""


class Control(Protocol):
    """Asked between chunks of steps."""

    def commands(self) -> Sequence[Command]:
        """What has been asked since the last call."""

    def wants_state(self) -> bool:
        """Whether the state is to be told now, so that it can be put down somewhere."""


class NoControl:
    """Nobody asks."""

    def commands(self) -> Sequence[Command]:
        """None."""
        return ()

    def wants_state(self) -> bool:
        """Never."""
        return False
