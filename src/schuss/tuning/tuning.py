"""From a table to the settings that suit it, and to a model that was trained with them."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from schuss.configuration import Configuration
from schuss.errors import SchussError, SettingError
from schuss.job import JobEvent, fit, repeating, seen
from schuss.keeping import Keeper, absolute
from schuss.model.model import Model
from schuss.preparing import Prepared, decided, make_settings, ready, told_apart
from schuss.recipe import member_count
from schuss.settings import Settings, checked
from schuss.table.store import MemoryStore
from schuss.training.events import Epoch
from schuss.training.run_folder import RunFolder
from schuss.tuning.search import Asked, Search, load_optuna
from schuss.tuning.space import space_for
from schuss.tuning.trials import SearchFolder, Trial, Tuning

_MINUTES = 10.0
_PATHS, _ASKED = ("table", "validation", "test"), ("table", "target")
_COUNT = {"whole": True, "least": 1}


@dataclass(frozen=True)
class Begun:
    """A search begins, or goes on.

    prepared: the rows, with the recipe's own choice for them. seconds, most: that it may take, and trials, None for no
    limit. trials: that have ended before.
    """

    prepared: Prepared
    seconds: float | None
    most: int | None
    trials: Sequence[Trial]


@dataclass(frozen=True)
class Trying:
    """A trial is on its way: so many of its epochs are done; seconds of the search so far."""

    number: int
    epoch: int
    epochs: int
    seconds: float


TuningEvent: TypeAlias = Begun | Trying | Trial | JobEvent | Tuning
Observer: TypeAlias = Callable[[TuningEvent], None]


def tune(
    table: object = None,
    target: str | int | Sequence[str] | None = None,
    *,
    minutes: float | None = None,
    trials: int | None = None,
    workers: int = 1,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    observers: Iterable[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
    **others: Any,
) -> Tuning:
    """Searches the settings that are best on the validation rows, and trains a model with them.

    The rows are read, split and encoded once, and once more where the model is of several networks. Each trial trains
    one, and is given up where half of the earlier ones were better at that point. The first trial is what the recipe
    takes of its own accord, and is never given up. Test rows are not looked at before the model is trained, with the
    settings of the best trial; the validation score of the best of many trials flatters, that on test rows does not.
    The same seed, one worker and a number of trials give the same result. What is searched: schuss.tuning.space. Ctrl-C
    is for whoever calls to pass on, as interrupted.

    Arguments:
        table, target: as in schuss.train. Neither is needed to resume, where the table is a file.
        minutes: for the search and the training after it, of all its sessions; None takes 10 where trials are not given
            either. The first trial is done however long it takes.
        trials: at most.
        workers: trials at the same time; with more than one, each has one thread if not told otherwise.
        run: a folder for the search, from which it can be resumed, and for the run of its best trial.
        resume: go on with the search in that folder.
        observers: called with Begun, with Trying and Trial, with the events of the last training, as in schuss.train,
            and with the Tuning; by several workers one after another.
        interrupted: asked between chunks of steps; True ends the search, and what was best so far is trained.
        others: as in schuss.train (weight, exclude, validation, …, and settings). A setting that is given is kept.

    Raises:
        DataError, EngineError, DivergedError: as schuss.train.
        SettingError: a setting is out of range, there are no validation rows, nothing is left to be searched, or Optuna
            is not installed.
        RunError: the folder holds something else, or table or settings differ from before.
        KeyboardInterrupt: it was interrupted before the first trial was done.

    >>> table = {"x": [float(x) for x in range(40)], "y": [2.0 * x + 0.5 for x in range(40)]}
    >>> found = tune(table, "y", trials=2, validation=0.2, epochs=2)
    >>> [trial.number for trial in found.trials]
    [1, 2]
    """
    for name, value, limits in (
        ("minutes", minutes, {"above": 0.0}),
        ("trials", trials, _COUNT),
        ("workers", workers, _COUNT),
    ):
        if value is not None:
            checked(name, value, limits)
    load_optuna()
    if run is None and resume:
        raise SettingError("There is nothing to resume without the folder of a search: give it as run.")
    settings = told_apart(others)[1]
    make_settings(settings)
    said = {"table": table, "target": target, **others}
    data = {name: value for name, value in said.items() if name not in settings and value is not None}
    asked = Configuration(data | {name: absolute(data[name]) for name in _PATHS if name in data}, settings)
    with nullcontext() if run is None else SearchFolder(Path(run), resume) as folder:
        asked = folder.asked(asked) if folder else asked
        data = {**asked.data, **data}
        for name in _ASKED:
            if name not in data:
                raise SettingError(f"There is no {name}: give it.")
        tuner = _Tuner(data, asked, folder, tuple(observers), interrupted)
        budget = None if minutes is None and trials is not None else 60 * (_MINUTES if minutes is None else minutes)
        return tuner.tuned(budget, trials, workers)


class _GivenUpError(Exception):
    """A trial is not worth going on with."""


class _Tuner:
    """A search that runs."""

    def __init__(
        self,
        data: Mapping[str, Any],
        asked: Configuration,
        folder: SearchFolder | None,
        observers: Sequence[Observer],
        interrupted: Callable[[], bool],
    ) -> None:
        self._data, self._settings, self._folder = data, {**asked.settings, "members": 1}, folder
        self._observers, self._interrupted, self._failed = observers, interrupted, False
        self._telling = threading.Lock()
        self._prepared = prepared = self._ready(make_settings(self._settings))
        rows = len(prepared.training) + len(prepared.validation or ())
        self._members = member_count(make_settings(asked.settings), rows)  # of the model
        space, plan = space_for(prepared, asked.settings), prepared.recipe.plan
        self._asked = replace(asked, rows=seen(prepared))
        before = folder.begin(self._asked) if folder else []
        self._search = Search(space, plan.goal, plan.seed, before)
        self._began = time.monotonic() - max((each.at for each in before), default=0.0)

    def tuned(self, budget: float | None, trials: int | None, workers: int) -> Tuning:
        """Searches, and trains with what was best. budget: seconds, None for no limit; trials: at most."""
        self._budget, search = budget, self._search
        self._tell(Begun(self._prepared, budget, trials, tuple(search.trials)))
        with ThreadPoolExecutor(workers) as pool:
            waiting = [pool.submit(self._work, trials, 1 if workers > 1 else None) for _ in range(workers)]
            try:
                for each in waiting:
                    each.result()
            finally:
                self._failed = True  # whoever still works ends
        best, stopped = search.best(), self._interrupted()
        if best is None:
            raise KeyboardInterrupt
        model = self._trained(best, (lambda: False) if stopped else self._interrupted)
        greater = self._prepared.recipe.plan.goal.greater
        found = Tuning(model, tuple(search.trials), self._prepared.shown, greater, search.importance())
        if self._folder:
            found.save(self._folder.path / "trials.svg")
        self._tell(found)
        return found

    def _tell(self, event: TuningEvent) -> None:
        """Observers are told one thing at a time."""
        with self._telling:
            for observer in self._observers:
                observer(event)

    def _rows(self, tried: Mapping[str, Any]) -> Prepared:
        """Encoded rows, which all trials share, and what the recipe takes with these settings."""
        known, training = self._prepared, self._prepared.training
        if isinstance(training, MemoryStore):  # which keeps its orders where the next training puts others
            training = training.twin()
        chosen = make_settings({**self._settings, **tried})
        return decided(known.facts, (training, known.validation, known.test), chosen)

    def _ready(self, chosen: Settings) -> Prepared:
        """Rows, read and encoded."""
        roles = told_apart({name: self._data[name] for name in self._data if name not in _ASKED})[0]
        return ready(self._data["table"], self._data["target"], chosen, roles)

    def _work(self, most: int | None, threads: int | None) -> None:
        """Trial after trial, until the budget is spent; an error ends the other workers too."""
        try:
            while not self._is_over() and (asked := self._search.ask(most)) is not None:
                told = self._tried(asked, threads)
                self._search.end(asked, told)
                if told:
                    if self._folder:
                        self._folder.save(self._search.trials)
                    self._tell(told)
        except BaseException:
            self._failed = True
            raise

    def _is_over(self) -> bool:
        """Whether to train with what was best, if there is anything, so that this ends in time."""
        if self._failed or self._interrupted():
            return True
        best = self._search.best() if self._budget else None
        return bool(self._budget and best and self._now() + self._members * best.seconds >= self._budget)

    def _now(self) -> float:
        """Seconds of the search so far."""
        return time.monotonic() - self._began

    def _tried(self, asked: Asked, threads: int | None) -> Trial | None:
        """What became of a trial; None where it was cut off."""
        began, best, last, prepared = self._now(), None, 0, self._rows(asked.settings)
        plan = prepared.recipe.plan

        def look(event: JobEvent) -> None:
            nonlocal best, last
            if not isinstance(event, Epoch):
                return
            best, last = event if event.is_best else best, event.epoch
            self._tell(Trying(asked.number, last, plan.epochs, self._now()))
            if best and self._search.is_hopeless(asked, last / plan.epochs, plan.goal.score(best.scores)):
                raise _GivenUpError

        chosen = make_settings({"threads": threads, **self._settings, **asked.settings})
        score = None
        try:
            model, _ = fit(replace(prepared, test=None), chosen, observers=[look], interrupted=self._is_over)
            outcome, score = model.record.outcome, plan.goal.score(best.scores) if best else None
            if outcome == "interrupted":
                return None
        except _GivenUpError:
            outcome = "pruned"
        except SchussError as error:
            if asked.number == 1:
                raise
            outcome = str(error)
        scores = {name: value for name, value in best.scores.items() if math.isfinite(value)} if best else {}
        now = self._now()
        result = outcome, score, scores, last, now - began, now
        return Trial(asked.number, asked.settings, *result, asked.point, asked.looks)

    def _trained(self, best: Trial, interrupted: Callable[[], bool]) -> Model:
        """An ordinary run with the settings of a trial, and as many networks as were asked for."""
        settings = {**self._asked.settings, **best.settings}
        chosen = make_settings(settings)
        prepared = self._rows(best.settings) if self._members == 1 else self._ready(chosen)
        if self._folder is None:
            return fit(prepared, chosen, observers=[self._tell], interrupted=interrupted)[0]
        with RunFolder(self._folder.path / f"trial-{best.number}") as folder:
            goes_on = folder.holds_run()
            keeper = Keeper(folder, Configuration(self._asked.data, settings), goes_on, force=False)
            if model := keeper.finished:
                return model
            prepared = repeating(prepared, keeper.asked, settings, keeper if goes_on else None)
            return fit(prepared, chosen, keeper=keeper, observers=[self._tell], interrupted=interrupted)[0]
