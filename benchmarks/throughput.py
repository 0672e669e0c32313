"""Rows per second of training and prediction, of schuss and its rivals in turn.

    python -m venv RIVALS && RIVALS/bin/pip install -r benchmarks/requirements.txt .
    RIVALS/bin/python benchmarks/throughput.py [--cases tiny,fits] [--rivals jax,torch] [--rounds R] [--seconds S]
        [--prototype FOLDER] [--quick] [--out benchmarks/results/throughput.json]
    RIVALS/bin/python benchmarks/performance.py        # writes docs/performance.md and docs/performance.svg from it

Every contestant (see contestants.py) lives in a process of its own, one for each number of threads. A case prepares all
of them and then measures them in turn, `rounds` times, so that what else the machine does falls on everyone; medians
are reported. schuss is measured with one thread and with all, PyTorch too; the others take the threads that they take
by themselves. A whole run takes about 15 minutes and 6 GB of memory, on a machine that does nothing else: a rival whose
threads wait for each other suffers most from company. --quick sees in a minute or two whether the main parts work.
FOLDER holds proto.py and the libraries of the prototype, a core for one kind of network.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from contestants import CONTESTANTS, Job
from facts import facts
from peak import Peak

PACKAGES = ("schuss", "numpy", "torch", "jax", "optax", "keras", "scikit-learn", "onnx", "onnxruntime")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = sorted({1, CORES})
SHAPES = {
    "tiny": Job("tiny", "train", features=8, hidden=(32,), batch=32),
    "small": Job("small", "train", features=8, hidden=(64, 64), batch=128),
    "mid": Job("mid", "train", features=50, hidden=(256, 256), batch=256),
    "big": Job("big", "train", features=100, hidden=(1024, 1024), batch=1024, rows=65_536),
}
SMALL, MID = SHAPES["small"], SHAPES["mid"]
MEMORY_SIZES = (2**14, 2**19, 2**23, 2**29)
FIT = Job("fits", "fits", features=4, hidden=(100,), batch=32, rows=150)
QUICK_CASES = ("tiny", "gather", "fits", "predictions", "starts")
# How long a fresh process takes until it has done this; the rival has then only been imported.
STARTS = {
    "schuss.SchussClassifier": "import schuss; schuss.SchussClassifier(hidden=(16,), epochs=100).fit(X, y)",
    "schuss.train": """
