"""Ensembles: several networks that are trained at the same time, as far as there are processors for them."""

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event as Flag, Lock

from schuss.engine.protocol import Engine
from schuss.preparing import Prepared
from schuss.settings import Settings
from schuss.table.columns import processors
from schuss.training.control import Command, Control
from schuss.training.events import Event, Finished, MemberEvent
from schuss.training.judging import Validation
from schuss.training.run_folder import RunFolder
from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome

_LOOK_SECONDS = 0.05  # between two looks at whether the training is to end


@dataclass(frozen=True, eq=False)
class Averaged:
    """All networks of an ensemble have come to an end. kept: numbers, from 0, of those that are averaged."""

    ends: tuple[Finished, ...]
    kept: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Member:
    """A network of an ensemble before its training, or a single network: its rows and plan, and where it begins."""

    prepared: Prepared
    engine: Engine
    validation: Validation | None
    state: TrainingState


Descent = Callable[[Member, Callable[[], bool], Control | None], Generator[Event]]


def train_members(
    members: Sequence[Member],
    descent: Descent,
    workers: int,
    folder: RunFolder | None,
    interrupted: Callable[[], bool],
    tell: Callable[[Event | MemberEvent], None],
) -> list[Finished]:
    """Trains networks, so many at a time in threads of their own; how each ended.

    Arguments:
        descent: trains one of them and yields what happens.
        workers: at least 1. folder: of the run.
        interrupted: asked here, between events: True ends all of them.
        tell: is called here with every event, those of several networks as a MemberEvent. What it raises ends them too.
    """
    if len(members) == 1:
        with closing(descent(members[0], interrupted, folder)) as events:  # who is told may raise
            for event in events:
                tell(event)
        assert isinstance(event, Finished)
        return [event]
    stop, told = Flag(), Queue[MemberEvent | BaseException](len(members))  # who trains is never far ahead
    controls = _controls(folder, len(members)) if folder else [None] * len(members)

    def work(number: int) -> None:
        try:
            for event in _events(members[number], descent, stop, controls[number]):
                told.put(MemberEvent(number + 1, len(members), event))
        except BaseException as error:
            told.put(error)

    ends: dict[int, Finished] = {}
    with ThreadPoolExecutor(workers) as pool:
        found = [pool.submit(work, number) for number in range(len(members))]
        try:
            while len(ends) < len(members):
                if not stop.is_set() and interrupted():
                    stop.set()
                if (news := _next(told)) is None:
                    continue
                if isinstance(news, BaseException):
                    raise news
                tell(news)
                if isinstance(news.event, Finished):
                    ends[news.number] = news.event
        finally:
            stop.set()
            while not all(each.done() for each in found):
                _next(told)  # nobody waits to be heard
    return [ends[number] for number in sorted(ends)]


def _events(member: Member, descent: Descent, stop: Flag, control: Control | None) -> Iterator[Event]:
    """Those of a network; one that has not begun when all are to end never does."""
    if stop.is_set() and member.state.outcome is None:
        yield Finished(Outcome.INTERRUPTED, member.state)
    else:
        with closing(descent(member, stop.is_set, control)) as events:
            yield from events


def _next(told: "Queue[MemberEvent | BaseException]") -> MemberEvent | BaseException | None:
    """What is told next; None where nothing is for a while."""
    try:
        return told.get(timeout=_LOOK_SECONDS)
    except Empty:
        return None


def kept(ends: Sequence[Finished]) -> tuple[int, ...]:
    """The networks whose predictions are worth averaging, by their numbers.

    Left out is what diverged and kept nothing; and of those that were cut short, what has not come half as far as
    another: it would spoil the average.
    """
    sound = [number for number, end in enumerate(ends) if not _is_lost(end)]
    farthest = max((ends[number].state.epoch for number in sound), default=0)
    ended = (Outcome.COMPLETED, Outcome.EARLY_STOPPED, Outcome.REACHED, Outcome.CONVERGED, Outcome.DIVERGED)
    return tuple(each for each in sound if ends[each].outcome in ended or 2 * ends[each].state.epoch >= farthest)


def outcome_of(ends: Sequence[Finished]) -> Outcome:
    """That of all networks: that it is not at its end, if one is not, or else that of the first which is kept."""
    open_ends = [end for end in ends if not end.outcome.is_final]
    sound = [end for end in ends if end.outcome is not Outcome.DIVERGED]
    return (open_ends or sound or list(ends))[0].outcome


def workers_for(settings: Settings, members: int) -> int:
    """How many of the networks are trained at the same time."""
    return min(members, settings.threads or _processors())


def seconds_for(seconds: float | None, members: int, workers: int) -> float | None:
    """Of a time budget for all networks that of one, when they are trained by so many workers."""
    return None if seconds is None else seconds / math.ceil(members / workers)


def _is_lost(end: Finished) -> bool:
    """Whether a training has led to nothing."""
    return end.outcome is Outcome.DIVERGED and end.state.best_W is None


def _processors() -> int:
    """That may be used."""
    told = os.environ.get("SCHUSS_THREADS", "")
    return max(1, int(told)) if told.isdecimal() else processors()


class _MemberControl:
    """What is asked of a run, as one of its networks gets to know it."""

    def __init__(self, folder: RunFolder, look: Callable[[], None]) -> None:
        self._folder, self._look = folder, look
        self.waiting: deque[Command] = deque()

    def commands(self) -> Sequence[Command]:
        """What has been asked since the last call, or since the network began."""
        self._look()
        return [self.waiting.popleft() for _ in range(len(self.waiting))]

    def wants_state(self) -> bool:
        """Whether it is time for a checkpoint of this network."""
        return self._folder.wants_state()


def _controls(folder: RunFolder, members: int) -> list[Control | None]:
    """One for each network; each command is for all of them."""
    lock = Lock()

    def look() -> None:
        with lock:
            for command in folder.commands():
                for control in controls:
                    control.waiting.append(command)

    controls = [_MemberControl(own, look) for own in folder.networks(members)]
    return list(controls)
