"""Scores and seconds of schuss and its rivals with their defaults, on open tables and on scikit-learn's own.

    python -m venv RIVALS && RIVALS/bin/pip install -r benchmarks/quality-requirements.txt .
    RIVALS/bin/python benchmarks/quality.py DATA_FOLDER [--tables iris adult] [--models xgboost tabm] [--seeds 3]
        [--again MODEL …] [--limit SECONDS] [--schuss PYTHON] [--results benchmarks/results/quality.json] [--only-show]

DATA_FOLDER holds tables.py, which loads the open tables and fixes the split; opponents.py has the tables and models.
Every fit is a process of its own with two threads and a limit of time (one hour), and its result is stored at once: a
second call fits only what is missing, --again fits models anew. Slow rivals get one seed. PYTHON is an interpreter that
has schuss, where the one that runs this has not. Shown are, as Markdown and as a picture beside the results, means over
the seeds: RMSE, or log-loss / accuracy, of the test rows; the rank on each table, by RMSE or log-loss, among the models
that have a result; and seconds, of the clock and of all processors together. Company on the machine ("company" in the
results is the load when a fit began) lengthens both, those of OpenMP's libraries most, whose threads spin while they
wait: LightGBM took 45 s of processors for California at a load of 5. Compare seconds of an idle machine only. Before
its time is taken, a model is fitted to 100 rows of noise: what the first fit of a process imports counts for none.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from opponents import MODELS, TABLES
from scipy.stats import rankdata

Fit: TypeAlias = dict[str, Any]  # a result, or "limit" alone: the seconds after which it was ended
Means: TypeAlias = Mapping[str, Mapping[str, dict[str, float]]]  # of table and model

PROJECT = Path(__file__).parents[1]
THREADS = 2
_SAME = "mean where all have a result ({})"


def fit(folder: Path, table: str, model: str, seed: int, limit: float, python: str) -> Fit | None:
    """One fit in a process of its own; None where it fails."""
    threads = str(THREADS)
    limits = {f"{name}_NUM_THREADS": threads for name in ("OMP", "OPENBLAS", "MKL")}
    opponents = Path(__file__).with_name("opponents.py")
    command: list[str | Path] = [python, opponents, folder.resolve(), table, model, str(seed), threads]
    with tempfile.TemporaryDirectory() as elsewhere:  # for what rivals write as they train
        try:
            done = subprocess.run(
                command, cwd=elsewhere, env=os.environ | limits, timeout=limit, capture_output=True, text=True
            )
        except subprocess.TimeoutExpired:
            return {"limit": limit}
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    found: Fit = json.loads(done.stdout.splitlines()[-1])
    return found


def read(path: Path) -> list[Fit]:
    """All fits so far."""
    return list(json.loads(path.read_text())) if path.exists() else []


def store(path: Path, found: Fit) -> None:
    """Adds a fit, in the place of one of the same table, model and seed; what others stored meanwhile stays."""
    fits = [each for each in read(path) if _key(each) != _key(found)] + [found]
    lines = ",\n".join(json.dumps(each) for each in sorted(fits, key=_key))
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(f"[\n{lines}\n]\n")
    beside.replace(path)


def _key(fit: Fit) -> tuple[int, int, int]:
    return TABLES.index(fit["table"]), list(MODELS).index(fit["model"]), fit["seed"]


def wanted(arguments: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """Table, model and seed of the fits to make: all models with seed 0 first, slow ones last."""
    models = sorted(arguments.models, key=lambda model: MODELS[model].is_slow)
    for seed in range(arguments.seeds):
        for model in models:
            if seed == 0 or not MODELS[model].is_slow:
                yield from ((table, model, seed) for table in arguments.tables)


def fill(arguments: argparse.Namespace) -> None:
    """Fits what is missing; a fit that was ended is, if the limit has grown."""
    for table, model, seed in wanted(arguments):
        case = {"table": table, "model": model, "seed": seed}
        stored = [each for each in read(arguments.results) if _key(each) == _key(case)]
        if model not in arguments.again and any(
            each.get("limit", arguments.limit) >= arguments.limit for each in stored
        ):
            continue
        python = arguments.schuss if model.startswith("schuss") else sys.executable
        found = fit(arguments.data, table, model, seed, arguments.limit, python)
        line = found and (found.get("scores") or f"not done after {found['limit']:,.0f} s")
        print(f"{table:14} {model:16} {seed}  {line or 'failed'}", file=sys.stderr, flush=True)
        if found:
            store(arguments.results, {**case, **found})


def means(fits: Sequence[Fit], tables: Sequence[str], models: Sequence[str]) -> Means:
    """Over the seeds, of the scores and seconds; the first score ranks."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for table in tables:
        for model in models:
            own = [fit for fit in fits if (fit["table"], fit["model"]) == (table, model) and "scores" in fit]
            if own:
                flat = [{**fit["scores"], "wall": fit["fit_seconds"], "cpu": fit["fit_cpu_seconds"]} for fit in own]
                mean = {name: statistics.fmean(each[name] for each in flat) for name in flat[0]}
                found.setdefault(table, {})[model] = mean
    return found


