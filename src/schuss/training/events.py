"""What a training tells on its way. Those who listen only observe: nothing that they do changes W."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome


@dataclass(frozen=True)
class Chunk:
    """Some steps were taken: the first and the last of them, their batch losses, the last learning rate.

    epoch: of the last step; rows: passed so far in this epoch; seconds: since the training began.
    """

    epoch: int
    first_step: int
    last_step: int
    least: float
    mean: float
    greatest: float
    learning_rate: float
    rows: int
    seconds: float


class Epoch(msgspec.Struct, frozen=True):  # a tenth of what a frozen dataclass takes to make
    """An epoch ended.

    loss:    mean batch loss of the epoch, each at the W of its time.
    scores:  of the validation rows, "loss" among them; empty without validation rows.
    is_best: the score that decides is the best so far.
    """

    epoch: int
    step: int
    loss: float
    scores: Mapping[str, float]
    is_best: bool
    seconds: float


@dataclass(frozen=True)
class Steered:
    """A command took effect after `step` steps of this training.

    value: of a new learning rate. id: of the command. tries: divergences before it.
    """

    step: int
    action: str
    value: float | None
    id: str
    tries: int


@dataclass(frozen=True)
class Retried:
    """The loss exploded in `epoch`: training goes on from the state after `step` steps, with shorter steps.

    share: of the learning rate that is left. tries: so far.
    """

    epoch: int
    step: int
    share: float
    tries: int


@dataclass(frozen=True, eq=False)
class Reached:
    """A state that was asked for, between two chunks."""

    state: TrainingState


@dataclass(frozen=True, eq=False)
class MemberEvent:
    """Something happened to one of the networks of an ensemble: its number, counted from 1, of how many."""

    number: int
    members: int
    event: "Event"


@dataclass(frozen=True, eq=False)
class Finished:
    """The end: why, and the state that was reached."""

    outcome: Outcome
    state: TrainingState


Event: TypeAlias = Chunk | Epoch | Steered | Retried | Reached | Finished
