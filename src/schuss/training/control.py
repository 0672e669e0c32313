"""What a person may ask of a training while it runs."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from schuss.training.events import Event, Reached, Steered
from schuss.training.pace import Clock
from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome

_PAUSE_SECONDS = 0.05  # between two looks at commands in a pause
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


def obeyed(
    control: Control,
    interrupted: Callable[[], bool],
    clock: Clock,
    step: int,
    tries: int,
    now: Callable[[], TrainingState],
    has_rate: bool = True,
) -> Generator[Event, None, tuple[Outcome | None, float | None]]:
    """Obeys what is asked after `step` steps; why to end, and a new learning rate, where there is such a thing.

    Arguments:
        clock: stands still in a pause. now: gives the state. has_rate: whether there is a learning rate to change.
    """
    paused, told, rate = False, False, None
    while True:
        for command in control.commands():
            refused = command.action == "learning_rate" and not has_rate
            yield Steered(step, "refused" if refused else command.action, command.value, command.id, tries)
            if command.action in ("stop", "abandon"):
                return Outcome.STOPPED if command.action == "stop" else Outcome.ABANDONED, rate
            if command.action == "learning_rate" and not refused:
                rate = command.value
            paused = command.action == "pause" or (paused and command.action != "resume")
        if control.wants_state() or (paused and not told):
            yield Reached(now())
        if interrupted():
            return Outcome.INTERRUPTED, rate
        if not paused:
            return Outcome.OUT_OF_TIME if clock.is_over() else None, rate
        told = True
        clock.pause(_PAUSE_SECONDS)