def ranks(found: Means) -> dict[str, dict[str, float]]:
    """Of each model on each table, 1 the best."""
    return {
        table: dict(zip(own, map(float, rankdata([_score(each) for each in own.values()])), strict=True))
        for table, own in found.items()
    }


def _score(mean: Mapping[str, float]) -> float:
    """The one that ranks, smaller is better."""
    return next(iter(mean.values()))


def show(found: Means, models: Sequence[str]) -> str:
    """Two tables in Markdown: scores with ranks, and seconds."""
    placed = ranks(found)
    whole = _whole(found, models)
    scores = [
        [table, *(f"{_scores(own[model])} ({placed[table][model]:g})" if model in own else "" for model in models)]
        for table, own in found.items()
    ]
    scores.append(["mean rank (tables)", *(_mean_rank(placed, model, list(found)) for model in models)])
    scores.append([_SAME.format(len(whole)), *(_mean_rank(placed, model, whole) for model in models)])
    seconds = [
        [table, *(f"{own[model]['wall']:,.1f} / {own[model]['cpu']:,.1f}" if model in own else "" for model in models)]
        for table, own in found.items()
    ]
    if whole:
        middle = _middle(found, whole, models)
        seconds.append([_SAME.format(len(whole)), *(f"{wall:,.1f} / {cpu:,.1f}" for wall, cpu in middle.values())])
    return (
        f"{_markdown(['RMSE, or log-loss / accuracy (rank)', *models], scores)}\n"
        f"{_markdown(['seconds of a fit, clock / processors', *models], seconds)}"
    )


def _whole(found: Means, models: Sequence[str]) -> list[str]:
    """The tables on which all models have a result."""
    return [table for table, own in found.items() if set(models) <= set(own)]


def _middle(found: Means, tables: Sequence[str], models: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The geometric means of both kinds of seconds."""
    return {
        model: (
            statistics.geometric_mean(found[table][model]["wall"] for table in tables),
            statistics.geometric_mean(found[table][model]["cpu"] for table in tables),
        )
        for model in models
    }


def _scores(mean: Mapping[str, float]) -> str:
    if "rmse" in mean:
        return f"{mean['rmse']:,.0f}" if mean["rmse"] >= 10_000 else f"{mean['rmse']:.4g}"
    return f"{mean['log_loss']:.4f} / {mean['accuracy']:.4f}"


def _mean_rank(placed: Mapping[str, Mapping[str, float]], model: str, tables: Sequence[str]) -> str:
    own = [placed[table][model] for table in tables if model in placed[table]]
    return f"{statistics.fmean(own):.2f} ({len(own)})" if own else ""


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(found: Means, models: Sequence[str], path: Path) -> None:
    """Scores in multiples of the best against seconds, a panel a table; first mean ranks where all have a result."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "schuss", "svg.fonttype": "none", "font.size": 9})
    points = {table: _relative(own) for table, own in found.items()}
    placed, whole = ranks(found), _whole(found, models)
    if whole:
        middle = _middle(found, whole, models)
        over = {
            model: (middle[model][1], statistics.fmean(placed[table][model] for table in whole)) for model in models
        }
        points = {f"mean rank on {len(whole)} tables": over} | points
    rows = -(-len(points) // 3)
    figure, axes = pyplot.subplots(rows, 3, figsize=(9, 2.3 * rows + 0.6), constrained_layout=True, squeeze=False)
    for panel, (name, own) in zip(axes.flat, points.items(), strict=False):
        for number, model in enumerate(models):
            if model in own:
                marker = "o" if model.startswith("schuss") else "s"
                panel.plot(*own[model], marker, color=f"C{number}", label=model)
        panel.set_xscale("log")
        if max(y for _, y in own.values()) > 3 and name in found:
            panel.set_yscale("log")
        panel.set_title(name, loc="left", fontsize=9, fontweight="bold")
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes.flat[len(points) :]:
        panel.set_visible(False)
    handles = {
        label: handle for panel in axes.flat for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("RMSE or log-loss in multiples of the best, against seconds of all processors to fit", fontsize=10)
    figure.savefig(path, metadata={"Date": None})


def _relative(own: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Seconds, and the score in multiples of the least, of each model."""
    least = min(map(_score, own.values()))
    return {model: (mean["cpu"], _score(mean) / least) for model, mean in own.items()}


def main() -> None:
    """Fits what is missing and shows everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--again", nargs="+", choices=MODELS, default=[], metavar="MODEL")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds a fit may take")
    parser.add_argument("--schuss", type=os.path.abspath, default=sys.executable, metavar="PYTHON")
    parser.add_argument("--results", type=Path, default=PROJECT / "benchmarks" / "results" / "quality.json")
    parser.add_argument("--only-show", action="store_true")
    arguments = parser.parse_args()
    if not arguments.only_show:
        fill(arguments)
    found = means(read(arguments.results), arguments.tables, arguments.models)
    models = [model for model in arguments.models if any(model in own for own in found.values())]
    print(show(found, models))
    draw(found, models, arguments.results.with_suffix(".svg"))


if __name__ == "__main__":
    main()
