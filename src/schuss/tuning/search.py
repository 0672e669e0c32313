"""Which settings are tried next, and which trial is given up: Optuna decides. An extra: pip install schuss[tune]."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from schuss.errors import RunError, SettingError, one_line
from schuss.training.stopping import Goal
from schuss.tuning.space import Space
from schuss.tuning.trials import Trial, best_of

if TYPE_CHECKING:
    import optuna

_LOOKS = 20  # at a trial on its way: where it is pruned, it is compared with others at the same share of their epochs
_FIRST_LOOK = 5  # from which on
_LEAST_TRIALS = 5  # to compare with
_LEAST_TO_WEIGH = 10  # trials, before anything is said of what matters
_STUDY, _TRIAL = "schuss", "trial"


class Asked:
    """Settings to try.

    number: of the trial, from 1. settings: in plain values; none for the recipe's own choice.
    """

    def __init__(self, trial: optuna.Trial, settings: Mapping[str, Any]) -> None:
        self.trial, self.number, self.settings, self.look = trial, trial.number + 1, settings, 0


class Search:
    """Tree-structured Parzen estimators propose, and the median prunes (Akiba et al. 2019, Optuna).

    Each proposal is a function of the seed and of the trials that have ended, so that a search with one worker that was
    killed goes on as if it had not been. Safe in threads.

    Arguments:
        journal: file that keeps the trials, gone on with where it exists; None for memory alone.

    Raises:
        SettingError: Optuna is not installed.
        RunError: the journal is damaged.
    """

    def __init__(self, space: Space, goal: Goal, seed: int, journal: Path | None) -> None:
        self._optuna, self._space, self._goal, self._seed = load_optuna(), space, goal, seed
        self._lock, self._open = threading.Lock(), 0
        self._study = self._opened(journal)
        if not self.trials():
            self._study.enqueue_trial(dict(space.own), user_attrs={"recipe": True}, skip_if_exists=True)

    def _opened(self, journal: Path | None) -> optuna.Study:
        """The study, with the trials that the journal holds."""
        storages, pruners = self._optuna.storages, self._optuna.pruners
        try:
            storage = None
            if journal:
                _mend(journal)
                storage = storages.JournalStorage(storages.journal.JournalFileBackend(str(journal)))
            study: optuna.Study = self._optuna.create_study(
                storage=storage,
                study_name=_STUDY,
                load_if_exists=True,
                direction="maximize" if self._goal.greater else "minimize",
                pruner=pruners.MedianPruner(_LEAST_TRIALS, n_warmup_steps=_FIRST_LOOK),
            )
            return study
        except (ValueError, KeyError, TypeError, AssertionError) as error:  # whatever Optuna meets
            raise RunError(f"{journal}: is damaged ({one_line(error)}). Begin a search in another folder.") from error

    def ask(self, most: int | None = None) -> Asked | None:
        """What to try next; None where so many have ended or are on their way."""
        with self._lock:
            begun = len(self.trials()) + self._open
            if most is not None and begun >= most:
                return None
            seed = (self._seed + begun) % 2**32
            self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, constant_liar=self._open > 0)
            try:
                trial = self._study.ask(dict(self._space.distributions))
            except ValueError as error:  # what is searched has changed since
                raise RunError(
                    f"These trials are of another version ({one_line(error)}): begin a new search."
                ) from error
            self._open += 1
        own = trial.user_attrs.get("recipe", False)
        return Asked(trial, {} if own else self._space.settings(trial.params))

    def is_hopeless(self, asked: Asked, share: float, score: float) -> bool:
        """Whether a trial whose best score is this after a share of its epochs is to be given up."""
        if int(_LOOKS * share) <= asked.look or share >= 1:
            return False
        asked.look = int(_LOOKS * share)
        asked.trial.report(score, asked.look)
        return asked.trial.should_prune()

    def end(self, asked: Asked, told: Trial | None) -> None:
        """What became of a trial; None for one that was cut off and does not count."""
        states = self._optuna.trial.TrialState
        with self._lock:
            self._open -= 1
            state = states.FAIL
            if told:
                asked.trial.set_user_attr(_TRIAL, told.plain())
                state = states.COMPLETE if told.is_complete else states.PRUNED if asked.look else states.FAIL
            self._study.tell(asked.trial, told.score if told and told.is_complete else None, state)

    def trials(self) -> list[Trial]:
        """Those that have ended, in that order."""
        ended = [each for each in self._study.get_trials(deepcopy=False) if each.state.is_finished()]
        found = [msgspec.convert(each.user_attrs[_TRIAL], Trial) for each in ended if _TRIAL in each.user_attrs]
        return sorted(found, key=lambda each: each.at)

    def best(self) -> Trial | None:
        """The best so far."""
        return next(iter(best_of(self.trials(), self._goal.greater)), None)

    def importance(self) -> dict[str, float]:
        """The share of each name of the space in how good a trial is (Watanabe et al. 2023, PED-ANOVA)."""
        if len(best_of(self.trials(), self._goal.greater)) < _LEAST_TO_WEIGH:
            return {}
        weigh = self._optuna.importance
        return dict(weigh.get_param_importances(self._study, evaluator=weigh.PedAnovaImportanceEvaluator()))


def load_optuna() -> Any:
    """Optuna, which then says nothing of its own accord. Raises SettingError where it is not installed."""
    try:
        import optuna  # an extra
    except ImportError as error:
        raise SettingError(f"Tuning needs an extra ({error}): pip install 'schuss[tune]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _mend(journal: Path) -> None:
    """Takes away a last line that was cut off, by a loss of power say, so that the next one begins a line."""
    if journal.exists() and not (content := journal.read_bytes()).endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
