"""What a person, or a program, reads while a training runs. Observers: they look at events and change nothing."""

import json
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress as Bar, TaskID, TextColumn
from rich.table import Column

from schuss.cross_validation import CrossValidation
from schuss.descent.optimizers import LBFGS
from schuss.ensemble import Averaged
from schuss.evaluating import Evaluated, mean_scores
from schuss.job import Fold, JobEvent
from schuss.metrics import METRICS
from schuss.model import Model
from schuss.preparing import Prepared
from schuss.table.drift import Drift
from schuss.table.schema import CategoricalColumn, Schema
from schuss.training.events import Chunk, Epoch, Event, Finished, MemberEvent, Retried, Steered
from schuss.training.run_folder import without_nan
from schuss.training.stopping import Outcome

_SECONDS_BETWEEN_LINES = 2.0  # where the output is no terminal

_MOST_LINES = 8  # on drift
_SHARES = ("r2", "explained_variance", "mape")  # these, and scores of classes, are told with four digits


class Silent:
    """Says nothing; the ground for those that do."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def __call__(self, event: JobEvent) -> None:
        """Nothing to say."""

    def cross_validated(self, found: CrossValidation) -> None:
        """Nothing to say."""

    def saved(self, model: Model, path: Path, replaced: bool) -> None:
        """Nothing to say."""


class JsonLines(Silent):
    """One JSON object a line on standard output."""

    def __call__(self, event: JobEvent) -> None:
        """Prepared, Epoch and Finished become lines."""
        of: dict[str, int] = {}
        if isinstance(event, MemberEvent):
            of, event = {"member": event.number}, event.event
        if isinstance(event, Prepared):
            task, size = event.encoding.schema.target.task, event.recipe.network.parameters
            told: dict[str, Any] = {"left_out": dict(event.facts.left_out), "drift": [str(one) for one in event.drift]}
            told |= {"members": event.recipe.members} if event.recipe.members > 1 else {}
            self._line("prepared", rows=_part_rows(event), task=task, W=size, **told)
        elif isinstance(event, Epoch):
            scores = dict(event.scores)
            self._line("epoch", **of, epoch=event.epoch, step=event.step, loss=event.loss, validation=scores)
        elif isinstance(event, Finished):
            self._line("finished", **of, outcome=event.outcome.name.lower(), epoch=event.state.epoch)
        elif isinstance(event, Fold):
            self._line("fold", number=event.number, folds=event.folds, scores=dict(event.scores))

    def cross_validated(self, found: CrossValidation) -> None:
        """Mean and standard deviation of each score."""
        self._line("cross-validated", mean=found.mean, deviation=found.deviation, best_epochs=found.best_epochs)

    def saved(self, model: Model, path: Path, replaced: bool) -> None:
        """The last line: where the model is and how good it is."""
        record = model.record
        self._line("saved", path=str(path), scores=record.scores, best_epoch=record.best_epoch, seconds=record.seconds)

    def _line(self, event: str, **content: Any) -> None:
        try:
            click.echo(json.dumps({"event": event, **without_nan(content)}))
        except BrokenPipeError:
            _say_nothing_more()


@dataclass
class _Way:
    """How far a network is. epochs: done, with the part of the running one, of `whole`; began: of them, before now."""

    whole: float
    began: float | None = None
    epochs: float = 0.0
    loss: float = math.nan
    seconds: float = 0.0
    epoch: Epoch | None = None
    best: Epoch | None = None


class Progress(Silent):
    """Words and a bar for a person; plain lines where the output is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _Console(highlight=False)
        self._bar: Bar | None = None
        self._task = TaskID(0)
        self._line_at = -math.inf
        self._prepared: Prepared | None = None
        self._ways: list[_Way] = []  # of each network
        self._begun = 0.0
        self._answered: set[str] = set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The bar is taken down whatever happened."""
        self._stop_bar()

    def __call__(self, event: JobEvent) -> None:
        """Each event in words."""
        if isinstance(event, Prepared):
            for line in introduction(event):
                self._print(line)
            self._begin(event)
        elif isinstance(event, MemberEvent):
            self._trained(event.event, self._ways[event.number - 1], f"network {event.number}: ")
        elif isinstance(event, Averaged):
            self._stop_bar()
            self._print(f"the predictions of {len(event.kept)} of {len(event.ends)} networks are averaged")
        elif isinstance(event, Chunk | Epoch | Steered | Retried | Finished):
            self._trained(event, self._ways[0], "")
            if isinstance(event, Finished):
                self._stop_bar()
                self._print(conclusion(event))
        elif isinstance(event, Evaluated):
            self._print(_test_words(event, self._prepared))
        elif isinstance(event, Fold):
            self._print(f"fold {event.number} of {event.folds}: {score_words(event.scores)}")

    def cross_validated(self, found: CrossValidation) -> None:
        """Mean ± standard deviation of each score."""
        mean, deviation = found.mean, found.deviation
        words = [f"{word} {_score(n, mean[n])} ± {_score(n, deviation[n])}" for n, word in _shown(mean).items()]
        self._print(f"{len(found.scores)} folds: {'   '.join(words)}")

    def saved(self, model: Model, path: Path, replaced: bool) -> None:
        """Where the model is."""
        self._print(f"saved {path}" + (", in place of the one that was there" if replaced else ""))

    def _begin(self, prepared: Prepared) -> None:
        """A training begins."""
        self._prepared, self._begun, epochs = prepared, time.monotonic(), prepared.recipe.plan.epochs
        self._ways = [_Way(epochs) for _ in range(prepared.recipe.members)]
        self._start_bar(epochs, f"epoch {epochs}/{epochs}")

    def _trained(self, event: Event, way: _Way, name: str) -> None:
        """What happened to a network."""
        if isinstance(event, Chunk):
            self._moved(way, event.epoch - 1 + event.rows / self._rows, event.mean, event.rows, event.seconds)
        elif isinstance(event, Epoch):
            way.epoch, way.best = event, event if event.is_best else way.best
            self._moved(way, event.epoch, event.loss, 0, event.seconds)
        elif isinstance(event, Retried):
            self._print(f"  {name}{change_words(event).lstrip()}")
        elif isinstance(event, Steered) and event.id not in self._answered:
            self._answered |= {event.id} if name else set()  # each network tells of it
            self._print(change_words(event))
        elif isinstance(event, Finished) and name:
            way.whole = way.epochs = event.state.epoch
            way.began = way.epochs if way.began is None else way.began
            self._print(f"{name}{conclusion(event)}")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=not self._console.is_terminal, markup=False)

    @property
    def _rows(self) -> int:
        return self._prepared.rows["training"] if self._prepared else 1

    def _start_bar(self, total: float, longest: str) -> None:
        """longest: words on where it is, which have room."""
        if self._console.is_terminal:
            whole = Column(no_wrap=True, min_width=2 + len(longest))
            rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
            columns = (
                TextColumn("  {task.fields[place]}", table_column=whole),
                BarColumn(22, table_column=Column(min_width=10)),
                TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True, min_width=9)),
                TextColumn("{task.fields[words]}", table_column=rest),
            )
            self._bar = Bar(*columns, console=self._console, transient=True, refresh_per_second=5, expand=True)
            self._task = self._bar.add_task("", total=total, place="", left="", words="")
            self._bar.start()

    def _stop_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _moved(self, way: _Way, epochs: float, loss: float, rows: int, seconds: float) -> None:
        """The bar, or a line now and then: of several networks, the mean of those that have begun."""
        way.began = math.ceil(epochs) - 1 if way.began is None else way.began  # or a little later
        way.epochs, way.loss, way.seconds = epochs, loss, seconds
        done, whole = (sum(getattr(each, name) for each in self._ways) for name in ("epochs", "whole"))
        now = time.monotonic()
        if not self._bar and (rows or (now - self._line_at < _SECONDS_BETWEEN_LINES and done < whole)):
            return
        self._line_at = now
        total = math.ceil(whole / len(self._ways))
        place = f"epoch {math.ceil(done / len(self._ways))}/{total}"
        left, words = f"{self._time_left(done, whole)} left", self._words()
        if self._bar:
            self._bar.update(self._task, completed=done / len(self._ways), total=total, place=place, left=left,
                             words=words)  # fmt: skip
        else:
            self._print(f"  {place}  {left}  {words}")

    def _pace(self) -> tuple[float, float]:
        """Epochs of all networks, and the seconds they took: of several those that were seen here."""
        if len(self._ways) == 1:
            return self._ways[0].epochs, self._ways[0].seconds
        return sum(way.epochs - (way.began or 0.0) for way in self._ways), time.monotonic() - self._begun

    def _time_left(self, done: float, whole: float) -> str:
        """Minutes and seconds to the end of the last epoch, or of the time budget."""
        assert self._prepared
        plan, (epochs, seconds) = self._prepared.recipe.plan, self._pace()
        left = seconds / max(epochs, 1e-9) * (whole - done)
        left = min(left, max(plan.seconds - seconds, 0.0)) if plan.seconds else left
        return clock(left)

    def _words(self) -> str:
        """What may be cut off in a narrow terminal, the most telling first."""
        ways, (epochs, seconds) = [way for way in self._ways if way.began is not None], self._pace()
        parts = [loss_words(float(np.mean([way.loss for way in ways if not math.isnan(way.loss)])), self._prepared)]
        if scores := mean_scores([way.epoch.scores for way in ways if way.epoch and way.epoch.scores]):
            one, several = f" (best: epoch {ways[0].best.epoch})" if ways[0].best else "", f" (of {len(ways)} networks)"
            best = one if len(self._ways) == 1 else several
            parts.insert(0, f"validation {_main_score(scores, self._prepared)}{best}")
        if seconds > 0 and epochs > 0:
            parts.append(f"{int(epochs * self._rows / seconds):,} rows/s")
        return "  ".join(parts)


class _Console(Console):
    """Says nothing more once its reader has gone (`| head`): that is no reason to lose a training."""

    def on_broken_pipe(self) -> None:
        """Instead of rich's own answer, which is to exit."""
        _say_nothing_more()


