"""From a CSV file to a trained network: a million rows x 20 numeric columns, one epoch, file reading included.

    python benchmarks/end_to_end.py [--rows N] [--rounds R] [--decimals D] [--out FILE.json]

The rivals get the same file, network (64-64), batch (256) and epoch, in turn: each round runs both, each in a process
of its own. Reported are medians and their ratio, and each one's R² on the rows of the file, so that speed is not bought
with nonsense.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from facts import facts

RIVALS = {
    "schuss": """
import schuss
model = schuss.train("table.csv", "y", hidden=(64, 64), epochs=1, batch_size=256, validation=0.0, test=0.0)
""",
    "pandas + scikit-learn": """
import pandas
from sklearn.neural_network import MLPRegressor
frame = pandas.read_csv("table.csv")
model = MLPRegressor(hidden_layer_sizes=(64, 64), batch_size=256, max_iter=1).fit(frame.drop(columns="y"), frame["y"])
""",
}
# The clock covers everything from the start of the imports to the end of training; the score comes after it.
PROGRAM = """
import json, time, warnings
warnings.filterwarnings("ignore")
began = time.perf_counter()
{code}
seconds = time.perf_counter() - began
import numpy, pandas
rows = pandas.read_csv("table.csv", nrows=20_000)
predicted = model.predict(rows.drop(columns="y"))
print(json.dumps([seconds, 1 - float(numpy.var(rows["y"] - predicted) / numpy.var(rows["y"]))]))
"""


def write_table(path: Path, rows: int, decimals: int) -> None:
    """A smooth target with noise of a tenth of its deviation; numbers of so many decimals (17: as they come)."""
    import pyarrow as pa
    import pyarrow.csv

    random = np.random.default_rng(0)
    X = random.normal(size=(rows, 20))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + X[:, 3:8].sum(axis=1) + 0.3 * random.normal(size=rows)
    X, y = X.round(decimals), y.round(decimals)
    columns = {f"x{i}": X[:, i] for i in range(20)} | {"y": y}
    pyarrow.csv.write_csv(pa.table(columns), path)


def main() -> None:
    """Runs the rivals in turn and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decimals", type=int, default=6)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in RIVALS}
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "table.csv", arguments.rows, arguments.decimals)
        for _ in range(arguments.rounds):
            for name, code in RIVALS.items():
                command = [sys.executable, "-c", PROGRAM.format(code=code)]
                done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
                found[name].append(tuple(json.loads(done.stdout)))
    seconds = {name: statistics.median(run[0] for run in runs) for name, runs in found.items()}
    for name, runs in found.items():
        print(f"{name:22} {seconds[name]:6.2f} s   R² {statistics.median(run[1] for run in runs):.4f}   {runs}")
    print(f"ratio: {seconds['schuss'] / seconds['pandas + scikit-learn']:.3f} (bar: 0.5)")
    if arguments.out:
        table = {"rows": arguments.rows, "decimals": arguments.decimals}
        arguments.out.write_text(json.dumps({**facts(), **table, "seconds": seconds, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
