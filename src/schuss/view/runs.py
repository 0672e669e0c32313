"""What a person reads of run folders."""

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from schuss.errors import RunError
from schuss.training.run_folder import CONFIG, is_training, read_events
from schuss.view.inspection import wide_console


def list_runs(folders: Iterable[Path], as_json: bool) -> None:
    """Prints a line for each run among these folders and those in them.

    Raises:
        RunError: there is none.
    """
    paths = [path for folder in folders for path in (folder, *sorted(folder.glob("*/"))) if (path / CONFIG).is_file()]
    if not paths:
        raise RunError(f"There are no runs in {' or '.join(map(str, folders))}: schuss train --run DIR makes one.")
    told = [summary(path) for path in paths]
    if as_json:
        for one in told:
            print(json.dumps(one))
        return
    table = Table("run", "state", "epoch", "step", "best", "loss", "last event", box=None, pad_edge=False)
    for one in told:
        best = "" if one["score"] is None else f"{one['score']:.5g} ({one['metric']}, epoch {one['best_epoch']})"
        epochs = f"{one['epoch']}/{one['epochs']}"
        loss = "" if one["loss"] is None else f"{one['loss']:.5g}"
        table.add_row(one["run"], one["state"], epochs, f"{one['step']:,}", best, loss, _ago(one["time"]))
    wide_console().print(table)


def summary(path: Path) -> dict[str, Any]:
    """How far a run is, of several networks their mean; its state is training, its outcome, or killed without one."""
    events = read_events(path)
    begun: dict[str, Any] = next((line for line in reversed(events) if line["event"] in ("prepared", "resumed")), {})
    asked = [line.get("action") for line in events if line["event"] in ("steered", "resumed")]
    members = begun.get("members", 1)
    logs = [events] if members == 1 else [read_events(path / f"member{n + 1}") for n in range(members)]
    ways = [[line for line in log if line["event"] == "epoch"] for log in logs]
    best = [line for way in ways for line in [line for line in way if line["is_best"]][-1:]]
    last = [line for way in ways for line in way[-1:]]
    ends = [line for line in events if line["event"] in ("finished", "resumed")]
    outcome = ends[-1].get("outcome") if ends else None
    state = outcome or "killed: resume it"
    if is_training(path):
        held = [action for action in asked if action in ("pause", "resume", None)]
        state = "paused" if held[-1:] == ["pause"] else "training"
    metric = begun.get("metric", "loss")
    return {
        "run": str(path),
        "state": state.replace("_", " "),
        "epoch": round(sum(line["epoch"] for line in last) / members),
        "epochs": begun.get("epochs", 0),
        "step": max((line.get("step", 0) for log in logs for line in log), default=0),
        "metric": metric,
        "score": _mean([line["validation"].get(metric) for line in best]),
        "best_epoch": round(sum(line["epoch"] for line in best) / len(best)) if best else None,
        "loss": _mean([line["loss"] for line in last]),
        "time": max((line["time"] for log in logs for line in log if "time" in line), default=None),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """None where there is no value, or one is not known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _ago(moment: float | None) -> str:
    """How long ago, by this machine's clock."""
    seconds = max(0.0, time.time() - moment) if moment else 0.0
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago" if moment else ""
