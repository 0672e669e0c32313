"""What a search found: its trials, in memory and in its folder, and the model with the settings of the best."""

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from schuss.configuration import Configuration
from schuss.errors import OutputError, RunError, one_line
from schuss.files import write_file
from schuss.model.model import Model
from schuss.training.run_folder import locked
from schuss.view.charts import Line, Panel, chart

_MOST_SHOWN = 5
_LEAST_IMPORTANCE = 0.05
_ASKED, _TRIALS, _LOCK = "tune.toml", "trials.json", "lock"


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    number:   from 1 on; the first is what the recipe takes of its own accord.
    settings: that were tried, in plain values; none of the first.
    outcome:  how the training ended; "pruned" where others were better at that point; or the error that ended it.
    score:    the best on the validation rows, of the metric that decides; None where it was not trained to its end.
    scores:   all of the best epoch. epochs: that were trained. seconds: that it took.
    at:       seconds from the beginning of the search to its end.
    point:    where in the space it lies. looks: at its best score on its way.
    """

    number: int
    settings: Mapping[str, Any]
    outcome: str
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    at: float = 0.0
    point: Mapping[str, Any] = field(default_factory=dict)
    looks: Mapping[int, float] = field(default_factory=dict)

    def words(self) -> str:
        """The settings, for a person: hidden 256-256, learning_rate 0.003."""
        told = {name: "-".join(map(str, v)) if isinstance(v, list) else v for name, v in self.settings.items()}
        return ", ".join(f"{name} {value}" for name, value in told.items()) or "the recipe's own choice"


@dataclass(frozen=True, eq=False)
class Tuning:
    """What a search found.

    model: trained with the settings of the best trial; its record has the scores on the test rows.
    trials: in the order in which they ended.
    shown: the score that a person is told; greater: whether more of what decides is better.
    importance: of what was searched, its share in how good the better trials are; empty for few trials.
    """

    model: Model
    trials: Sequence[Trial]
    shown: str
    greater: bool
    importance: Mapping[str, float]

    @property
    def best(self) -> Trial:
        """The trial whose settings the model has."""
        return best_of(self.trials, self.greater)[0]

    def __str__(self) -> str:
        """A table of the best few, the recipe's own choice among them, and what mattered most."""
        ranked = best_of(self.trials, self.greater)
        shown = [each for place, each in enumerate(ranked) if place < _MOST_SHOWN or each.number == 1]
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
        ended = [each for each in self.trials if each.score is not None and self.shown in each.scores]
        scores = [each.scores[self.shown] for each in ended]
        best = list(itertools.accumulate(scores, max if self.greater else min))
        line = Line("best so far", [each.at for each in ended], best)
        panel = Panel("", "seconds", f"best validation {self.shown} so far", [line])
        return chart(f"{len(self.trials)} trials", f"The best few of them: {self}", [panel])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture. Raises OutputError where that cannot be done."""
        write_file(path, self.svg().encode())

    _repr_svg_ = svg  # what a notebook shows


def best_of(trials: Sequence[Trial], greater: bool) -> list[Trial]:
    """Those that were trained to their end, the best first."""
    ended = [(-each.score if greater else each.score, each.number, each) for each in trials if each.score is not None]
    return [each for _, _, each in sorted(ended)]


class SearchFolder:
    """A search on disk; while it is open, it is this process's alone.

        tune.toml    the table and the settings that are not searched
        trials.json  the trials that have ended; trials.svg: the best score against time
        trial-7/     the run that trained with the settings of the best trial: config.toml, model.schuss and all
        lock         held by the process that searches

    Arguments:
        path: made where it does not exist; its parent must. resume: the search that it holds.

    Raises:
        RunError: it holds a search and none is to be resumed, or none and one is, or other things; or it is in use.
        OutputError: it cannot be made or written to.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path, holds = path, (path / _ASKED).is_file()
        if holds != resume:
            there = "holds no search to resume." if resume else "holds a search already: resume it, or give another."
            raise RunError(f"{path} {there}")
        try:
            path.mkdir(exist_ok=True)
            others = {each.name for each in path.iterdir() if each.suffix != ".part"} - {_LOCK}
            if others and not holds:
                raise RunError(f"{path} holds other things ({min(others)}): give a search a folder of its own.")
            lock = locked(path / _LOCK)
        except OSError as error:
            raise OutputError(f"{path}: cannot hold a search ({error.strerror or error}).") from error
        if lock is None:
            raise RunError(f"{path}: another process is searching here. Wait for it, or give another folder.")
        self._lock, self._before = lock, Configuration.read(path / _ASKED) if holds else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """The lock goes with the file."""
        self._lock.close()

    def asked(self, now: Configuration) -> Configuration:
        """What is asked for, with what was before. Raises RunError where that is something else."""
        found = self._before.differences(now) if self._before else []
        if found:
            told = "".join(f"\n  {line}" for line in found)
            raise RunError(f"{self.path}: not what the search was begun with:{told}\nTake another folder.")
        return self._before.updated(now) if self._before else now

    def begin(self, asked: Configuration) -> list[Trial]:
        """Puts down what is asked for; the trials so far. Raises RunError where rows or trials are others than before.

        asked: with the rows.
        """
        write_file(self.path / _ASKED, self.asked(asked).text().encode())
        path = self.path / _TRIALS
        try:
            return msgspec.json.decode(path.read_bytes(), type=list[Trial]) if path.exists() else []
        except (OSError, msgspec.MsgspecError) as error:
            raise RunError(f"{path}: is damaged ({one_line(error)}). Begin a search in another folder.") from error

    def save(self, trials: Sequence[Trial]) -> None:
        """Writes the trials. Raises OutputError."""
        write_file(self.path / _TRIALS, json.dumps([asdict(each) for each in trials], indent=1).encode() + b"\n")
