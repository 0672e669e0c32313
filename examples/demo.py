"""Trains on two real tables through the command line, as a person would, and leaves everything in the folder demo/.

The tables ship with scikit-learn: 1,797 handwritten digits of 8 x 8 pixels (Alpaydin & Kaynak 1998) and the progression
of diabetes in 442 patients (Efron et al. 2004). Each is written as two CSV files, one to train on and one held out.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split

FOLDER = Path("demo")


def main() -> None:
    """Both tables: train, evaluate on held-out rows, predict, look inside."""
    FOLDER.mkdir(exist_ok=True)
    for name, load in (("digits", load_digits), ("diabetes", load_diabetes)):
        held_out = write_tables(name, load(as_frame=True).frame)
        schuss("train", f"{name}.csv", "--target", "target", "--test", held_out)
        schuss("evaluate", f"{name}.schuss", held_out)
        schuss("predict", f"{name}.schuss", held_out, "-o", f"{name}-predicted.csv")
    schuss("inspect", "diabetes.schuss")
    print(f"\nTables, models and predictions are in {FOLDER}/")


def write_tables(name: str, frame):  # type: ignore[no-untyped-def]
    """NAME.csv with four fifths of the rows, NAME-held-out.csv with the rest; returns the name of the second."""
    training, held_out = train_test_split(frame, test_size=0.2, random_state=0)
    training.to_csv(FOLDER / f"{name}.csv", index=False)
    held_out.to_csv(FOLDER / f"{name}-held-out.csv", index=False)
    return f"{name}-held-out.csv"


def schuss(*arguments: str) -> None:
    """Shows the command and runs it."""
    print(f"\n$ schuss {shlex.join(arguments)}", flush=True)
    program = Path(sys.executable).with_name("schuss")
    subprocess.run([program, *arguments], cwd=FOLDER, check=True)


if __name__ == "__main__":
    main()