def _say_nothing_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def introduction(prepared: Prepared) -> list[str]:
    """What was read, what it is taken for, and what will be trained."""
    schema, recipe, facts = prepared.encoding.schema, prepared.recipe, prepared.facts
    target = schema.target
    lines = [f"{facts.name}: {facts.rows:,} rows, {column_words(schema, facts.nulls)}"]
    lines += [f"  note: {note}" for note in facts.notes]
    lines += [f"  left out: {name} ({reason})" for name, reason in schema.dropped]
    lines += [f"  left out: {count:,} rows ({reason})" for reason, count in facts.left_out.items()]
    lines += [f"  drift: {words}" for words in drift_words(prepared.drift)]
    others = {"validation": " (others for each network)"} if prepared.folds is not None else {}
    parts = " · ".join(f"{name} {rows:,}{others.get(name, '')}" for name, rows in _part_rows(prepared).items())
    lines.append(f"task: {target.task} ({', '.join(target.names)}: {target.reason})   {parts}")
    inputs = f"{prepared.encoding.features} numbers"
    if prepared.encoding.categories:
        inputs += f" + {sum(prepared.encoding.categories):,} levels"
    chain = " → ".join([inputs, *recipe.network.words])
    rule = f"{recipe.optimizer.name}, {recipe.plan.schedule.name}, batch {recipe.plan.batch_size:,}"
    if isinstance(recipe.optimizer, LBFGS):
        rule = f"{recipe.optimizer.name}, all rows at once"
    count, times = ("network", "") if recipe.members == 1 else (f"{recipe.members} networks", f"{recipe.members} × ")
    lines.append(f"{count}: {chain}   W: {times}{recipe.network.parameters:,} numbers   {rule}")
    if "precision" in recipe.reasons:
        lines.append(f"precision: {recipe.reasons['precision']}")
    return lines


