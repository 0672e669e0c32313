"""What a person, or a program, reads while a search runs."""

from collections.abc import Sequence
from dataclasses import asdict

from schuss.preparing import Prepared
from schuss.progress import JsonLines, Progress, clock, introduction, named_score
from schuss.tuning.trials import Trial, Tuning, best_of
from schuss.tuning.tuning import Begun, Trying, TuningEvent


class TuningLines(JsonLines):
    """One JSON object a line on standard output."""

    def __call__(self, event: TuningEvent) -> None:
        """Trials become lines, the events of the last training, and what was found."""
        if isinstance(event, Trial):
            self._line("trial", **asdict(event))
        elif isinstance(event, Tuning):
            self._line("tuned", best=asdict(event.best), trials=len(event.trials), importance=dict(event.importance))
        elif not isinstance(event, Trying):
            super().__call__(event.prepared if isinstance(event, Begun) else event)


class TuningProgress(Progress):
    """Words and a bar for a person."""

    _search: Begun
    _trials: Sequence[Trial]

    def __call__(self, event: TuningEvent) -> None:
        """Each event in words; of trials, those that were the best so far."""
        if isinstance(event, Begun):
            self._search, self._trials = event, event.trials
            for line in introduction(event.prepared):
                self._print(line)
            if event.trials:
                self._print(f"  {len(event.trials):,} trials before, {self._best_words()}")
            self._start_bar(1.0, "trial 100, epoch 100/100")
        elif isinstance(event, Trying):
            self._tried(event)
        elif isinstance(event, Trial):
            self._trials = [*self._trials, event]
            if self._best_trial() is event:
                self._print(f"  {self._best_words()}   {event.words()}")
        elif isinstance(event, Tuning):
            self._stop_bar()
            self._print(str(event))
        elif isinstance(event, Prepared):
            self._stop_bar()
            self._print(f"best of {len(self._trials):,} trials: {self._best_words()}")
            self._begin(event)
        else:
            super().__call__(event)

    def _best_trial(self) -> Trial | None:
        return next(iter(best_of(self._trials, self._search.prepared.recipe.plan.goal.greater)), None)

    def _best_words(self) -> str:
        """Validation RMSE 46,120 (trial 7)."""
        best, name = self._best_trial(), self._search.prepared.shown
        return f"validation {named_score(name, best.scores[name])} (trial {best.number})" if best else "none complete"

    def _tried(self, event: Trying) -> None:
        """The bar shows how much of the budget is spent, and the best so far."""
        if not self._bar:
            return
        seconds, most, ended = self._search.seconds, self._search.most, len(self._trials)
        spent = max(event.seconds / seconds if seconds else 0.0, ended / most if most else 0.0)
        pruned = sum(trial.outcome == "pruned" for trial in self._trials)
        self._bar.update(
            self._task,
            completed=min(spent, 1.0),
            place=f"trial {event.number}, epoch {event.epoch}/{event.epochs}",
            left=f"{clock(max(seconds - event.seconds, 0.0))} left" if seconds else "",
            words=f"best: {self._best_words()}, {ended:,} trials, {pruned:,} pruned",
        )
