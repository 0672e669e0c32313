"""A table that is larger than memory: reading and packing, epochs from disk and from memory, peak memory, order.

    python benchmarks/larger_than_memory.py FOLDER [--rows N] [--rounds R] [--out FILE.json]

A table of 20 numbers and a target is written to FOLDER as CSV and as Parquet, unless it is there; its encoded size is
ten times what `memory` allows. In each round, each in a process of its own:

- Arrow's own streaming readers go through the file once; schuss reads it, learns its schema and packs it;
- schuss trains 64-64 in batches of 256 from what is packed, and from memory.

Peaks are those of whole processes by the kernel's account. At last a table in the order of its target, and the same
table shuffled, both ten times what memory allows, must end at the same validation loss.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from facts import facts
from tables import apart, write_table

ROW_BYTES = 4 * 21  # encoded
READERS = {
    "csv": 'for batch in pyarrow.csv.open_csv("table.csv"):\n    rows += len(batch)',
    "parquet": 'for batch in pyarrow.parquet.ParquetFile("table.parquet").iter_batches():\n    rows += len(batch)',
}
READ = """
import json, time
import pyarrow.csv, pyarrow.parquet
began, rows = time.perf_counter(), 0
{reader}
print(json.dumps({{"seconds": time.perf_counter() - began}}))
"""
PREPARE = """
import json, os, time
import schuss
from schuss.job import train
from schuss.preparing import Prepared
began = time.perf_counter()
def watch(event):
    if isinstance(event, Prepared):
        print(json.dumps({{"seconds": time.perf_counter() - began, "rows": len(event.training)}}), flush=True)
        os._exit(0)
train({table!r}, "y", hidden=(64, 64), batch_size=256, memory={memory}, observers=[watch])
"""
TRAIN = """
import json, time
import schuss
from schuss.training.events import Chunk, Epoch
times, rates = [time.perf_counter()], []
def watch(event):
    if isinstance(event, Epoch):
        times.append(time.perf_counter())
model = schuss.train({table!r}, "y", hidden=(64, 64), batch_size=256, epochs={epochs}, memory={memory},
                     observers=[watch])
seconds = [after - before for before, after in zip(times, times[1:])]
print(json.dumps({{"seconds": seconds, "record": model.record.scores, "rows": model.record.rows}}))
"""


def run(code: str, folder: Path, **values: Any) -> dict[str, Any]:
    """What a process prints, and its peak of resident memory in bytes."""
    environment = os.environ | {"SCHUSS_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", code.format(**values)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return {**json.loads(said), "peak": usage.ru_maxrss * 1024}


def write_tables(folder: Path, rows: int) -> None:
    """The table as CSV and as Parquet."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "table.csv").exists():
        write_table(folder / "table.csv", rows, 6)
    if not (folder / "table.parquet").exists():
        batches = pyarrow.csv.open_csv(folder / "table.csv", pyarrow.csv.ReadOptions(block_size=1 << 24))
        with pyarrow.parquet.ParquetWriter(folder / "table.parquet", batches.schema) as writer:
            for batch in batches:
                writer.write_table(pa.Table.from_batches([batch]), row_group_size=1 << 20)


def write_ordered(folder: Path, rows: int) -> None:
    """A table in the order of its target, and the same rows in random order."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv

    write_table(folder / "mixed.csv", rows, 6)
    table = pyarrow.csv.read_csv(folder / "mixed.csv")
    pyarrow.csv.write_csv(table.sort_by("y"), folder / "ordered.csv")
    order = pa.array(np.random.default_rng(1).permutation(rows))
    pyarrow.csv.write_csv(table.take(order), folder / "mixed.csv")


def measured(folder: Path, rounds: int, rows: int) -> dict[str, Any]:
    """Seconds and peaks of everything, in turn."""
    memory = rows * ROW_BYTES // 10
    found: dict[str, Any] = {name: [] for name in ("read csv", "pack csv", "read parquet", "pack parquet",
                                                   "train from disk", "train from memory")}  # fmt: skip
    for _ in range(rounds):
        for name, reader in READERS.items():
            found[f"read {name}"].append(run(READ, folder, reader=reader))
            shutil.rmtree(folder / "cache", ignore_errors=True)
            found[f"pack {name}"].append(run(PREPARE, folder, table=f"table.{name}", memory=memory))
        found["train from disk"].append(run(TRAIN, folder, table="table.parquet", memory=memory, epochs=2))
        found["train from memory"].append(run(TRAIN, folder, table="table.parquet", memory=10**11, epochs=2))
    shutil.rmtree(folder / "cache", ignore_errors=True)
    found["file to model"] = [run(TRAIN, folder, table="table.csv", memory=memory, epochs=1)]
    shutil.rmtree(folder / "cache", ignore_errors=True)
    return found


def main() -> None:
    """Prints seconds, ratios, peaks and losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=22_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folder, rows = arguments.folder, arguments.rows
    apart(write_tables, folder, rows)
    found = measured(folder, arguments.rounds, rows)
    memory = rows * ROW_BYTES // 10

    def median(name: str) -> float:
        seconds = [each["seconds"] for each in found[name]]
        return statistics.median(each[-1] if isinstance(each, list) else float(each) for each in seconds)

    print(f"{rows:,} rows, {(folder / 'table.csv').stat().st_size / 1e9:.2f} GB of CSV; memory {memory / 1e6:,.0f} MB")
    for kind in READERS:
        read, packed = median(f"read {kind}"), median(f"pack {kind}")
        print(f"{kind}: Arrow reads it in {read:.1f} s, schuss packs it in {packed:.1f} s: {packed / read:.2f} times")
    disk, inside = median("train from disk"), median("train from memory")
    print(f"epoch from disk {disk:.2f} s, from memory {inside:.2f} s: {inside / disk:.1%} of its speed")
    for name in ("pack csv", "pack parquet", "train from disk", "file to model"):
        peak = max(each["peak"] for each in found[name])
        print(f"{name}: at most {peak / 1e6:,.0f} MB, memory + {(peak - memory) / 1e6:,.0f} MB")
    few = min(rows, 2_000_000)
    apart(write_ordered, folder, few)
    losses = {}
    for name in ("mixed", "ordered"):
        ran = run(TRAIN, folder, table=f"{name}.csv", memory=few * ROW_BYTES // 10, epochs=5)
        losses[name] = ran["record"]["validation"]["loss"]
    found["validation losses"] = losses
    print(f"validation loss {losses}: ordered is {losses['ordered'] / losses['mixed'] - 1:+.2%}")
    if arguments.out:
        arguments.out.write_text(json.dumps({**facts(("schuss", "numpy", "pyarrow")), "rows": rows, **found}, indent=1))


if __name__ == "__main__":
    main()
