"""What is in a model, and what would be done with each column of a table, as text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from schuss.groups import in_words
from schuss.model import Model
from schuss.network.layers import DropoutLayer, every_layer
from schuss.numeric import Piecewise
from schuss.progress import score_words
from schuss.recipe import numeric_for
from schuss.settings import Settings
from schuss.table.delimited import TableFormat
from schuss.table.encoding import Encoding
from schuss.table.learning import learn_schema
from schuss.table.memory import memory_for
from schuss.table.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    NumericColumn,
    Target,
    count_words,
    doubtful_columns,
    find_target,
)
from schuss.table.source import read_table


def inspect_model(model: Model, as_json: bool) -> None:
    """Prints network, schema, choices with their reasons, and scores."""
    record, target = model.record, model.encoding.schema.target
    if as_json:
        shown = {
            "network": model.network.description(),
            "loss": in_words(model.loss),
            "record": msgspec.to_builtins(record),
        }
        print(json.dumps(shown))
        return
    console = wide_console()
    console.print(f"{target.task}: {', '.join(target.names)} ({target.reason})", markup=False)
    layers = Grid(
        "layer", "inputs", "outputs", "activation", "numbers in W", "mean |weight|", box=None, title_justify="left"
    )
    for layer in model.network.layers_in_W:
        each = [np.abs(layer.weights(W)).mean() for W in np.atleast_2d(model.W)] if layer.inputs else [0.0]
        size = float(np.mean(each))
        layers.add_row(
            layer.name, str(layer.inputs), str(layer.outputs), layer.activation, f"{layer.size:,}", f"{size:.4g}"
        )
    console.print(layers)
    times = f"{model.members} networks with " if model.members > 1 else ""
    console.print(f"W: {times}{model.network.parameters:,} numbers, {model.W.dtype}")
    left_out = [layer.probability for layer in every_layer(model.network.layers) if isinstance(layer, DropoutLayer)]
    if left_out:
        console.print(f"dropout in training: {', '.join(f'{share:g}' for share in dict.fromkeys(left_out))}")
    console.print(_columns(model.encoding, model.network.knots))
    schema = model.encoding.schema
    if schema.weight:
        console.print(f"weight: {schema.weight}", markup=False)
    if schema.offset:
        console.print(f"{'exposure' if schema.offset.logarithm else 'offset'}: {schema.offset.name}", markup=False)
    for name, reason in record.reasons.items():
        console.print(f"{name}: {reason}", markup=False)
    rows = ", ".join(f"{name} {count:,}" for name, count in record.rows.items())
    console.print(
        f"trained for {record.epochs} epochs, {record.seconds:.1f} s: {record.outcome.replace('_', ' ')}. rows: {rows}"
    )
    if record.updates:
        console.print(
            f"updated with {', '.join(f'{count:,}' for count in record.updates)} rows; told is the last update"
        )
    for part, scores in record.scores.items():
        known: Mapping[str, float] = {name: float("nan") if value is None else value for name, value in scores.items()}
        console.print(f"{part}: {score_words(known)}", markup=False)


def inspect_table(source: object, target_names: Sequence[str], format: TableFormat, as_json: bool) -> None:
    """Prints what each column of a table is taken for, and what task the target calls for."""
    table = read_table(source, format, memory=memory_for(source))
    nothing = Target((), "regression", "", "float")
    target = find_target(table, target_names, None) if target_names else nothing
    schema = learn_schema(table, target, ((block, slice(0, len(block))) for block in table.blocks()))
    notes = (*table.notes, *doubtful_columns(table, schema))
    if as_json:
        told = {"columns": msgspec.to_builtins(schema.columns), "left_out": dict(schema.dropped), "notes": notes}
        print(json.dumps({"rows": len(table), **told, "task": target.task if target_names else None}))
        return
    console = wide_console()
    console.print(f"{table.name}: {len(table):,} rows, {len(table.names)} columns", markup=False)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    numeric = numeric_for(Settings(), schema, len(table))
    encoding = Encoding(schema, numeric.scaling)
    console.print(_columns(encoding, encoding.knots(numeric.bins) if isinstance(numeric, Piecewise) else ()))
    for name, reason in schema.dropped:
        console.print(f"left out: {name} ({reason})", markup=False)
    if target_names:
        console.print(f"target: {', '.join(target_names)}: {target.task} ({target.reason})", markup=False)


def wide_console() -> Console:
    """As wide as the terminal; where there is none, wide enough to break no line."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=1000)


def _columns(encoding: Encoding, knots: Sequence[Sequence[float]]) -> Grid:
    """knots: of each feature, or none of any."""
    bins = {own.column: len(each) - 1 for own, each in zip(encoding.layout, knots, strict=False) if each}
    grid = Grid("column", "kind", "missing", "distinct", "values", "becomes", box=None)
    for column in encoding.schema.columns:
        kind = type(column).__name__.removesuffix("Column").lower()
        distinct = "2" if isinstance(column, BooleanColumn) else count_words(column.distinct)
        becomes = _becomes(column, column in encoding.spiked, bins.get(column.name, 0))
        grid.add_row(_plain(column.name), kind, f"{column.missing:,}", distinct, _plain(_values(column)), becomes)
    return grid


def _values(column: Column) -> str:
    if isinstance(column, NumericColumn):
        return f"{column.least:,.6g} to {column.greatest:,.6g}, mean {column.mean:,.6g}"
    if isinstance(column, CategoricalColumn):
        shown = ", ".join(
            f"{level} ({count:,})" for level, count in zip(column.levels[:4], column.counts, strict=False)
        )
        return shown + (", …" if len(column.levels) > 4 else "")
    return f"true in {column.share:.1%}"


def _becomes(column: Column, spiked: bool, bins: int) -> str:
    """What a column is to the network; spiked: with codes for frequent numbers; bins: of its function."""
    if isinstance(column, CategoricalColumn):
        other = "other" if column.buckets == 1 else f"{column.buckets:,} buckets of other texts"
        rest = " and ".join([*([other] if column.other else []), *(["missing"] if column.missing else [])])
        return f"one of {len(column.levels):,} levels" + (f", {rest}" if rest else "")
    varies = not isinstance(column, NumericColumn) or column.distinct > 1
    words = [*(["a scaled number"] if varies else []), *([f"a function of it with {bins} bins"] if bins else [])]
    words += [*(["whether it is missing"] if column.missing else [])]
    if isinstance(column, NumericColumn) and spiked:
        other = " and other" if column.other_code >= 0 else ""
        words.append(f"one of {len(column.spikes):,} frequent values{other}")
    return " + ".join(words)


def _plain(text: Any) -> str:
    """Text in which rich sees no markup."""
    return str(text).replace("[", "\\[")
