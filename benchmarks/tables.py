"""From a file to a trained network: end of the first and of the second epoch, file reading and imports included.

    RIVALS/bin/python benchmarks/tables.py [--rows N] [--rounds R] [--decimals D] [--out FILE.json]

RIVALS is a virtual environment with benchmarks/requirements.txt and schuss itself. A table of 20 numeric columns as
CSV, 64-64 hidden units, batches of 256. The contestants get the same file in turn: each round runs all of them, each in
a process of its own. Reported are medians of seconds from the first import to the end of an epoch, rows per second,
ratios to schuss, and the peak of resident memory by the kernel's account; and each one's R² on the first rows of the
file, so that speed is not bought with nonsense. LightGBM reads the file in two rounds and grows a tree where others
train an epoch.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from facts import facts

CONTESTANTS = {
    "schuss": """
import schuss
from schuss.training.events import Epoch

def watch(event):
    if isinstance(event, Epoch):
        epoch_ends()

model = schuss.train("table.csv", "y", hidden=(64, 64), epochs=2, batch_size=256, validation=0.0, test=0.0,
                     observers=[watch], memory=MEMORY)
predict = model.predict
""",
    "pandas + scikit-learn": """
import pandas
from sklearn.neural_network import MLPRegressor
frame = pandas.read_csv("table.csv")
X, y = frame.drop(columns="y").to_numpy(), frame["y"].to_numpy()
model = MLPRegressor(hidden_layer_sizes=(64, 64), batch_size=256, max_iter=1, warm_start=True)
for epoch in range(2):
    model.fit(X, y)
    epoch_ends()
predict = lambda rows: model.predict(rows.to_numpy())
""",
    "pandas + PyTorch DataLoader": """
import pandas, torch
frame = pandas.read_csv("table.csv")
X = torch.tensor(frame.drop(columns="y").to_numpy(), dtype=torch.float32)
y = torch.tensor(frame["y"].to_numpy(), dtype=torch.float32)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, y), batch_size=256, shuffle=True)
MODEL
for epoch in range(2):
    for features, target in loader:
        step(features, target)
    epoch_ends()
""",
    "pyarrow + PyTorch tensors": """
import pyarrow.csv, torch
table = pyarrow.csv.read_csv("table.csv")
y = torch.from_numpy(table["y"].to_numpy()).float()
X = torch.stack([torch.from_numpy(table[name].to_numpy()).float() for name in table.column_names if name != "y"], 1)
MODEL
for epoch in range(2):
    order = torch.randperm(len(X))
    for start in range(0, len(X), 256):
        rows = order[start : start + 256]
        step(X[rows], y[rows])
    epoch_ends()
""",
    "LightGBM in two rounds": """
import lightgbm
settings = {"two_round": True, "header": "true", "label_column": "name:y", "verbosity": -1, "objective": "regression"}
data = lightgbm.Dataset("table.csv", params=settings)
model = lightgbm.Booster(settings, data)
for epoch in range(2):
    model.update()
    epoch_ends()
predict = lambda rows: model.predict(rows.to_numpy())
""",
}
MODEL = """
model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(),
                            torch.nn.Linear(64, 1))
rule = torch.optim.AdamW(model.parameters(), lr=0.001)
def step(features, target):
    rule.zero_grad()
    torch.nn.functional.mse_loss(model(features)[:, 0], target).backward()
    rule.step()
predict = lambda rows: model(torch.tensor(rows.to_numpy(), dtype=torch.float32)).detach().numpy()[:, 0]
"""
PROGRAM = """
import json, time, warnings
warnings.filterwarnings("ignore")
began, seconds = time.perf_counter(), []
def epoch_ends():
    seconds.append(time.perf_counter() - began)
{code}
import resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
import numpy, pandas
rows = pandas.read_csv("table.csv", nrows=20_000)
predicted = predict(rows.drop(columns="y"))
r2 = 1 - float(numpy.var(rows["y"] - predicted) / numpy.var(rows["y"]))
print(json.dumps({{"seconds": seconds, "peak": peak, "r2": r2}}))
"""


def apart(function: Callable[..., None], *arguments: Any) -> None:
    """Calls a function in a process of its own: a peak of this one would be passed on to all that are measured."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def write_table(path: Path, rows: int, decimals: int) -> None:
    """A smooth target with noise of a tenth of its deviation; numbers of so many decimals (17: as they come)."""
    import pyarrow as pa
    import pyarrow.csv

    random = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, rows, 1 << 20):
            X = random.normal(size=(min(1 << 20, rows - start), 20))
            y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + X[:, 3:8].sum(axis=1) + 0.3 * random.normal(size=len(X))
            X, y = X.round(decimals), y.round(decimals)
            columns = {f"x{i}": X[:, i] for i in range(20)} | {"y": y}
            if not start:
                file.write(",".join(columns).encode() + b"\n")
            pyarrow.csv.write_csv(pa.table(columns), file, pyarrow.csv.WriteOptions(include_header=False))


def run(name: str, folder: str, memory: str | None) -> dict[str, Any]:
    """One contestant, in a process of its own."""
    code = CONTESTANTS[name].replace("MODEL", MODEL).replace("MEMORY", repr(memory))
    environment = os.environ | {"SCHUSS_CACHE": str(Path(folder) / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(code=code)],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    subprocess.run(["rm", "-rf", environment["SCHUSS_CACHE"]], check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Runs the contestants in turn and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--decimals", type=int, default=6)
    parser.add_argument("--memory", help="of schuss; beyond it rows are packed on the disk")
    parser.add_argument("--only", nargs="*", default=list(CONTESTANTS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only}
    with tempfile.TemporaryDirectory() as folder:
        apart(write_table, Path(folder) / "table.csv", arguments.rows, arguments.decimals)
        size = (Path(folder) / "table.csv").stat().st_size
        for _ in range(arguments.rounds):
            for name in runs:
                runs[name].append(run(name, folder, arguments.memory))
    medians = {
        name: [statistics.median(each["seconds"][epoch] for each in own) for epoch in range(2)]
        for name, own in runs.items()
    }
    ours = medians["schuss"]
    print(f"{arguments.rows:,} rows, {size / 1e6:,.0f} MB")
    for name, (first, second) in medians.items():
        peak = statistics.median(each["peak"] for each in runs[name]) / 1e6
        r2 = statistics.median(each["r2"] for each in runs[name])
        print(
            f"{name:28} first epoch {first:6.2f} s ({arguments.rows / first / 1e6:5.2f} M rows/s, "
            f"{first / ours[0]:5.2f} times schuss)   second {second:6.2f} s ({second / ours[1]:5.2f})   "
            f"peak {peak:6,.0f} MB   R² {r2:.4f}"
        )
    if arguments.out:
        table = {"rows": arguments.rows, "decimals": arguments.decimals, "bytes": size, "memory": arguments.memory}
        packages = ("schuss", "numpy", "pyarrow", "pandas", "scikit-learn", "torch", "lightgbm")
        arguments.out.write_text(json.dumps({**facts(packages), **table, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
