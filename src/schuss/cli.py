"""The command line: arguments -> library calls -> exit code.

Exit codes: 0 done; 1 an error that the message explains; 2 wrong usage; 3 trained, but the descent diverged and an
earlier W was kept; 4 trained, but something of the run folder could not be written or read; 130 interrupted, the best W
so far was kept; 143 the same by SIGTERM.
"""

import io
import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from functools import partial, wraps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

import schuss
from schuss.errors import IncompleteRunWarning, RunError, SchussError, SettingError
from schuss.settings import Settings

if TYPE_CHECKING:
    from schuss.cross_validation import CrossValidation
    from schuss.table.table import Table

_PART = "FRACTION|FILE"
_RUN = ("config", "run", "resume", "force")  # what is kept of a training, and not of its folds


class _Interrupt:
    """The first Ctrl-C or SIGTERM asks for an orderly end of a training; the second, or one before it, ends at once."""

    def __init__(self) -> None:
        self.signal, self.trains = 0, False

    def __call__(self) -> bool:
        return self.signal != 0

    def begin(self, event: object) -> None:
        """The training has begun, whatever its event is."""
        self.trains = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.trains:
            click.echo("interrupted while the table was read: nothing was saved", err=True)
        if self.signal or not self.trains:
            sys.exit(128 + number)
        self.signal = number

    @contextmanager
    def watching(self) -> Iterator["_Interrupt"]:
        """Catches the two signals inside the block."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _ClassWeight(click.ParamType[Any]):
    """yes=2,no=1 -> {"yes": 2.0, "no": 1.0}; balanced stays."""

    name = "weights"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, dict) or value == "balanced":
            return value
        try:
            pairs = [pair.rpartition("=") for pair in value.split(",")]
            return {name.strip(): float(number) for name, _, number in pairs}
        except ValueError:
            self.fail(f"{value!r}: give balanced, or factors such as yes=2,no=1.", param, ctx)


class _Part(click.ParamType[Any]):
    """A fraction where the text is a number, otherwise the file of that name."""

    name = _PART

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return float(value)
        except ValueError:
            return value


def _setting_options(command: Callable[..., Any], without: Sequence[str] = ()) -> Callable[..., Any]:
    """An option for every setting, with the help and the default that stand in settings.py."""
    for item in reversed([item for item in fields(Settings) if item.name not in without]):
        limits, default = item.metadata, item.default
        kind: Any = float
        if "names" in limits:
            kind = click.Choice(limits["names"])
        elif limits.get("whole"):
            kind = int
        elif {"bytes", "text", "metrics", "layers", "groups"} & set(limits):
            kind = str
        text = limits["help"]
        if "groups" in limits:
            text = f"{text[:-1]}: {', '.join(limits['groups'])}; with numbers in brackets, such as NAME(number=value)."
        text = text if default in (None, MISSING) else f"{text} [default: {default}]"
        command = click.option(f"--{item.name.replace('_', '-')}", item.name, type=kind, default=None, help=text)(
            command
        )
    return command


def _table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The table, what is predicted from what, and how the rows are split."""
    tasks = click.Choice(["regression", "binary", "multiclass", "multilabel"])
    factors = "Of the training rows of each class: balanced, or factors such as yes=2,no=1."
    told = "Overrules what the target says; multilabel: several targets that are true or false each."
    for decorator in (
        click.option("--test", type=_Part(), metavar=_PART, help="Rows that score it at the end. [default: 0.1]"),
        click.option("--validation", type=_Part(), metavar=_PART, help="Rows that choose the best W. [default: 0.1]"),
        click.option("--task", type=tasks, help=told),
        click.option("--exclude", "-x", multiple=True, help="Column to leave out; may be repeated."),
        click.option("--class-weight", type=_ClassWeight(), help=factors),
        click.option("--exposure", help="Column whose logarithm is added to the output; poisson, gamma, tweedie."),
        click.option("--offset", help="Column that is added to the output, before the link."),
        click.option("--weight", help="Column of row weights."),
        click.option("--target", "-t", multiple=True, help="Column to predict; repeat it for several numbers."),
        click.argument("table", nargs=-1),
    ):
        command = decorator(command)
    return command


