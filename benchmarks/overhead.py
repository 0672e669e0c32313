"""What validation, events, checkpoints and progress cost, as a share of the training that they accompany.

    python benchmarks/overhead.py [--rounds R] [--out benchmarks/results/overhead.json]

The same rows are trained on for as many epochs, bare and with one thing added, in turn; medians of the seconds that a
training took. "all" is a training as a person starts it: a ninth of the rows for validation after each epoch, a run
folder with a checkpoint every 30 seconds or at the end, and the progress bar. "busy" writes one every second instead.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from facts import facts
from rich.console import Console

import schuss
from schuss.arrays import Matrix
from schuss.progress import Progress

SHAPES = {  # rows, features, hidden, batch, epochs
    "small": (100_000, 8, (64, 64), 128, 20),
    "mid": (50_000, 50, (256, 256), 256, 10),
}


def tables(rows: int, features: int) -> tuple[Matrix, Matrix]:
    """Training and validation rows; the last column is the target."""
    random = np.random.default_rng(0)
    X = random.normal(size=(rows + rows // 9, features)).astype(np.float32)
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * random.normal(size=len(X)).astype(np.float32)
    table = np.column_stack([X, y]).astype(np.float32)
    return table[:rows], table[rows:]


def trained(table: Matrix, validation: Matrix | float, observers: list[Callable[[Any], None]], **others: Any) -> float:
    """Seconds from the first step to the last."""
    began = time.perf_counter()
    ended = 0.0

    def watch(event: Any) -> None:
        nonlocal began, ended
        if isinstance(event, schuss.preparing.Prepared):
            began = time.perf_counter()
        elif isinstance(event, schuss.training.events.Finished):
            ended = time.perf_counter()

    target = f"column_{table.shape[1]}"
    schuss.train(
        table, target, validation=validation, test=0.0, patience=10**6, observers=[watch, *observers], **others
    )
    return ended - began


def measured(kind: str, shape: tuple[int, int, tuple[int, ...], int, int], data: tuple[Matrix, Matrix]) -> float:
    """One training of this kind; microseconds a row and epoch."""
    rows, _, hidden, batch, epochs = shape
    with ExitStack() as stack:
        validation: Matrix | float = data[1] if kind in ("validation", "all", "busy") else 0.0
        observers: list[Callable[[Any], None]] = []
        settings: dict[str, Any] = {"hidden": hidden, "batch_size": batch, "epochs": epochs}
        if kind in ("run", "all", "busy"):
            settings["run"] = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        if kind == "busy":
            settings["checkpoint_seconds"] = 1.0
        if kind in ("progress", "all", "busy"):
            console = Console(file=io.StringIO(), force_terminal=True, width=120)
            observers.append(stack.enter_context(Progress(console)))
        return trained(data[0], validation, observers, **settings) / (rows * epochs) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    for name, shape in SHAPES.items():
        data = tables(*shape[:2])
        seconds: dict[str, list[float]] = {
            kind: [] for kind in ("bare", "validation", "run", "progress", "all", "busy")
        }
        for _ in range(chosen.rounds):
            for kind, own in seconds.items():
                own.append(measured(kind, shape, data))
        found[name] = {kind: statistics.median(own) for kind, own in seconds.items()}
        bare = found[name]["bare"]
        for kind, median in found[name].items():
            print(f"{name:8}{kind:12}{median:8.3f} µs a row   {median / bare - 1:+.1%}")
    if chosen.out:
        content = {"facts": facts(("schuss", "numpy")), "microseconds_a_row": found}
        chosen.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
