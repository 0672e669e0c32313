"""The folder of one run: what was asked for, what happened, states to go on from, commands, and a lock.

    config.toml    everything resolved: given back to schuss, it trains the same W
    events.jsonl   one line for each event, readable while it grows; after a crash its last line may be cut off
    checkpoints/   the last states
    model.schuss   the best model so far
    commands/      what is asked of the run while it trains
    lock           held by the process that trains
    member1/ …     of an ensemble: events and checkpoints of each network

Of what cannot be written here nothing ends a training: it goes on, says so, and `failed` tells.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from schuss.errors import ModelFileError, NewerFormatError, OutputError, RunError
from schuss.files import STORAGE, Storage, write_file
from schuss.training import checkpoint
from schuss.training.control import ACTIONS, Command
from schuss.training.events import Chunk, Epoch, Finished, MemberEvent, Reached, Retried, Steered
from schuss.training.state import TrainingState

CONFIG, EVENTS, MODEL = "config.toml", "events.jsonl", "model.schuss"
_CHECKPOINTS, _COMMANDS, _LOCK = "checkpoints", "commands", "lock"
_OWN = (CONFIG, EVENTS, _CHECKPOINTS, _COMMANDS, _LOCK, "tensorboard")
_COMPLETE = b"\n# complete\n"  # the last line of a configuration
_PART = ".part"  # of a file that is being written
_LOOK_SECONDS = 0.05
_LOCK_TRIES, _LOCK_SECONDS = 5, 0.05  # whoever only looks whether a run is alive holds its lock for a moment


class RunFolder:
    """One run on disk; while it is open, it is this process's alone.

    Arguments:
        path: made where it does not exist; its parent must. resume: only where it holds a run.

    Raises:
        RunError: another process trains here, or the folder holds something else.
        OutputError: the folder cannot be made or written to.
    """

    def __init__(self, path: str | os.PathLike[str], storage: Storage = STORAGE, *, resume: bool = False) -> None:
        self.path, self.storage, self._seconds, self._kept, self._resume = Path(path), storage, 30.0, 2, resume
        self.failed: list[str] = []  # what could not be written, in words
        self.save_model: Callable[[TrainingState], None] = lambda state: None
        self.members: list[RunFolder] = []  # of an ensemble, one for each network
        self._opened, self._answered = contextlib.ExitStack(), set[str]()
        self._lock: BinaryIO | None = None
        self._log: BinaryIO | None = None
        self._lost, self._saved_at, self._model_epoch = 0, time.monotonic(), -1

    def __enter__(self) -> Self:
        if self._resume and not (self.path / CONFIG).exists():
            raise RunError(f"{self.path} holds no run to resume.")
        try:
            self.path.mkdir(exist_ok=True)
            others = [item.name for item in self.path.iterdir() if item.name not in _OWN and item.suffix != _PART]
            if others and not (self.path / CONFIG).exists():
                raise RunError(f"{self.path} holds other things ({others[0]}): give a run a folder of its own.")
            for name in (_CHECKPOINTS, _COMMANDS):
                (self.path / name).mkdir(exist_ok=True)
            self._lock = locked(self.path / _LOCK)
            if self._lock:
                self._clear()
            self._log = (self.path / EVENTS).open("ab", buffering=0)
        except OSError as error:
            self.__exit__(None, None, None)
            raise OutputError(f"{self.path}: cannot hold a run ({error.strerror or error}).") from error
        if self._lock is None:
            self.__exit__(None, None, None)
            raise RunError(f"{self.path}: another process is training here. Wait for it, or give another folder.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The lock goes with the file."""
        self._opened.close()
        for file in (self._log, self._lock):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()

    def _clear(self) -> None:
        """Removes what one that was killed was writing; where names are not given in one step, it may be needed."""
        for rest in (*self.path.glob(f".*{_PART}"), *(self.path / _CHECKPOINTS).glob(f".*{_PART}")):
            torn = (self.path / CONFIG).exists() and not self.holds_run()
            if torn and rest.name.startswith(f".{CONFIG}") and _is_complete(rest):
                rest.replace(self.path / CONFIG)
            else:
                rest.unlink(missing_ok=True)

    def networks(self, count: int) -> "list[RunFolder]":
        """Where each of so many networks keeps its events and checkpoints, not open yet; of a single one it is here."""
        if count > 1 and not self.members:
            self.members = [RunFolder(self.path / f"member{number + 1}", self.storage) for number in range(count)]
        return self.members or [self]

    def open_members(self) -> None:
        """Once there is a configuration: until then the folder holds nothing else. Raises OutputError."""
        for member in self.members:
            member.rotate(self._seconds, self._kept)
            self._opened.enter_context(member)

    # ---- what was asked for ----------------------------------------------------------------------------------------

    def holds_run(self) -> bool:
        """Whether a run was begun here."""
        return _is_complete(self.path / CONFIG)

    def write_config(self, text: str) -> None:
        """Replaces the configuration. Raises OutputError."""
        write_file(self.path / CONFIG, text.encode() + _COMPLETE, self.storage)

    # ---- what happened ---------------------------------------------------------------------------------------------

    def __call__(self, event: object) -> None:
        """Puts events of the training down, those of a member in its folder; what was asked is answered here."""
        if isinstance(event, MemberEvent):
            self.members[event.number - 1](event.event)
            if not isinstance(event.event, Steered) or event.event.id in self._answered:
                return
            event = event.event
            self._answered.add(event.id)
        if isinstance(event, Reached):
            self.save(event.state)
        elif (line := told(event)) is not None:
            self.log(**line)
        if isinstance(event, Finished):
            self.save(event.state)

    def log(self, **line: Any) -> None:
        """Adds a line to the events; where that fails it is counted, and the next line that can be written says so."""
        content = json.dumps(without_nan({**line, "time": round(time.time(), 3)})).encode() + b"\n"
        if self._lost:
            content = b"\n" + json.dumps({"event": "gap", "lost": self._lost}).encode() + b"\n" + content
        try:
            assert self._log
            self.storage.append(self._log, content)
            self._lost = 0
        except OSError as error:
            self._lost += 1
            self._tell(self.path / EVENTS, f"{error.strerror or error}: events are missing there")

    def _tell(self, place: Path, words: str) -> None:
        """Once of each place, however often it happens there."""
        if not any(told.startswith(f"{place}: ") for told in self.failed):
            self.failed.append(f"{place}: {words}")

    # ---- states to go on from --------------------------------------------------------------------------------------

    def rotate(self, seconds: float, kept: int) -> None:
        """Seconds between two checkpoints, at least, and how many of them stay."""
        self._seconds, self._kept = seconds, kept

    def wants_state(self) -> bool:
        """Whether it is time for a checkpoint; once, for it may be written later, by another thread."""
        wanted = time.monotonic() - self._saved_at >= self._seconds
        if wanted:
            self._saved_at = time.monotonic()
        return wanted

    def save(self, state: TrainingState) -> None:
        """A checkpoint, and the model where there is a better one; then the oldest checkpoints go."""
        self._saved_at = time.monotonic()
        folder = self.path / _CHECKPOINTS
        try:
            checkpoint.save(folder / checkpoint.name_of(state), state, self.storage)
            for old in checkpoint.newest_first(folder)[self._kept :]:
                self.storage.remove(old)
            if state.best_W is None or state.best_epoch != self._model_epoch:
                self.save_model(state)
                self._model_epoch = state.best_epoch
        except OSError as error:
            self._tell(folder, str(error))

    def newest(self) -> tuple[TrainingState | None, tuple[str, ...]]:
        """The newest state that can be read, and what is wrong with newer ones, which are put aside.

        Raises:
            NewerFormatError: it is from a newer version.
        """
        wrong: list[str] = []
        for path in checkpoint.newest_first(self.path / _CHECKPOINTS):
            try:
                return checkpoint.load(path), tuple(wrong)
            except NewerFormatError:
                raise
            except ModelFileError as error:
                wrong.append(str(error))
                path.replace(path.with_suffix(".damaged"))
        return None, tuple(wrong)

    # ---- what is asked of it ---------------------------------------------------------------------------------------

    def commands(self) -> Sequence[Command]:
        """What has been asked since the last look, in order."""
        found = []
        with contextlib.suppress(OSError):
            for path in sorted((self.path / _COMMANDS).glob("*.json")):
                command = _command(path)
                path.unlink(missing_ok=True)
                if command is None:
                    self.log(event="refused", id=path.stem)
                else:
                    found.append(command)
        return found


