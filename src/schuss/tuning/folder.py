"""The folder of a search: what was asked for, its trials, and the run of the best of them.

tune.toml    the table and the settings that are not searched
journal.log  what Optuna knows; trials.json: the trials, for others to read; trials.svg: the best score against time
trial-7/     the run that trained with the settings of the best trial: config.toml, model.schuss and all
"""

import json
from collections.abc import Sequence
from pathlib import Path

from schuss.configuration import Configuration
from schuss.errors import OutputError, RunError
from schuss.files import check_writable, write_file
from schuss.tuning.trials import Trial

_ASKED, _JOURNAL, _TRIALS, _PICTURE = "tune.toml", "journal.log", "trials.json", "trials.svg"


class SearchFolder:
    """One search on disk.

    Arguments:
        path: made where it does not exist; its parent must. resume: the search that it holds.

    Raises:
        RunError: it holds a search and none is to be resumed, or none and one is, or other things.
        OutputError: it cannot be made or written to.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        holds = (path / _ASKED).is_file()
        if holds != resume:
            there = "holds no search to resume." if resume else "holds a search already: resume it, or give another."
            raise RunError(f"{path} {there}")
        try:
            path.mkdir(exist_ok=True)
            others = [each.name for each in path.iterdir() if each.suffix != ".part"]
        except OSError as error:
            raise OutputError(f"{path}: cannot hold a search ({error.strerror or error}).") from error
        if others and not holds:
            raise RunError(f"{path} holds other things ({others[0]}): give a search a folder of its own.")
        check_writable(path / _ASKED)
        self._before = Configuration.read(path / _ASKED) if holds else None

    @property
    def journal(self) -> Path:
        """The file of the trials."""
        return self.path / _JOURNAL

    def run_of(self, trial: Trial) -> Path:
        """The folder of its run."""
        return self.path / f"trial-{trial.number}"

    def asked(self, now: Configuration) -> Configuration:
        """What is asked for, with what was before. Raises RunError where that is something else."""
        self._check(now)
        return self._before.updated(now) if self._before else now

    def begin(self, asked: Configuration) -> None:
        """Puts down what is asked for. asked: with the rows. Raises RunError where these are others than before."""
        self._check(asked)
        write_file(self.path / _ASKED, asked.text().encode())

    def _check(self, now: Configuration) -> None:
        found = self._before.differences(now) if self._before else []
        if found:
            told = "".join(f"\n  {line}" for line in found)
            raise RunError(f"{self.path}: not what the search was begun with:{told}\nTake another folder.")

    def save(self, trials: Sequence[Trial], picture: str = "") -> None:
        """Writes the trials, and the picture where there is one. Raises OutputError."""
        write_file(self.path / _TRIALS, (json.dumps([each.plain() for each in trials], indent=1) + "\n").encode())
        if picture:
            write_file(self.path / _PICTURE, picture.encode())