def drift_words(found: Sequence[Drift]) -> list[str]:
    """A line for each difference; of many, for the most alarming ones."""
    more = [f"and {len(found) - _MOST_LINES:,} more"] if len(found) > _MOST_LINES else []
    return [*map(str, found[:_MOST_LINES]), *more]


def column_words(schema: Schema, nulls: Mapping[str, int]) -> str:
    """9 columns: 8 numeric, 1 categorical (5 levels), 207 missing in total_bedrooms; of all rows."""
    counts = Counter(_kind(column) for column in schema.columns)
    levels = sum(column.codes for column in schema.columns if isinstance(column, CategoricalColumn))
    words = [f"{n} {kind}" + (f" ({levels:,} levels)" if kind == "categorical" else "") for kind, n in counts.items()]
    missing = [(nulls.get(column.name, 0), column.name) for column in schema.columns]
    gaps = [(count, name) for count, name in missing if count]
    if len(gaps) > 3:
        words.append(f"{sum(count for count, _ in gaps):,} missing values in {len(gaps)} columns")
    else:
        words += [f"{count:,} missing in {name}" for count, name in gaps]
    count = len(schema.columns)
    return f"{count} column{'' if count == 1 else 's'}: {', '.join(words)}"


def change_words(event: Steered | Retried) -> str:
    """What somebody asked for, or what a divergence led to, and from which step on."""
    if isinstance(event, Steered):
        if event.action == "refused":
            return f"  refused at step {event.step:,}: there is no learning rate that {event.value:.4g} could replace"
        words = event.action.replace("_", " ") + ("" if event.value is None else f" {event.value:.4g}")
        return f"  {words} from step {event.step:,} on"
    back = f"back to step {event.step:,}, with {event.share:.4g} of the learning rate"
    return f"  epoch {event.epoch}: the loss exploded; {back}"