def send(path: str | os.PathLike[str], action: str, value: float | None = None) -> str:
    """Asks a running training for something; returns the id under which its events will answer.

    Arguments:
        path: of the run's folder.
        action: pause, resume, stop, abandon or learning_rate. value: the new learning rate, above 0.

    Raises:
        RunError: there is no run, none is training there, or it cannot be asked for that.
    """
    folder = Path(path)
    if action not in ACTIONS:
        raise RunError(f"A run cannot be asked for {action!r}: choose from {', '.join(ACTIONS)}.")
    if (action == "learning_rate") != (value is not None):
        raise RunError(f"{action} is given {value}: a learning rate needs a number, and nothing else takes one.")
    if value is not None and not 0 < value < math.inf:
        raise RunError(f"The learning rate is {value}: it must be above 0 and finite.")
    if not is_training(folder):
        raise RunError(f"{folder}: no training is running there.")
    name = f"{time.time_ns():020d}-{os.urandom(3).hex()}"
    write_file(folder / _COMMANDS / f"{name}.json", json.dumps({"action": action, "value": value}).encode())
    return name


def answer_to(path: str | os.PathLike[str], id: str, timeout_seconds: float) -> dict[str, Any] | None:
    """The event of a command: its step, and its action or "refused"; None where there is none within that time."""
    until = time.monotonic() + timeout_seconds
    while True:
        for line in read_events(path):
            if line["event"] == "steered" and line["id"] == id:
                return line
        if time.monotonic() >= until:
            return None
        time.sleep(_LOOK_SECONDS)


