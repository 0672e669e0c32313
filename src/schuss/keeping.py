"""What a training keeps in its run folder, and how one that was ended goes on from there."""

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from schuss.configuration import Configuration
from schuss.errors import IncompleteRunWarning, OutputError, RunError
from schuss.model.model import Model
from schuss.training.events import Finished
from schuss.training.loop import NewRate
from schuss.training.run_folder import CONFIG, MODEL, RunFolder, read_events
from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome


class Keeper:
    """A run folder that is open, and what was asked for.

    Arguments:
        folder: open.
        given: what a person asked for now; asked: that, with what a configuration file said before.
        resume: go on with the run that the folder holds. force: even if it was asked for something else.

    Raises:
        RunError: the folder holds a run and none is to be resumed, or none and one is, or what is asked for differs.
    """

    def __init__(self, folder: RunFolder, asked: Configuration, resume: bool, force: bool) -> None:
        self.folder, self._force, self._forced, self._before = folder, force, False, None
        self.asked = asked
        if folder.holds_run() != resume:
            there = (
                "holds a run already: resume it, or give another folder." if not resume else "holds no run to resume."
            )
            raise RunError(f"{folder.path} {there}")
        if resume:
            self._before = before = Configuration.read(folder.path / CONFIG)
            self._check(asked, "asked for")
            self.asked = before.updated(asked)

    def _check(self, now: Configuration, what: str) -> None:
        """What differs from before must be forced."""
        found = self._before.differences(now) if self._before else []
        if found and not self._force:
            told = "".join(f"\n  {line}" for line in found)
            raise RunError(
                f"{self.folder.path}: not what the run was {what} before:{told}\nTake another folder, or force it."
            )
        self._forced |= bool(found)

    @property
    def finished(self) -> Model | None:
        """The model of a run that has come to its own end, and is not asked for anything new."""
        ends = [line for line in read_events(self.folder.path) if line["event"] in ("resumed", "saved")]
        ended = self._before and not self._forced and ends and ends[-1].get("is_final")
        return Model.load(self.folder.path / MODEL) if ended else None

    def begin(
        self,
        settings: Mapping[str, Any],
        seen: Mapping[str, Any],
        fresh: Sequence[TrainingState],
        model_of: Callable[[Sequence[TrainingState]], Model],
        **facts: Any,
    ) -> list[TrainingState]:
        """Puts down what is resolved; the states to begin with, one for each network, `fresh` where there is no other.

        Raises:
            RunError: the rows, or the shape of W, are not those of before.
            OutputError: the configuration cannot be written.
        """
        self._check(Configuration({}, {}, seen), "trained on")
        folders = self.folder.networks(len(fresh))
        found = [self._newest(folder, state) for folder, state in zip(folders, fresh, strict=True)]
        reached = {number: state for number, state in enumerate(found) if state is not None}
        forced_at = self._before.replay.get("forced_at") if self._before else None
        if self._forced and reached:
            forced_at = max(state.engine.step for state in reached.values())
        replay = {} if forced_at is None else {"forced_at": forced_at}
        self.asked = Configuration(self.asked.data, settings, seen, replay)
        self.folder.write_config(self.asked.text())
        self.folder.open_members()
        for number, (folder, state) in enumerate(zip(folders, found, strict=True)):
            folder.save_model = partial(self._save_model, model_of, reached, number)
            _log_beginning(folder, state, facts)
        if self.folder.members:
            _log_beginning(self.folder, max(reached.values(), key=lambda state: state.engine.step, default=None), facts)
        begun = [own if state is None else state for own, state in zip(fresh, found, strict=True)]
        return [replace(state, outcome=None) for state in begun] if self._forced else begun

    def _newest(self, folder: RunFolder, fresh: TrainingState) -> TrainingState | None:
        """What a network had reached before, if it had begun."""
        state, wrong = folder.newest() if self._before else (None, ())
        for words in wrong:
            warnings.warn(f"{words} The checkpoint before it is used.", IncompleteRunWarning, stacklevel=3)
        if state is not None:
            self._check_state(state, fresh)
        return state

    def _save_model(
        self,
        model_of: Callable[[Sequence[TrainingState]], Model],
        reached: dict[int, TrainingState],
        number: int,
        state: TrainingState,
    ) -> None:
        """The best model so far, once a network has got further."""
        reached[number] = state
        sound = [own for _, own in sorted(reached.items()) if np.isfinite(own.W).all()]
        if sound:
            model_of(sound).save(self.folder.path / MODEL, self.folder.storage)

    def _check_state(self, state: TrainingState, fresh: TrainingState) -> None:
        """Raises RunError where training cannot go on from a state: what the folder holds stays as it is."""
        if (state.engine.W.shape, state.engine.vectors.shape) != (fresh.engine.W.shape, fresh.engine.vectors.shape):
            raise RunError(f"{self.folder.path}: its checkpoint is of another network or optimizer: begin a run anew.")
        if self._forced and state.outcome is Outcome.DIVERGED and state.best_W is None:
            raise RunError(f"{self.folder.path}: the run diverged and kept nothing: begin one in another folder.")

    def rates(self, networks: int) -> list[tuple[NewRate, ...]]:
        """The learning rates that were given while the run trained, of each network."""
        return [
            tuple(
                NewRate(line["step"], line["value"], line["tries"])
                for line in read_events(folder.path)
                if line["event"] == "steered" and line["action"] == "learning_rate"
            )
            for folder in self.folder.networks(networks)
        ]

    def abandon(self) -> None:
        """Takes away the best model so far."""
        with contextlib.suppress(OSError):
            self.folder.storage.remove(self.folder.path / MODEL)

    def finish(self, model: Model, ends: Sequence[Finished]) -> None:
        """Puts down the model, and how to repeat a run that did not come to its own end."""
        folder, is_final = self.folder, all(end.outcome.is_final for end in ends)
        replay, record = dict(self.asked.replay), model.record
        own = [_replay(end, rates) for end, rates in zip(ends, self.rates(len(ends)), strict=True)]
        if folder.members:
            folder.log(event="finished", outcome=record.outcome, epoch=record.epochs, step=record.steps,
                       best_epoch=record.best_epoch, seconds=record.seconds)  # fmt: skip
        replay |= ({"members": own} if any(own) else {}) if folder.members else own[0]
        try:
            model.save(folder.path / MODEL, folder.storage)
            if replay:
                folder.write_config(replace(self.asked, replay=replay).text())
            path, scores = str(folder.path / MODEL), model.record.scores
            folder.log(event="saved", path=path, scores=scores, is_final=is_final)
        except OutputError as error:
            folder.failed.append(str(error))
        for words in [words for each in (folder, *folder.members) for words in each.failed]:
            warnings.warn(words, IncompleteRunWarning, stacklevel=3)


def _log_beginning(folder: RunFolder, state: TrainingState | None, facts: Mapping[str, Any]) -> None:
    """Where a training begins, or goes on from."""
    where = {} if state is None else {"step": state.engine.step, "tries": state.tries}
    folder.log(event="resumed" if where else "prepared", **where, **facts)


def _replay(end: Finished, rates: Sequence[NewRate]) -> dict[str, Any]:
    """What must be known to repeat the training of a network."""
    found: dict[str, Any] = {"rates": [asdict(rate) for rate in rates]} if rates else {}
    if not end.outcome.is_final:
        found |= {"steps": end.state.engine.step, "last_try": end.state.tries}
    return found


def absolute(value: Any) -> Any:
    """A path, or several, as it is found from everywhere; all else as it is."""
    if isinstance(value, list | tuple):
        return [absolute(item) for item in value]
    if isinstance(value, os.PathLike) or (isinstance(value, str) and "://" not in value):
        return str(Path(value).absolute())
    return value
