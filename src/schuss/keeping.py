"""What a training keeps in its run folder, and how one that was ended goes on from there."""

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from schuss.configuration import Configuration
from schuss.errors import IncompleteRunWarning, OutputError, RunError
from schuss.model.model import Model
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
        fresh: TrainingState,
        model_of: Callable[[TrainingState], Model],
        **facts: Any,
    ) -> TrainingState:
        """Puts down what is resolved; the state to begin with, `fresh` where there is no other.

        Raises:
            RunError: the rows, or the shape of W, are not those of before.
            OutputError: the configuration cannot be written.
        """
        self._check(Configuration({}, {}, seen), "trained on")
        state, wrong = self.folder.newest() if self._before else (None, ())
        for words in wrong:
            warnings.warn(f"{words} The checkpoint before it is used.", IncompleteRunWarning, stacklevel=2)
        if state is not None:
            self._check_state(state, fresh)
        forced_at = self._before.replay.get("forced_at") if self._before else None
        if self._forced and state is not None:
            forced_at = state.engine.step
        replay = {} if forced_at is None else {"forced_at": forced_at}
        self.asked = Configuration(self.asked.data, settings, seen, replay)
        self.folder.write_config(self.asked.text())
        self.folder.save_model = lambda state: model_of(state).save(self.folder.path / MODEL, self.folder.storage)
        if state is None:
            self.folder.log(event="prepared", **facts)
            return fresh
        self.folder.log(event="resumed", step=state.engine.step, tries=state.tries, **facts)
        return replace(state, outcome=None) if self._forced else state

    def _check_state(self, state: TrainingState, fresh: TrainingState) -> None:
        """Raises RunError where training cannot go on from a state: what the folder holds stays as it is."""
        if (state.engine.W.shape, state.engine.vectors.shape) != (fresh.engine.W.shape, fresh.engine.vectors.shape):
            raise RunError(f"{self.folder.path}: its checkpoint is of another network or optimizer: begin a run anew.")
        if self._forced and state.outcome is Outcome.DIVERGED and state.best_W is None:
            raise RunError(f"{self.folder.path}: the run diverged and kept nothing: begin one in another folder.")

    def rates(self) -> tuple[NewRate, ...]:
        """The learning rates that were given while the run trained."""
        return tuple(
            NewRate(line["step"], line["value"], line["tries"])
            for line in read_events(self.folder.path)
            if line["event"] == "steered" and line["action"] == "learning_rate"
        )

    def abandon(self) -> None:
        """Takes away the best model so far."""
        with contextlib.suppress(OSError):
            self.folder.storage.remove(self.folder.path / MODEL)

    def finish(self, model: Model, outcome: Outcome, state: TrainingState) -> None:
        """Puts down the model, and how to repeat a run that did not come to its own end."""
        folder = self.folder
        replay = dict(self.asked.replay)
        if not outcome.is_final:
            replay |= {"steps": state.engine.step, "last_try": state.tries}
        if rates := self.rates():
            replay["rates"] = [asdict(rate) for rate in rates]
        try:
            model.save(folder.path / MODEL, folder.storage)
            if replay:
                folder.write_config(replace(self.asked, replay=replay).text())
            path, scores = str(folder.path / MODEL), model.record.scores
            folder.log(event="saved", path=path, scores=scores, is_final=outcome.is_final)
        except OutputError as error:
            folder.failed.append(str(error))
        for words in folder.failed:
            warnings.warn(words, IncompleteRunWarning, stacklevel=3)


def absolute(value: Any) -> Any:
    """A path, or several, as it is found from everywhere; all else as it is."""
    if isinstance(value, list | tuple):
        return [absolute(item) for item in value]
    if isinstance(value, os.PathLike) or (isinstance(value, str) and "://" not in value):
        return str(Path(value).absolute())
    return value