def is_training(path: Path) -> bool:
    """Whether a process holds the lock of a run."""
    if not (path / _LOCK).exists():
        return False
    lock = locked(path / _LOCK, tries=1)
    if lock is None:
        return True
    lock.close()
    return False


def told(event: object) -> dict[str, Any] | None:
    """An event of a training as plain values; None for what need not be told."""
    if isinstance(event, Chunk):
        line = {"event": "chunk", "step": event.last_step, "first_step": event.first_step, "epoch": event.epoch,
                "rows": event.rows, "loss": event.mean, "least": event.least, "greatest": event.greatest,
                "learning_rate": event.learning_rate, "seconds": event.seconds}  # fmt: skip
    elif isinstance(event, Epoch):
        line = {"event": "epoch", "step": event.step, "epoch": event.epoch, "loss": event.loss,
                "validation": dict(event.scores), "is_best": event.is_best, "seconds": event.seconds}  # fmt: skip
    elif isinstance(event, Steered):
        line = {"event": "steered", "step": event.step, "action": event.action, "value": event.value, "id": event.id,
                "tries": event.tries}  # fmt: skip
    elif isinstance(event, Retried):
        line = {"event": "retried", "step": event.step, "epoch": event.epoch, "share": event.share,
                "tries": event.tries}  # fmt: skip
    elif isinstance(event, Finished):
        line = {"event": "finished", "outcome": event.outcome.name.lower(), "epoch": event.state.epoch,
                "step": event.state.engine.step, "best_epoch": event.state.best_epoch,
                "seconds": event.state.seconds}  # fmt: skip
    else:
        return None
    return line


def read_events(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The events of a run so far; lines that were cut off are left out, and what a resumed run has taken back."""
    found: list[dict[str, Any]] = []
    with contextlib.suppress(FileNotFoundError):
        for text in (Path(path) / EVENTS).read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if not isinstance(line, dict):
                continue
            if line.get("event") == "resumed":
                taken_back = ("chunk", "epoch", "retried")  # commands are repeated at their steps
                found = [one for one in found if one["event"] not in taken_back or one["step"] <= line["step"]]
            found.append(line)
    return found


def without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_complete(path: Path) -> bool:
    """Whether a configuration is there to its last line."""
    return path.is_file() and path.read_bytes().endswith(_COMPLETE)


def _command(path: Path) -> Command | None:
    """What a file asks for; None where it is not ours."""
    try:
        content = json.loads(path.read_bytes())
        action, value = content["action"], content.get("value")
        rate = None if value is None else float(value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    fits = action in ACTIONS and (action == "learning_rate") == (rate is not None)
    return Command(action, rate, path.stem) if fits and (rate is None or 0 < rate < math.inf) else None


def locked(path: Path, tries: int = _LOCK_TRIES) -> BinaryIO | None:
    """The open file, which holds the lock until it is closed or the process ends; None where another one has it."""
    file = path.open("ab")
    for number in range(tries):
        try:
            _lock(file)
            return file
        except OSError:
            time.sleep(_LOCK_SECONDS if number + 1 < tries else 0)
    file.close()
    return None


try:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

except ImportError:  # Windows
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