def _source(table: tuple[str, ...]) -> object:
    """One path, several, or None."""
    return list(table) if len(table) > 1 else table[0] if table else None


def _chosen(options: dict[str, Any]) -> dict[str, Any]:
    """What was given of the options; one that may be repeated and was not given is ()."""
    repeated = ("target", "exclude")
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    return {name: value for name, value in given.items() if value or name not in repeated}


def _check_given(table: tuple[str, ...], target: object) -> None:
    """Raises UsageError where there is no table or no target."""
    if not table or not target:
        missing = "option '--target' / '-t'" if table else "argument 'TABLE'"
        raise click.UsageError(f"Missing {missing}.")


def _picture_path(out: Path | None) -> None:
    """Raises SettingError or OutputError where no picture can be written there."""
    from schuss.files import check_writable

    if out and out.suffix != ".svg":
        raise SettingError(f"{out}: a picture is an .svg file; end its name so.")
    if out:
        check_writable(out)


def _format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How text files are read: six options, which the command gets as its argument `format`."""

    @wraps(command)
    def with_format(
        separator: str | None,
        no_header: bool,
        missing: tuple[str, ...],
        comment: str,
        suffix: str,
        rejects: Path | None,
        **others: Any,
    ) -> None:
        known = schuss.TableFormat()
        separator = separator.replace("\\t", "\t") if separator else separator
        format = schuss.TableFormat(separator, not no_header, known.missing + missing, comment, suffix, rejects)
        command(**others, format=format)

    taken: Callable[..., Any] = with_format
    for decorator in (
        click.option(
            "--rejects",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Leave out rows with too many or too few values, and write them to this file.",
        ),
        click.option("--suffix", default="", help="Cut off the end of texts that have it: . makes yes of 'yes.'"),
        click.option("--comment", default="", help="Lines that begin with it are skipped."),
        click.option("--missing", multiple=True, help="One more text for a missing value; may be repeated."),
        click.option(
            "--no-header", is_flag=True, help="The first line holds values: columns are column_1, column_2, …"
        ),
        click.option(
            "--separator",
            help="Between values; found from the file where not given. \\t is a tab, a blank any number of them.",
        ),
    ):
        taken = decorator(taken)
    return taken


def _default_model(table: tuple[str, ...]) -> Path:
    """houses.csv.gz -> houses.schuss, in the working folder; model.schuss for several tables, and for none.

    What follows the ? of an address is no part of its name.
    """
    if len(table) != 1:
        return Path("model.schuss")
    name = Path(table[0].partition("?")[0] if "://" in table[0] else table[0]).name
    if any(letter in name for letter in "*?["):
        return Path("model.schuss")
    known = (".gz", ".zst", ".csv", ".tsv", ".txt", ".data", ".parquet", ".arrow", ".feather", ".ipc")
    for ending in known:
        name = name.removesuffix(ending)
    return Path(f"{name or 'model'}.schuss")


def _tell_notes(table: "Table") -> None:
    """What a person should know about the reading, such as rows that were left out."""
    for note in table.notes:
        click.echo(f"note: {note}", err=True)


def _warn_of_drift(model: schuss.Model, table: "Table") -> None:
    """One line where a table differs much from the training rows; one beyond its memory is not read again for that."""
    from schuss.table.drift import ALARMING, drift
    from schuss.table.pieces import Pieces

    if isinstance(table.held, Pieces):
        return
    alarms = [one for one in drift(model.encoding.schema, table) if one.alarm >= ALARMING]
    if alarms:
        more = f" (and {len(alarms) - 1:,} more)" if len(alarms) > 1 else ""
        click.echo(f"warning: {table.name} differs from the training rows: {alarms[0]}{more}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(schuss.__version__, package_name="schuss")
def cli() -> None:
    """Trains neural networks on tables."""


@cli.command()
@_table_options
@click.option(
    "--from",
    "known",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Train this model on with TABLE; its target, columns and network stay. Only --out can replace it.",
)
@click.option(
    "--valid-by",
    metavar="group:COLUMN|time:COLUMN",
    help="Hold out whole groups, or the latest rows; the column is then no feature.",
)
@click.option("--keep-valid-by", is_flag=True, default=None, help="It is a feature all the same.")
@click.option(
    "--cv",
    type=int,
    metavar="FOLDS",
    help="Cross-validate first. The model saved is then trained as those of the folds were, on all rows, none tested.",
)
@click.option(
    "--out-of-fold",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --cv: the prediction of each row by a model that did not see it (.csv or .parquet).",
)
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    help="Model file. [default: TABLE.schuss or model.schuss]",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The config.toml of a run, for whatever is not given here: the same W comes out.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for what happens: configuration, events, checkpoints, the best model so far.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in that folder from its last checkpoint.")
@click.option("--force", is_flag=True, help="Resume even where data or settings are others now.")
@click.option(
    "--log",
    type=click.Choice(["tensorboard"]),
    help="Mirror the curves for TensorBoard, in DIR/tensorboard of --run or in the folder tensorboard.",
)
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors and warnings.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: each epoch, then the result.")
@_format_options
@_setting_options
def train(
    table: tuple[str, ...],
    target: tuple[str, ...],
    known: Path | None,
    cv: int | None,
    out_of_fold: Path | None,
    out: Path | None,
    log: str | None,
    quiet: bool,
    as_json: bool,
    format: "schuss.TableFormat",
    **others: Any,
) -> None:
    """Trains a network on TABLE (CSV, TSV, Parquet, Arrow; .gz; several files or a glob) and saves it."""
    from schuss.cross_validation import with_scores
    from schuss.files import check_writable
    from schuss.progress import JsonLines, Progress, Silent
    from schuss.tensorboard import TensorBoard

    run, config = others.get("run"), others.get("config")
    if not (config or others["resume"]):
        _check_given(table, target or known)
    if known is not None and (run or config):
        raise SettingError("A run folder keeps a training from the start: leave out --from, or --run and --config.")
    if out is None and known is not None and _default_model(table).resolve() == known.resolve():
        raise SettingError(f"{known} is what is read: name the new model with --out, as {known} to replace it.")
    out = _model_path(out or (run / "model.schuss" if run else _default_model(table)))
    if run is None or out.parent != run:
        check_writable(out)
    replaced = out.exists() and not others["resume"]
    if cv is None and out_of_fold:
        raise click.UsageError("--out-of-fold needs --cv.")
    if cv is not None and (known or others["test"] is not None or others["resume"]):
        raise click.UsageError("--cv goes with none of --from, --test and --resume: each row is tested in its fold.")
    mirrors = [TensorBoard((run or Path()) / "tensorboard")] if log else []
    report = Silent() if quiet else JsonLines() if as_json else Progress()
    interrupt = _Interrupt()
    with interrupt.watching(), report:
        train = schuss.train if known is None else schuss.Model.load(known).update
        source, given = _source(table), _chosen({"target": target, **others})
        given |= {"observers": [interrupt.begin, report, *mirrors], "interrupted": interrupt}
        if format != schuss.TableFormat():
            given["format"] = format
        found = None
        if cv is not None:
            read, found = _cross_validated(source, cv, out_of_fold, interrupt, given)
            source = source if run else read  # a run folder says which file it was
            report.cross_validated(found)
            given["test"] = 0.0
        model = train(source, **given)
        if found:
            model.record = with_scores(model.record, found)
        if interrupt.signal and not model.record.epochs:
            click.echo("interrupted before the first epoch was done: nothing was saved", err=True)
            sys.exit(128 + interrupt.signal)
        model.save(out)
    if not (interrupt.trains or quiet):
        click.echo(f"{run} had come to its end before: nothing was trained", err=True)
    report.saved(model, out, replaced)
    _exit_as_trained(interrupt, model)


@cli.command("find-rate")
@_table_options
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Picture: .svg.")
@click.option("--json", "as_json", is_flag=True, help="Rates, losses and the suggestion as one JSON object.")
@_format_options
@partial(_setting_options, without=("learning_rate", "schedule", "epochs", "seconds", "patience", "members"))
def find_rate(table: tuple[str, ...], target: tuple[str, ...], out: Path | None, as_json: bool, **others: Any) -> None:
    """Tries ever longer steps on TABLE and suggests a learning rate."""
    _check_given(table, target)
    _picture_path(out)
    found = schuss.find_learning_rate(_source(table), target, **_chosen(others))
    if as_json:
        told = {"suggestion": found.suggestion, "reason": found.reason}
        click.echo(json.dumps({**told, "rates": found.rates.tolist(), "losses": found.losses.tolist()}))
    else:
        click.echo(f"learning rate {found.suggestion:.3g}: {found.reason}")
    if out:
        found.save(out)


@cli.command()
@_table_options
@click.option(
    "--optimizers",
    default="adamw,momentum,lion",
    show_default=True,
    help='Names between commas, with numbers in brackets: adam,"momentum(momentum=0.95)",lbfgs.',
)
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Picture: .svg.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for each optimiser.")
@_format_options
@partial(_setting_options, without=("optimizer", "members"))
def compare(
    table: tuple[str, ...],
    target: tuple[str, ...],
    optimizers: str,
    out: Path | None,
    as_json: bool,
    **others: Any,
) -> None:
    """Trains on TABLE with several optimisers from the same start, and shows which is fastest and best."""
    from schuss.training.run_folder import without_nan
    from schuss.view.comparison import Contender

    _check_given(table, target)
    _picture_path(out)

    def tell(event: object) -> None:
        if not isinstance(event, Contender):
            return
        if as_json:
            told = {"optimizer": event.optimizer, "outcome": event.outcome, **event.figures()}
            columns = {name: getattr(event, name).tolist() for name in ("steps", "seconds", "losses", "validation")}
            click.echo(json.dumps(without_nan({**told, "epochs": columns})))
        else:
            click.echo(f"{event.optimizer}: {event.outcome}", err=True)

    interrupt = _Interrupt()
    with interrupt.watching():
        found = schuss.compare(
            _source(table),
            target,
            re.split(r",(?![^(\[]*[)\]])", optimizers),
            observers=[interrupt.begin, tell],
            interrupted=interrupt,
            **_chosen(others),
        )
    if not as_json:
        click.echo(str(found))
    if out:
        found.save(out)
    if interrupt.signal:
        sys.exit(128 + interrupt.signal)


@cli.command()
@_table_options
@click.option("--valid-by", metavar="group:COLUMN|time:COLUMN", help="Hold out whole groups, or the latest rows.")
@click.option("--minutes", type=float, help="For all of it. [default: 10, if there are no --trials]")
@click.option("--trials", type=int, help="At most.")
@click.option("--workers", type=int, default=1, help="Trials at the same time, of one thread each. [default: 1]")
@click.option(
    "--run", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the trials and the run of the best."
)
@click.option("--resume", is_flag=True, help="Go on with the search in that folder.")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Model file. [default: TABLE.schuss or DIR/model.schuss]"
)
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors and warnings.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: each trial, then the last training.")
@_format_options
@_setting_options
def tune(
    table: tuple[str, ...],
    target: tuple[str, ...],
    out: Path | None,
    quiet: bool,
    as_json: bool,
    format: "schuss.TableFormat",
    **others: Any,
) -> None:
    """Searches the settings that suit TABLE, trains a network with them and saves it. A setting that is given stays."""
    from schuss.files import check_writable
    from schuss.progress import Silent
    from schuss.tuning.progress import TuningLines, TuningProgress

    run = others["run"]
    if not others["resume"]:
        _check_given(table, target)
    out = _model_path(out or (run / "model.schuss" if run else _default_model(table)))
    if run is None or out.parent != run:
        check_writable(out)
    replaced = out.exists() and not others["resume"]
    report: Any = Silent() if quiet else TuningLines() if as_json else TuningProgress()
    interrupt = _Interrupt()
    given = _chosen({"target": target, **others})
    if format != schuss.TableFormat():
        given["format"] = format
    with interrupt.watching(), report:
        try:
            found = schuss.tune(_source(table), observers=[interrupt.begin, report], interrupted=interrupt, **given)
        except KeyboardInterrupt:
            click.echo("interrupted before the first trial was done: nothing was saved", err=True)
            sys.exit(128 + interrupt.signal)
        found.model.save(out)
    report.saved(found.model, out, replaced)
    _exit_as_trained(interrupt, found.model)


def _model_path(out: Path) -> Path:
    """Raises SettingError where a model cannot have such a name."""
    if out.suffix != ".schuss":
        raise SettingError(f"{out}: a model is a .schuss file; end its name so.")
    return out


def _exit_as_trained(interrupt: _Interrupt, model: schuss.Model) -> None:
    """The exit code of a training that saved a model, if it is not 0."""
    if interrupt.signal:
        sys.exit(128 + interrupt.signal)
    if model.record.outcome == "diverged":
        sys.exit(3)
    if _incomplete:
        sys.exit(4)


def _cross_validated(
    source: object, folds: int, out: Path | None, interrupt: _Interrupt, others: dict[str, Any]
) -> "tuple[Table, CrossValidation]":
    """The table, which is read once, and what cross-validation found; predictions are written to a file, if any."""
    from schuss.cross_validation import check_ending, cross_validate
    from schuss.files import check_writable
    from schuss.preparing import make_settings, memory_of
    from schuss.table.memory import memory_for
    from schuss.table.source import read_table

    if out:
        check_ending(out)
        check_writable(out)
    settings = make_settings({item.name: others[item.name] for item in fields(Settings) if item.name in others})
    read = read_table(
        source, others.get("format") or schuss.TableFormat(), memory=memory_for(source, memory_of(settings))
    )
    try:
        found = cross_validate(read, folds=folds, **{name: value for name, value in others.items() if name not in _RUN})
    except KeyboardInterrupt:
        click.echo("interrupted before the last fold was done: nothing was saved", err=True)
        sys.exit(128 + interrupt.signal)
    if out:
        found.save(out)
    return read, found


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("table", nargs=-1, required=True)
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="File: .csv or .parquet.")
@click.option("--probabilities", is_flag=True, help="Add a column for the probability of each class.")
@click.option("--spread", is_flag=True, help="Add how far the networks of an ensemble differ: a standard deviation.")
@_format_options
def predict(
    model: Path,
    table: tuple[str, ...],
    out: Path,
    probabilities: bool,
    spread: bool,
    format: "schuss.TableFormat",
) -> None:
    """Predicts every row of TABLE with MODEL and writes the predictions, in order, to a file."""
    from schuss.files import check_writable
    from schuss.model.model import read_for
    from schuss.model.predictions import write_predictions

    if out.resolve() in (model.resolve(), *(Path(each).resolve() for each in table)):
        raise SettingError(f"{out} is what is read: give the predictions a name of their own.")
    check_writable(out)
    trained = schuss.Model.load(model)
    read = read_for(trained.encoding, _source(table), format)
    write_predictions(trained, read, out, probabilities, spread=spread)
    _tell_notes(read)
    click.echo(f"{len(read):,} predictions written to {out}")
    _warn_of_drift(trained, read)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("table", nargs=-1, required=True)
@click.option(
    "--metric",
    "-m",
    "metrics",
    multiple=True,
    help="One more metric than the loss; may be repeated. [default: the usual]",
)
@click.option("--json", "as_json", is_flag=True, help="The scores as one JSON object.")
@_format_options
def evaluate(
    model: Path, table: tuple[str, ...], metrics: tuple[str, ...], as_json: bool, format: "schuss.TableFormat"
) -> None:
    """Scores MODEL on a TABLE that holds the target."""
    from schuss.model.model import read_for
    from schuss.progress import score_words
    from schuss.training.run_folder import without_nan

    trained = schuss.Model.load(model)
    read = read_for(trained.encoding, _source(table), format)
    scores = trained.evaluate(read, metrics=metrics or None)
    _tell_notes(read)
    click.echo(json.dumps(without_nan(scores)) if as_json else score_words(scores))
    _warn_of_drift(trained, read)


@cli.command()
@click.argument("path")
@click.option("--target", "-t", multiple=True, help="Of a table: the column to predict.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@_format_options
def inspect(path: str, target: tuple[str, ...], as_json: bool, format: "schuss.TableFormat") -> None:
    """Shows what is in a MODEL, or what would be done with each column of a TABLE."""
    from schuss.view.inspection import inspect_model, inspect_table

    if path.endswith(".schuss"):
        inspect_model(schuss.Model.load(path), as_json)
    else:
        inspect_table(path, target, format, as_json)


@cli.command()
@click.argument("folder", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def runs(folder: tuple[Path, ...], as_json: bool) -> None:
    """Lists the runs in FOLDER, the working folder if not given: how far they are, and how good."""
    from schuss.view.runs import list_runs

    list_runs(folder or (Path(),), as_json)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("action", type=click.Choice(["pause", "resume", "stop", "abandon", "learning-rate"]))
@click.argument("value", type=float, required=False)
@click.option("--wait", default=10.0, help="Seconds to wait for the answer.  [default: 10]")
def control(run: Path, action: str, value: float | None, wait: float) -> None:
    """Asks the training in the folder RUN for something: ACTION is pause, resume, stop (and keep the best W so far),
    abandon (and keep nothing), or learning-rate VALUE.
    """
    from schuss.training.run_folder import answer_to, send

    id = send(run, action.replace("-", "_"), value)
    answer = answer_to(run, id, wait)
    if answer is None:
        click.echo(f"{run}: has not answered yet; it will after its running chunk of steps", err=True)
        sys.exit(1)
    if answer["action"] == "refused":
        raise RunError(f"{run}: its optimizer has no learning rate; it goes on as it is.")
    click.echo(f"{run}: {action}{'' if value is None else f' {value:g}'} from step {answer['step']:,} on")


@cli.command()
@click.option("--clear", is_flag=True, help="Remove all of it; whoever reads it goes on.")
def cache(clear: bool) -> None:
    """Shows what is kept of tables that were larger than memory, and where."""
    from schuss.table import cache as cached
    from schuss.table.encoded import name_of

    folder = cached.cache_folder()
    found = cached.entries(folder)
    for entry in found:
        click.echo(f"{name_of(entry)}, {entry.bytes / 1e6:,.1f} MB, {entry.seconds / 3600:,.1f} hours old")
    if clear:
        cached.clear(folder)
    size = sum(entry.bytes for entry in found) / 1e6
    click.echo(f"{folder}: {len(found):,} entries, {size:,.1f} MB" + (", removed" if clear else ""))


_incomplete: list[str] = []  # what could not be kept of a run


def _show_warning(message: Warning | str, *where: Any) -> None:
    """A warning is one line, without the place in the code that gave it."""
    if isinstance(message, IncompleteRunWarning):
        _incomplete.append(str(message))
    click.echo(f"warning: {message}", err=True)


def main() -> None:
    """The program: errors become one message and a non-zero exit code, never a traceback."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where the terminal knows no arrows
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except SchussError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except MemoryError as error:
        click.echo(f"error: there is not enough memory ({error}). Choose a smaller network or table.", err=True)
        sys.exit(1)
    except BrokenPipeError:  # whoever read what was said has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
