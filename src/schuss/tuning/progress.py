"""What a person, or a program, reads while a search runs."""

from rich.progress import BarColumn, Progress as Bar, TextColumn
from rich.table import Column

from schuss.preparing import Prepared
from schuss.progress import JsonLines, Progress, Silent, introduction, named_score
from schuss.tuning.trials import Trial, Tuning, best_of
from schuss.tuning.tuning import Begun, Trying, TuningEvent


class SilentTuning(Silent):
    """Says nothing."""

    def __call__(self, event: TuningEvent) -> None:
        """Nothing to say."""

    def tuned(self, found: Tuning) -> None:
        """Nothing to say."""


class TuningLines(JsonLines, SilentTuning):
    """One JSON object a line on standard output."""

    def __call__(self, event: TuningEvent) -> None:
        """Trials become lines, and events of the last training."""
        if isinstance(event, Trial):
            self._line("trial", **event.plain())
        elif not isinstance(event, Trying):
            super().__call__(event.prepared if isinstance(event, Begun) else event)

    def tuned(self, found: Tuning) -> None:
        """The best trial, and what mattered."""
        self._line("tuned", best=found.best.plain(), trials=len(found.trials), importance=dict(found.importance))


class TuningProgress(Progress, SilentTuning):
    """Words and a bar for a person."""

    _begun: Begun
    _trials: list[Trial]

    def __call__(self, event: TuningEvent) -> None:
        """Each event in words; of trials, those that were the best so far."""
        if isinstance(event, Begun):
            self._begun, self._trials = event, list(event.trials)
            for line in introduction(event.prepared):
                self._print(line)
            if best := self._best_trial():
                self._print(f"  {len(self._trials):,} trials before, {self._trial_words(best)}")
            self._start_search()
        elif isinstance(event, Trying):
            self._moved_on(event)
        elif isinstance(event, Trial):
            self._trials.append(event)
            if self._best_trial() is event:
                self._print(f"  {self._trial_words(event)}   {event.words()}")
        elif isinstance(event, Prepared):
            self._stop_bar()
            self._prepared = event
            if best := self._best_trial():
                self._print(f"best of {len(self._trials):,} trials: {self._trial_words(best)}")
            self._print(next(line for line in introduction(event) if line.startswith("network")))
            self._start_bar(event.recipe.plan)
        else:
            super().__call__(event)

    def tuned(self, found: Tuning) -> None:
        """The best few trials, and what mattered."""
        self._print(str(found))

    def _best_trial(self) -> Trial | None:
        return next(iter(best_of(self._trials, self._begun.prepared.recipe.plan.goal.greater)), None)

    def _trial_words(self, trial: Trial) -> str:
        """Validation RMSE 46,120 (trial 7)."""
        name = self._begun.shown
        return f"validation {named_score(name, trial.scores[name])} (trial {trial.number})"

    def _start_search(self) -> None:
        """A bar that fills with the budget."""
        if self._console.is_terminal:
            columns = (
                TextColumn("  {task.fields[trial]}", table_column=Column(no_wrap=True, min_width=24)),
                BarColumn(22, table_column=Column(min_width=10)),
                TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True, min_width=9)),
                TextColumn("{task.fields[words]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            )
            self._bar = Bar(*columns, console=self._console, transient=True, refresh_per_second=5, expand=True)
            self._task = self._bar.add_task("", total=1.0, trial="trial 1", left="", words="")
            self._bar.start()

    def _moved_on(self, event: Trying) -> None:
        """The bar shows how much of the budget is spent, and the best so far."""
        if not self._bar:
            return
        begun, best = self._begun, self._best_trial()
        ended = len(self._trials)
        left = "" if begun.seconds is None else f"{_clock(max(begun.seconds - event.seconds, 0.0))} left"
        spent = [event.seconds / begun.seconds] if begun.seconds else []
        spent += [ended / begun.most] if begun.most else []
        pruned = sum(trial.outcome == "pruned" for trial in self._trials)
        words = f"{ended:,} trials, {pruned:,} pruned"
        self._bar.update(
            self._task,
            completed=min(max(spent, default=0.0), 1.0),
            trial=f"trial {event.number}, epoch {event.epoch}/{event.epochs}",
            left=left,
            words=f"best: {self._trial_words(best)}, {words}" if best else words,
        )


def _clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
