"""Scores of `schuss train` with default settings on real tables, each written as CSV from the fixed split.

    python benchmarks/accuracy.py [TABLE …] [--out FILE.json] [--data FOLDER] [-- OPTIONS OF schuss train]

FOLDER holds tables.py, which loads the tables and fixes the split; the default is ../shared/data beside the project.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from facts import facts

PROJECT = Path(__file__).parents[1]
# The least that default settings must reach on the test rows.
BARS = {
    "california": ("r2", 0.85),
    "diamonds": ("r2", 0.982),
    "adult": ("accuracy", 0.874),
    "bike": ("r2", 0.958),
    "flights": ("r2", 0.885),
}


def load_tables(folder: Path) -> ModuleType:
    """The module that loads the tables."""
    spec = spec_from_file_location("tables", folder / "tables.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_csv(tables: ModuleType, name: str, folder: Path) -> None:
    """train.csv and test.csv from the fixed split; flights gets rows without a target, to be left out by schuss."""
    frame, y, _ = tables.load(name)
    frame = frame.assign(target=y)
    training, test = tables.split(len(frame))
    train = frame.iloc[training]
    if name == "flights":
        without = frame.iloc[:9430].assign(target=float("nan"))
        train = pd.concat([train, without])
    train.to_csv(folder / "train.csv", index=False)
    frame.iloc[test].to_csv(folder / "test.csv", index=False)


def run(tables: ModuleType, name: str, options: list[str]) -> dict[str, Any]:
    """Trains on one table through the command line; its scores on the test rows and the seconds it took."""
    with tempfile.TemporaryDirectory() as path:
        write_csv(tables, name, Path(path))
        program = Path(sys.executable).with_name("schuss")
        command: list[str | Path] = [
            program,
            "train",
            "train.csv",
            "--target",
            "target",
            "--test",
            "test.csv",
            "--json",
            *options,
        ]
        began = time.monotonic()
        lines = subprocess.run(command, cwd=path, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        seconds = time.monotonic() - began
    events = [json.loads(line) for line in lines]
    scores = events[-1]["scores"]
    return {
        "seconds": round(seconds, 1),
        "best_epoch": events[-1]["best_epoch"],
        "validation_loss": scores["validation"]["loss"],
        **scores["test"],
    }


def main() -> int:
    """Prints a line a table; fails when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", nargs="*", default=list(BARS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, options = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    tables, results, missed = load_tables(arguments.data), {}, 0
    for name in arguments.table or list(BARS):
        results[name] = found = run(tables, name, options)
        score, bar = BARS[name]
        missed += found[score] < bar
        others = " ".join(f"{key} {value:.5g}" for key, value in found.items() if isinstance(value, float))
        verdict = "met" if found[score] >= bar else "MISSED"
        print(f"{name:11} {score} {found[score]:.4f} (bar {bar}: {verdict})  {others}")
    if arguments.out:
        arguments.out.write_text(json.dumps({**facts(), "scores": results}, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