def conclusion(event: Finished) -> str:
    """How it ended, and whose W was kept."""
    state = event.state
    kept = "last W kept"
    if state.best_epoch:
        kept = f"W of epoch {state.best_epoch} kept (best on the validation rows)"
    elif state.best_W is not None:
        kept = "W from before the update kept (best on the validation rows)"
    if event.outcome is Outcome.COMPLETED:
        return f"done at epoch {state.epoch}, {kept}"
    is_running = state.batch > 0 or event.outcome is Outcome.DIVERGED
    words = f"epoch {state.epoch + is_running}: {event.outcome.advice}"
    nothing_kept = state.best_W is None and (event.outcome is Outcome.DIVERGED or not state.epoch)
    nothing_kept |= event.outcome is Outcome.ABANDONED
    return words if nothing_kept else f"{words}. {kept[0].upper()}{kept[1:]}"


def loss_words(loss: float, prepared: Prepared | None) -> str:
    """Loss 2.21e+09 (RMSE 47,010): for a single number to predict, its root is in the target's units."""
    words = f"loss {_rounded(loss)}"
    target = prepared.encoding.schema.target if prepared else None
    if prepared and target and prepared.recipe.loss.name == "squared_error" and len(target.names) == 1 and loss >= 0:
        words += f" (RMSE {_rounded(math.sqrt(loss))})"
    return words


def score_words(scores: Mapping[str, float]) -> str:
    """RMSE 44,912   R² 0.851   MAE 29,640; of several targets each has its RMSE, and R² is their mean."""
    return "   ".join(f"{word} {_score(name, scores[name])}" for name, word in _shown(scores).items())


def _shown(scores: Mapping[str, float]) -> dict[str, str]:
    """The scores that a person is told, and what they are called."""
    several = [name for name in scores if name.startswith("rmse of ")]
    left_out = ("total_loss", "loss", "rmse", "mae") if several else ("total_loss", "loss")
    names = [*several, *(name for name in scores if name not in (*several, *left_out))]
    words = {name: ("mean " if several and name == "r2" else "") + _name(name) for name in names}
    return words if several else words | {"loss": "loss"}


def _test_words(event: Evaluated, prepared: Prepared | None) -> str:
    constant = event.constant
    if prepared and not prepared.encoding.schema.target.classes and prepared.recipe.loss.name != "squared_error":
        return f"test: {score_words(event.scores)}   (best constant alone: loss {_rounded(constant['loss'])})"
    if "rmse of " in " ".join(constant):
        return f"test: {score_words(event.scores)}"
    known = {"rmse": "mean of the target alone", "accuracy": "most frequent class alone"}
    name = next((name for name in known if name in constant), "loss")
    words = known.get(name, "best constant alone")
    if prepared and prepared.encoding.schema.offset:
        words = "best constant beside the offset"
    alone = f"{words}: {named_score(name, constant[name])}"
    return f"test: {score_words(event.scores)}   ({alone})"


def _main_score(scores: Mapping[str, float], prepared: Prepared | None) -> str:
    """The score that decides; where it is the squared error, its root. And how often classes are right."""
    name = prepared.shown if prepared else "loss"
    words = named_score(name, scores[name])
    more = "accuracy" in scores and name != "accuracy"
    return words + (f" accuracy {_score('accuracy', scores['accuracy'])}" if more else "")


def clock(seconds: float) -> str:
    """Minutes and seconds: 3:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def named_score(name: str, value: float) -> str:
    """RMSE 44,912."""
    return f"{_name(name)} {_score(name, value)}"


def _score(name: str, value: float) -> str:
    kind = METRICS.get(name.partition("(")[0])
    four = name in _SHARES or (kind is not None and "binary" in kind.tasks)
    return f"{value:.4f}" if four else _rounded(value)


def _name(score: str) -> str:
    """RMSE, RMSE of price, F1(average=macro), or the name of a metric that a person wrote."""
    name = re.match("[a-z0-9_]*", score)[0]  # type: ignore[index]
    return METRICS[name].words + score.removeprefix(name) if name in METRICS else score


def _rounded(value: float) -> str:
    """Five digits, with thousands separators."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1e9:
        return f"{value:.4g}"
    digits = 0 if value == 0 else max(0, 4 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def _kind(column: object) -> str:
    return type(column).__name__.removesuffix("Column").lower()


def _part_rows(prepared: Prepared) -> dict[str, int]:
    return {name.replace("training", "train"): rows for name, rows in prepared.rows.items()}
