"""Which settings are tried next, and which trial is given up: Optuna decides. An extra: pip install schuss[tune]."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

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


class Asked:
    """Settings to try.

    number: of the trial, from 1. settings: in plain values; none for the recipe's own choice.
    point: the same in the space. looks: at the best score so far, by the twentieths of the epochs.
    """

    def __init__(self, trial: optuna.Trial, number: int, space: Space) -> None:
        self.trial, self.number, self.point = trial, number, trial.params
        self.settings = {} if number == 1 else space.settings(self.point)
        self.looks: dict[int, float] = {}


class Search:
    """Tree-structured Parzen estimators propose, and the median prunes (Akiba et al. 2019, Optuna).

    Each proposal is a function of the seed and of the trials that have ended, so that a search with one worker that was
    killed goes on as if it had not been. Safe in threads.

    Arguments:
        before: trials that have ended, in that order.

    Raises:
        SettingError: Optuna is not installed.
        RunError: those trials are not of this space.
    """

    def __init__(self, space: Space, goal: Goal, seed: int, before: Iterable[Trial] = ()) -> None:
        self._optuna, self._space, self._goal, self._seed = load_optuna(), space, goal, seed
        self._lock, self._open, self.trials = threading.Lock(), set[int](), list(before)
        self._study = self._optuna.create_study(
            direction="maximize" if goal.greater else "minimize",
            pruner=self._optuna.pruners.MedianPruner(_LEAST_TRIALS, n_warmup_steps=_FIRST_LOOK),
        )
        try:
            for trial in self.trials:
                self._study.add_trial(self._ended(trial))
        except (KeyError, ValueError) as error:
            raise RunError(
                f"The trials are of another version ({one_line(error)}): begin a search in another folder."
            ) from error

    def _ended(self, trial: Trial) -> optuna.trial.FrozenTrial:
        """As Optuna has it."""
        found: optuna.trial.FrozenTrial = self._optuna.trial.create_trial(
            state=self._state(trial),
            value=trial.score,
            params=dict(trial.point),
            distributions={name: self._space.distributions[name] for name in trial.point},
            intermediate_values=dict(trial.looks),
        )
        return found

    def _state(self, trial: Trial | None) -> Any:
        """Optuna's: errors count as pruned, so that it learns where they come from."""
        states = self._optuna.trial.TrialState
        return states.FAIL if trial is None else states.PRUNED if trial.score is None else states.COMPLETE

    def ask(self, most: int | None = None) -> Asked | None:
        """What to try next, first the recipe's own choice; None where so many have ended or are on their way."""
        with self._lock:
            begun, distributions = len(self.trials) + len(self._open), dict(self._space.distributions)
            if most is not None and begun >= most:
                return None
            taken = self._open.union(trial.number for trial in self.trials)
            number = min(set(range(1, begun + 2)) - taken)
            if number == 1:
                self._study.enqueue_trial(dict(self._space.own))
                distributions = {name: distributions[name] for name in self._space.own}
            seed = (self._seed + begun) % 2**32
            self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, constant_liar=bool(self._open))
            self._open.add(number)
            return Asked(self._study.ask(distributions), number, self._space)

    def is_hopeless(self, asked: Asked, share: float, score: float) -> bool:
        """Whether a trial whose best score is this after a share of its epochs is to be given up; never the first."""
        look = int(_LOOKS * share)
        if look <= max(asked.looks, default=0) or share >= 1:
            return False
        asked.looks[look] = score
        asked.trial.report(score, look)
        return asked.number > 1 and asked.trial.should_prune()

    def end(self, asked: Asked, told: Trial | None) -> None:
        """What became of a trial; None for one that was cut off and does not count."""
        with self._lock:
            self._open.remove(asked.number)
            self._study.tell(asked.trial, told.score if told else None, self._state(told))
            if told:
                self.trials.append(told)

    def best(self) -> Trial | None:
        """The best so far."""
        return next(iter(best_of(self.trials, self._goal.greater)), None)

    def importance(self) -> dict[str, float]:
        """The share of each name of the space in how good a trial is (Watanabe et al. 2023, PED-ANOVA)."""
        if len(best_of(self.trials, self._goal.greater)) < _LEAST_TO_WEIGH:
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