import schuss
settings = {"hidden": (16,), "epochs": 100, "validation": 0.0, "test": 0.0}
schuss.train(numpy.column_stack([X, y]), "column_5", task="multiclass", **settings)""",
    "import torch": "import torch",
}
_PAUSE = 0.03  # seconds in which the threads of the one before give up waiting for more work
_START = """
import numpy
X, y = numpy.random.default_rng(0).normal(size=(150, 4)), numpy.repeat(numpy.arange(3), 50)
{code}
"""


@dataclass
class Entry:
    """One line of the results: who did what how fast (rows, or fits, a second), or why not."""

    who: str
    threads: int
    job: Job
    samples: list[float] = field(default_factory=list)
    quality: float | None = None
    skipped: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None

    def description(self) -> dict[str, Any]:
        """For the file, flat."""
        own = {name: value for name, value in vars(self).items() if name != "job"}
        return {**asdict(self.job), **own, "median": self.median}

    def line(self) -> str:
        """For the screen."""
        job = self.job
        name = f"{job.case:16} {job.kind:8} {job.optimizer:5} {job.precision:8} {self.who:14} {self.threads}"
        if not self.samples:
            return f"{name}   skipped: {self.skipped}"
        spread = f"[{min(self.samples):,.5g} to {max(self.samples):,.5g}]"
        quality = "" if self.quality is None else f"   quality {self.quality:.4g}"
        return f"{name} {self.median:14,.5g} a second {spread}{quality}"


def _schuss(*jobs: Job, threads: Iterable[int] = THREADS) -> list[Entry]:
    return [Entry("schuss", count, job) for job in jobs for count in threads]


def _rivals(job: Job, *names: str) -> list[Entry]:
    """PyTorch with one thread and with all, the others as they come."""
    return [
        Entry(name, count, job) for name in names for count in (THREADS if name.startswith("torch") else THREADS[-1:])
    ]


def _training(job: Job) -> list[Entry]:
    """One of the four cases: both optimisers, both precisions, everyone."""
    entries = []
    for optimizer in ("adam", "sgd"):
        this = replace(job, optimizer=optimizer)
        steps = replace(this, kind="steps")
        entries += _schuss(this, steps) + [Entry("prototype", count, steps) for count in THREADS]
        entries += _rivals(this, "jax", "torch", "torch.compile", "keras", "sklearn")
    job, steps = replace(job, precision="bf16"), replace(job, kind="steps", precision="bf16")
    return [*entries, *_schuss(job, steps), *(Entry("prototype", count, steps) for count in THREADS)]


def _extras() -> list[Entry]:
    """What is not ReLU with squared error, at mid, each beside it."""
    activations = [replace(MID, case=name, activation=name) for name in ("relu", "gelu", "silu", "tanh")]
    classes = replace(MID, case="ten classes", outputs=10, loss="cross_entropy")
    dropout = replace(MID, case="dropout 0.1", dropout=0.1)
    rivals = ("jax", "torch", "keras", "sklearn")
    entries = _schuss(*activations, classes, dropout)
    return entries + [entry for job in (classes, dropout) for entry in _rivals(job, *rivals)]


def _batches() -> list[Entry]:
    jobs = [replace(SMALL, case=f"batch {batch}", batch=batch) for batch in (8, 16, 32, 64, 128, 256, 512, 1024, 4096)]
    return [entry for job in jobs for entry in (*_schuss(job), *_rivals(job, "jax"), Entry("torch", 1, job))]


def _gather(rows: int) -> list[Entry]:
    """Steps on rows scattered over a large table, and over the usual one."""
    entries = []
    for name, job in (("small", SMALL), ("mid", MID)):
        for count in (job.rows, rows):
            entries += _schuss(replace(job, case=f"{name}, {count:,} rows", kind="steps", features=50, rows=count))
    return entries


def _fits() -> list[Entry]:
    entries = []
    for outputs, loss in ((3, "cross_entropy"), (1, "squared_error")):
        for hidden in ((100,), (16,)):
            for batch in (32, 150):
                job = replace(FIT, hidden=hidden, batch=batch, outputs=outputs, loss=loss)
                entries += [*_schuss(job, threads=THREADS[-1:]), *_rivals(job, "sklearn")]
    return entries


def _predictions() -> list[Entry]:
    """Batches as in training, and larger ones."""
    entries = []
    for job in SHAPES.values():
        for batch in sorted({job.batch, 1024, 16_384}):
            this = replace(job, kind="predict", batch=batch)
            entries += [Entry(who, count, this) for who in ("schuss", "onnxruntime") for count in THREADS]
    return entries


def cases(quick: bool) -> dict[str, Callable[[], list[Entry]]]:
    """What --cases chooses from."""
    return {
        **{name: partial(_training, job) for name, job in SHAPES.items()},
        "extras": _extras,
        "batches": _batches,
        "gather": partial(_gather, 1_000_000 if quick else 10_000_000),
        "fits": _fits,
        "predictions": _predictions,
    }


class Contestant:
    """The process of one contestant."""

    def __init__(self, name: str, threads: int, seconds: float) -> None:
        program = Path(__file__).with_name("contestants.py")
        command: list[str | Path] = [sys.executable, program, name, str(threads), str(seconds)]
        count = str(threads)
        limits = {"OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **limits}
        )

    def ask(self, what: str, job: Job) -> dict[str, Any]:
        """Its answer."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            print(json.dumps({"ask": what, "job": asdict(job)}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return dict(json.loads(line)) if line else {"skipped": "its process ended"}

    def end(self) -> None:
        """It stops when there are no more lines."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def _contestants(entries: Iterable[Entry], seconds: float) -> Iterator[dict[tuple[str, int], Contestant]]:
    """All that are needed, at once."""
    with ExitStack() as stack:
        found: dict[tuple[str, int], Contestant] = {}
        for who in dict.fromkeys((entry.who, entry.threads) for entry in entries):
            found[who] = Contestant(*who, seconds)
            stack.callback(found[who].end)
        yield found


def measure(entries: list[Entry], rounds: int, seconds: float, between: Callable[[], None]) -> None:
    """Fills the entries in; `between` is called before each round."""
    with _contestants(entries, seconds) as contestants:
        for entry in entries:
            entry.skipped = contestants[entry.who, entry.threads].ask("prepare", entry.job).get("skipped")
        for number in range(rounds):
            between()
            for entry in entries if number % 2 == 0 else entries[::-1]:
                if entry.skipped is None:
                    time.sleep(_PAUSE)
                    answer = contestants[entry.who, entry.threads].ask("measure", entry.job)
                    entry.skipped = answer.get("skipped")
                    entry.samples += [answer["rate"]] if "rate" in answer else []
        for entry in entries:
            if entry.skipped is None:
                entry.quality = contestants[entry.who, entry.threads].ask("quality", entry.job).get("quality")


def measure_starts(rounds: int, names: Iterable[str]) -> dict[str, list[float]]:
    """Seconds of fresh processes."""
    chosen = {name: code for name, code in STARTS.items() if any(part in name for part in names)}
    found: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds + 1):
        for name, code in chosen.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-W", "ignore", "-c", _START.format(code=code)], check=True)
            found[name].append(time.perf_counter() - began)
    return {name: seconds[1:] for name, seconds in found.items()}  # the first one reads files that are not yet cached


class Peaks:
    """What the machine could do, looked at again and again."""

    def __init__(self) -> None:
        self._peak = Peak()
        self.gigaflops: dict[int, list[float]] = {threads: [] for threads in THREADS}
        self.gigabytes: dict[int, list[float]] = {}

    def look(self) -> None:
        """Once more."""
        for threads, samples in self.gigaflops.items():
            samples += [self._peak.gigaflops(threads) for _ in range(3)]

    def look_at_memory(self) -> None:
        """GB/s of one core, from what fits into each cache of most processors, and from memory; by bytes."""
        self.gigabytes = {size: [self._peak.gigabytes(size) for _ in range(5)] for size in MEMORY_SIZES}


def _versions() -> list[str]:
    """Packages that are there."""
    found = []
    for name in PACKAGES:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found


def _arguments(names: Iterable[str], usual: Iterable[str]) -> argparse.Namespace:
    rivals = [name for name in CONTESTANTS if name != "schuss"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(usual), help=f"of {', '.join(names)}")
    parser.add_argument("--rivals", default=",".join(rivals), help=f"of {', '.join(rivals)}")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.15, help="that a measurement takes")
    parser.add_argument("--prototype", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measures, prints a line an entry, writes all samples."""
    quick = "--quick" in sys.argv
    groups = cases(quick)
    arguments = _arguments([*groups, "starts"], QUICK_CASES if quick else [*groups, "starts"])
    chosen, rivals = arguments.cases.split(","), {"schuss", *arguments.rivals.split(",")}
    unknown = {*chosen, *rivals} - {*groups, "starts", *CONTESTANTS, ""}
    if unknown:
        sys.exit(f"There is no {', '.join(unknown)}: see --help.")
    if arguments.prototype:
        os.environ["PROTOTYPE"] = str(arguments.prototype.resolve())
    else:
        rivals.discard("prototype")
    rounds, seconds = (1, 0.05) if quick else (arguments.rounds, arguments.seconds)

    began, peaks = time.monotonic(), Peaks()
    entries: list[Entry] = []
    starts: dict[str, list[float]] = {}
    loads: dict[str, float] = {}

    def save() -> None:
        """After every case, so that nothing is lost where a later one fails."""
        if arguments.out:
            head = {**facts(_versions()), "rounds": rounds, "seconds": seconds, "loads": loads}
            measured = {"gigaflops": peaks.gigaflops, "gigabytes": peaks.gigabytes, "starts": starts}
            lines = {"entries": [entry.description() for entry in entries]}
            arguments.out.write_text(json.dumps(head | measured | lines, indent=1) + "\n")

    peaks.look_at_memory()
    for name, group in groups.items():
        if name not in chosen:
            continue
        loads[name] = os.getloadavg()[0]  # of others, and for a minute of the case before
        measured = [entry for entry in group() if entry.who in rivals]
        measure(measured, rounds, seconds, peaks.look)
        entries += measured
        print(f"\n{name}: load {loads[name]:.1f} before, {time.monotonic() - began:.0f} s since the start")
        print("\n".join(entry.line() for entry in measured), flush=True)
        save()
    if "starts" in chosen:
        starts |= measure_starts(rounds, rivals)
        for name, samples in starts.items():
            print(f"fresh process, {name:24} {statistics.median(samples):.3f} s")
        save()
    print(f"peak: { ({threads: round(max(found), 1) for threads, found in peaks.gigaflops.items()}) } GFLOP/s")


if __name__ == "__main__":
    main()
