"""The command line: arguments -> library calls -> exit code.

Exit codes: 0 done; 1 an error that the message explains; 2 wrong usage; 3 trained, but the descent diverged and an
earlier W was kept; 130 interrupted, the best W so far was kept; 143 the same by SIGTERM.
"""

import io
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

import schuss
from schuss.errors import SchussError, SettingError
from schuss.settings import Settings

if TYPE_CHECKING:
    from schuss.table.table import Table

_PART = "FRACTION|FILE"


class _Interrupt:
    """The first Ctrl-C or SIGTERM asks for an orderly end of a training; the second, or one before it, ends at once."""

    def __init__(self) -> None:
        self.signal, self._trains = 0, False

    def __call__(self) -> bool:
        return self.signal != 0

    def begin(self, event: object) -> None:
        """The training has begun, whatever its event is."""
        self._trains = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._trains:
            click.echo("interrupted while the table was read: nothing was saved", err=True)
        if self.signal or not self._trains:
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


class _Widths(click.ParamType[Any]):
    """256,256 -> (256, 256); none -> ()."""

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        if value.strip() in ("", "none", "()"):
            return ()
        try:
            return tuple(int(width) for width in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: give widths such as 256,256, or none.", param, ctx)


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


def _setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for every setting, with the help and the default that stand in settings.py."""
    for item in reversed(fields(Settings)):
        limits, default = item.metadata, item.default
        kind: Any = float
        if limits.get("widths"):
            kind = _Widths()
        elif "names" in limits:
            kind = click.Choice(limits["names"])
        elif limits.get("whole"):
            kind = int
        elif limits.get("bytes") or "groups" in limits:
            kind = str
        text = limits["help"]
        if "groups" in limits:
            text = f"{text[:-1]}: {', '.join(limits['groups'])}; with numbers in brackets, such as NAME(number=value)."
        text = text if default in (None, MISSING) else f"{text} [default: {default}]"
        command = click.option(f"--{item.name.replace('_', '-')}", item.name, type=kind, default=None, help=text)(
            command
        )
    return command


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
    """houses.csv.gz -> houses.schuss, in the working folder; model.schuss for several tables.

    What follows the ? of an address is no part of its name.
    """
    name = Path(table[0].partition("?")[0] if "://" in table[0] else table[0]).name
    if len(table) > 1 or any(letter in name for letter in "*?["):
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
@click.argument("table", nargs=-1, required=True)
@click.option("--target", "-t", multiple=True, help="Column to predict; repeat it for several numbers.")
@click.option(
    "--from",
    "known",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Train this model on with TABLE; its target, columns and network stay. Only --out can replace it.",
)
@click.option("--weight", help="Column of row weights.")
@click.option("--offset", help="Column that is added to the output, before the link.")
@click.option("--exposure", help="Column whose logarithm is added to the output; for poisson, gamma and tweedie.")
@click.option(
    "--class-weight",
    type=_ClassWeight(),
    help="Of the training rows of each class: balanced, or factors such as yes=2,no=1.",
)
@click.option("--exclude", "-x", multiple=True, help="Column to leave out; may be repeated.")
@click.option(
    "--task",
    type=click.Choice(["regression", "binary", "multiclass", "multilabel"]),
    help="Overrules what the target says; multilabel: several targets that are true or false each.",
)
@click.option("--validation", type=_Part(), metavar=_PART, help="Rows that choose the best W. [default: 0.1]")
@click.option("--test", type=_Part(), metavar=_PART, help="Rows that score it at the end. [default: 0.1]")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    help="Model file. [default: TABLE.schuss or model.schuss]",
)
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors and warnings.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: each epoch, then the result.")
@_format_options
@_setting_options
def train(
    table: tuple[str, ...],
    target: tuple[str, ...],
    exclude: tuple[str, ...],
    known: Path | None,
    out: Path | None,
    quiet: bool,
    as_json: bool,
    format: "schuss.TableFormat",
    **others: Any,
) -> None:
    """Trains a network on TABLE (CSV, TSV, Parquet, Arrow; .gz; several files or a glob) and saves it."""
    from schuss.files import check_writable
    from schuss.progress import JsonLines, Progress, Silent

    if not target and known is None:
        raise click.UsageError("Missing option '--target' / '-t' (or '--from').")
    if out is None and known is not None and _default_model(table).resolve() == known.resolve():
        raise SettingError(f"{known} is what is read: name the new model with --out, as {known} to replace it.")
    out = out or _default_model(table)
    if out.suffix != ".schuss":
        raise SettingError(f"{out}: a model is a .schuss file; end its name so.")
    check_writable(out)
    replaced = out.exists()
    others |= {name: value or None for name, value in (("target", target), ("exclude", exclude))}
    report = Silent() if quiet else JsonLines() if as_json else Progress()
    interrupt = _Interrupt()
    with interrupt.watching(), report:
        train = schuss.train if known is None else schuss.Model.load(known).update
        model = train(
            list(table) if len(table) > 1 else table[0],
            format=format,
            observers=[interrupt.begin, report],
            interrupted=interrupt,
            **{name: value for name, value in others.items() if value is not None},
        )
        if interrupt.signal and not model.record.epochs:
            click.echo("interrupted before the first epoch was done: nothing was saved", err=True)
            sys.exit(128 + interrupt.signal)
        model.save(out)
    report.saved(model, out, replaced)
    if interrupt.signal:
        sys.exit(128 + interrupt.signal)
    if model.record.outcome == "diverged":
        sys.exit(3)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("table", nargs=-1, required=True)
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="File: .csv or .parquet.")
@click.option("--probabilities", is_flag=True, help="Add a column for the probability of each class.")
@_format_options
def predict(
    model: Path,
    table: tuple[str, ...],
    out: Path,
    probabilities: bool,
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
    source: object = list(table) if len(table) > 1 else table[0]
    read = read_for(trained.encoding, source, format)
    write_predictions(trained, read, out, probabilities)
    _tell_notes(read)
    click.echo(f"{len(read):,} predictions written to {out}")
    _warn_of_drift(trained, read)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("table", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="The scores as one JSON object.")
@_format_options
def evaluate(model: Path, table: tuple[str, ...], as_json: bool, format: "schuss.TableFormat") -> None:
    """Scores MODEL on a TABLE that holds the target."""
    from schuss.model.model import read_for
    from schuss.progress import score_words, without_nan

    trained = schuss.Model.load(model)
    read = read_for(trained.encoding, list(table) if len(table) > 1 else table[0], format)
    scores = trained.evaluate(read)
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


def _show_warning(message: Warning | str, *where: Any) -> None:
    """A warning is one line, without the place in the code that gave it."""
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
