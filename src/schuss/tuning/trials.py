"""What a search found: its trials, the best of them, and the model that was trained with its settings."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from schuss.files import write_file
from schuss.model.model import Model
from schuss.recipe import Recipe
from schuss.training.run_folder import without_nan
from schuss.view.charts import Line, Panel, chart

_MOST_SHOWN = 5
_LEAST_IMPORTANCE = 0.05


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    number:   from 1 on.
    settings: that were tried, in plain values; none is what the recipe takes of its own accord.
    outcome:  how the training ended; "pruned" where others were better at that point; or the error that ended it.
    score:    the best on the validation rows, of the metric that decides; None where there is none.
    scores:   all of that epoch. epochs: that were trained. seconds: that it took. is_complete: not pruned, no error.
    at:       seconds from the beginning of the search to its end.
    """

    number: int
    settings: Mapping[str, Any]
    outcome: str
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    at: float = 0.0
    is_complete: bool = False

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**without_nan(asdict(self)), "scores": without_nan(self.scores)}

    def words(self) -> str:
        """The settings, for a person: hidden 256-256, learning_rate 0.003."""
        told = {name: "-".join(map(str, v)) if isinstance(v, list) else v for name, v in self.settings.items()}
        return ", ".join(f"{name} {value}" for name, value in told.items()) or "the recipe's own choice"


@dataclass(frozen=True, eq=False)
class Tuning:
    """What a search found.

    model: trained with the settings of the best trial; its record has the scores on the test rows.
    trials: in the order in which they ended.
    metric: the score that decides; greater: whether more of it is better. shown: the one that a person is told.
    importance: of what was searched, its share in how good the better half of the trials is; empty for few trials.
    """

    model: Model
    trials: Sequence[Trial]
    metric: str
    greater: bool
    shown: str
    importance: Mapping[str, float]

    @property
    def best(self) -> Trial:
        """The trial whose settings the model has."""
        return best_of(self.trials, self.greater)[0]

    def __str__(self) -> str:
        """A table of the best few, the recipe's own choice among them, and what mattered most."""
        ranked = best_of(self.trials, self.greater)
        shown = [each for place, each in enumerate(ranked) if place < _MOST_SHOWN or not each.settings]
        lines = [("trial", f"validation {self.shown}", "epochs", "seconds", "settings")]
        for each in shown:
            score = f"{each.scores[self.shown]:,.5g}" if self.shown in each.scores else "–"
            lines.append((f"{each.number:,}", score, f"{each.epochs:,}", f"{each.seconds:.3g}", each.words()))
        widths = [max(len(line[at]) for line in lines) for at in range(4)]
        table = ["  ".join([*map(str.rjust, line, widths), line[4]]) for line in lines]
        most = sorted(self.importance.items(), key=lambda item: -item[1])
        mattered = [f"{name} {share:.0%}" for name, share in most if share >= _LEAST_IMPORTANCE]
        return "\n".join([*table, *([f"what mattered most: {', '.join(mattered)}"] if mattered else [])])

    def svg(self) -> str:
        """The best score so far against seconds, as SVG."""
        better = max if self.greater else min
        ended = [each for each in self.trials if each.is_complete and self.shown in each.scores]
        scores = [each.scores[self.shown] for each in ended]
        seconds, best = [each.at for each in ended], list(itertools.accumulate(scores, better))
        panel = Panel("", "seconds", f"best validation {self.shown} so far", [Line("best so far", seconds, best)])
        return chart(f"{len(self.trials)} trials", f"The best few of them: {self}", [panel])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture. Raises OutputError where that cannot be done."""
        write_file(path, self.svg().encode())

    _repr_svg_ = svg  # what a notebook shows


def best_of(trials: Sequence[Trial], greater: bool) -> list[Trial]:
    """Those that were trained to their end, the best first."""
    told = [(each, math.nan if each.score is None else each.score) for each in trials if each.is_complete]
    told = [(each, -score if greater else score) for each, score in told if math.isfinite(score)]
    return [each for each, _ in sorted(told, key=lambda item: (item[1], item[0].number))]


def shown_score(recipe: Recipe) -> str:
    """The score that a person is told: the one that decides, or its root in the target's units."""
    metric = recipe.plan.goal.metric
    return "rmse" if metric == "loss" and recipe.loss.name == "squared_error" and "rmse" in recipe.metrics else metric
