"""Writes docs/performance.md and docs/performance.svg from the results of throughput.py.

    python benchmarks/performance.py [--results FILE.json] [--docs FOLDER]

Every number in them comes from that file. The plot needs matplotlib (benchmarks/requirements.txt).
"""

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
CASES = ("tiny", "small", "mid", "big")
RIVALS = {
    "jax": "JAX",
    "torch": "PyTorch",
    "torch.compile": "torch.compile",
    "keras": "Keras on JAX",
    "sklearn": "scikit-learn",
}
# How many times as fast schuss must at least be, in float32 with Adam, its best number of threads against theirs.
RATIO_BARS: dict[str, dict[str, float]] = {
    "tiny": {"jax": 6, "torch": 200, "sklearn": 100},
    "small": {"jax": 2.2, "torch": 15, "sklearn": 12},
    "mid": {"jax": 1.5, "torch": 2, "sklearn": 3.5},
    "big": {"jax": 1.1, "torch": 1.4, "sklearn": 1.6},
}
# With one thread, and with all.
SHARE_BARS: dict[str, tuple[float, float | None]] = {
    "tiny": (0.25, None),
    "small": (0.72, 0.52),
    "mid": (0.86, 0.76),
    "big": (0.90, 0.84),
}
BF16_BARS = {"small": 3, "mid": 2.8, "big": 2.1}  # of JAX in float32
COST_BARS = {"gelu": 0.1, "silu": 0.1, "tanh": 0.1, "ten classes": 0.05, "dropout 0.1": 0.05}
PREDICTION_BARS = {"tiny": 1.5, "small": 1.5, "mid": 1, "big": 1}
PROTOTYPE_BAR, FITS_BAR = 0.95, 20


@dataclass
class Results:
    """The file, asked for single figures; and what was compared with a bar so far."""

    found: dict[str, Any]
    verdicts: list[tuple[str, bool]] = field(default_factory=list)

    def entries(self, case: str, who: str, **others: Any) -> list[dict[str, Any]]:
        """Those measured."""
        wanted = {"case": case, "who": who, "kind": "train", "optimizer": "adam", "precision": "float32"} | others
        entries: list[dict[str, Any]] = self.found["entries"]
        return [each for each in entries if each["median"] and all(each[key] == wanted[key] for key in wanted)]

    def rate(self, case: str, who: str, **others: Any) -> float | None:
        """Rows a second, the best of the numbers of threads (and of whatever else is left open)."""
        return max((float(each["median"]) for each in self.entries(case, who, **others)), default=None)

    def peak(self, threads: int) -> float:
        """FLOP/s."""
        return 1e9 * float(max(self.found["gigaflops"][str(threads)]))

    @property
    def threads(self) -> list[int]:
        return [int(count) for count in self.found["gigaflops"]]

    def ratio(self, name: str, ours: float | None, theirs: float | None, bar: float | None) -> str:
        """Ours over theirs beside the bar: "7.1 (6 ✓)"."""
        if ours is None or theirs is None:
            return "–"
        return self.judged(name, f"{three(ours / theirs)} ×", ours / theirs >= (bar or 0), f"{bar:g}" if bar else None)

    def judged(self, name: str, text: str, met: bool, bar: str | None) -> str:
        """A figure beside its bar, and remembered."""
        if bar is None:
            return text
        self.verdicts.append((f"{name}: {text}, bar {bar}", met))
        return f"{text} ({bar} {'✓' if met else '✗'})"


@dataclass(frozen=True)
class Step:
    """What a training step of one case has to do; all of it in float32 with Adam."""

    features: int
    hidden: Sequence[int]
    outputs: int
    batch: int

    @property
    def parameters(self) -> int:
        return sum((inputs + 1) * outputs for inputs, outputs in self._layers())

    @property
    def operations(self) -> int:
        """Of the three products of each layer: forward, weight gradient and, but for the first, input gradient."""
        products = [inputs * outputs for inputs, outputs in self._layers()]
        return 2 * self.batch * (3 * sum(products) - products[0])

    @property
    def bytes_moved(self) -> int:
        """The least that a core reads and writes, from whichever cache.

        A row is read, and its copy written and read twice; an activation and its gradient are each written and read
        twice; W is read forward and back, and W and both vectors of Adam are read and written by the update.
        """
        rows = self.batch * (4 * self.features + self.outputs)
        return 4 * (rows + 6 * self.batch * sum(self.hidden) + 8 * self.parameters)

    @property
    def working_set(self) -> int:
        """Bytes that one step after the other touches: W twice, Adam's vectors, activations and their gradients."""
        return 4 * (4 * self.parameters + self.batch * (self.features + 2 * sum(self.hidden)))

    def _layers(self) -> Iterable[tuple[int, int]]:
        widths = (self.features, *self.hidden, self.outputs)
        return pairwise(widths)


def step_of(results: Results, case: str) -> Step:
    """From whatever was measured of that case."""
    each = next(each for each in results.found["entries"] if each["case"] == case)
    return Step(each["features"], each["hidden"], each["outputs"], each["batch"])


def three(value: float | None) -> str:
    """Three digits, and thousands with a comma."""
    if value is None:
        return "–"
    digits = next((places for places, above in ((0, 99.95), (1, 9.995), (2, 0.0)) if abs(value) >= above), 2)
    return f"{value:,.{digits}f}"


def thousands(rate: float | None) -> str:
    """Thousand rows a second."""
    return three(None if rate is None else rate / 1e3)


def size_name(size: int) -> str:
    """16 KB, 8 MB."""
    return f"{size >> 20} MB" if size >= 2**20 else f"{size >> 10} KB"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; lines of nothing but dashes after their first cell are left out."""
    kept = [line for line in lines if set(line[1:]) != {"–"}]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *kept)) + "\n"


def shape(results: Results, case: str) -> str:
    step = step_of(results, case)
    return f"{case} {'-'.join(map(str, (step.features, *step.hidden, step.outputs)))}, batch {step.batch:,}"


def measured_cases(results: Results) -> list[str]:
    return [case for case in CASES if results.rate(case, "schuss")]


def training_section(results: Results) -> str:
    """The four cases, thousand rows a second and ratios."""
    cases, parts = measured_cases(results), ["## Training\n"]
    for optimizer, name in (("adam", "Adam"), ("sgd", "Gradient descent")):
        head = [
            f"{name}: thousand rows/s",
            *(f"schuss, {count} thread{'s' * (count > 1)}" for count in results.threads),
        ]
        lines = [
            [
                shape(results, case),
                *(thousands(results.rate(case, "schuss", optimizer=optimizer, threads=n)) for n in results.threads),
                *(thousands(results.rate(case, rival, optimizer=optimizer)) for rival in RIVALS),
            ]
            for case in cases
        ]
        parts.append(markdown([*head, *RIVALS.values()], lines))
    lines = []
    for case in cases:
        ours, bars = results.rate(case, "schuss"), RATIO_BARS[case]
        ratios = [
            results.ratio(f"{case}, {label}", ours, results.rate(case, rival), bars.get(rival))
            for rival, label in RIVALS.items()
        ]
        lines.append([case, *ratios])
    parts.append("How many times as fast schuss is, with Adam; in brackets the bar that it was held to:\n")
    parts.append(markdown(["schuss against", *RIVALS.values()], lines))
    return "\n".join(parts)


def share_section(results: Results) -> str:
    """Shares of the peak, and the prototype."""
    lines = []
    for case in measured_cases(results):
        step, cells = step_of(results, case), [case]
        for kind in ("train", "steps"):
            for place, threads in ((0, results.threads[0]), (1, results.threads[-1])):
                rate = results.rate(case, "schuss", kind=kind, threads=threads)
                if rate is None:
                    cells.append("–")
                    continue
                speed = rate * step.operations / step.batch
                share, bar = speed / results.peak(threads), SHARE_BARS[case][place] if kind == "train" else None
                text = f"{three(speed / 1e9)} GFLOP/s, {share:.0%}"
                name = f"{case}, share of the peak with {threads} thread(s)"
                cells.append(results.judged(name, text, share >= (bar or 0), f"{bar:.0%}" if bar else None))
        lines.append(cells)
    counts = [f"{count} thread{'s' * (count > 1)}" for count in (results.threads[0], results.threads[-1])]
    peaks = ", ".join(f"{results.peak(count) / 1e9:.0f} GFLOP/s with {count}" for count in results.threads)
    head = ["Adam", *(f"training, {count}" for count in counts), *(f"steps alone, {count}" for count in counts)]
    text = f"""## Share of the peak

The peak is a loop of fused multiply-adds measured in the same run: {peaks}. Counted are the products of a step
(forward, weight gradient, input gradient), 2 operations each, and neither activations nor the optimiser. "Training" is
what a user gets, with the order of the rows and the Python loop; "steps alone" is one call of the engine on an order
that is ready.

{markdown(head, lines)}"""
    lines = []
    for case in measured_cases(results):
        cells = [case]
        for precision in ("float32", "bf16"):
            others = {"kind": "steps", "precision": precision}
            ours, theirs = (results.rate(case, who, **others) for who in ("schuss", "prototype"))
            cells.append(results.ratio(f"{case}, prototype in {precision}", ours, theirs, PROTOTYPE_BAR))
        lines.append(cells)
    if any(set(line[1:]) != {"–"} for line in lines):
        table = markdown(["steps alone against the prototype", "float32", "bf16"], lines)
        text += f"\nA throw-away core for one kind of network had shown what is possible:\n\n{table}"
    return text


def bf16_section(results: Results) -> str:
    lines = []
    for case in measured_cases(results):
        ours, jax = results.rate(case, "schuss", precision="bf16"), results.rate(case, "jax")
        plain = results.rate(case, "schuss")
        lines.append(
            [
                case,
                thousands(ours),
                results.ratio(f"{case}, bf16 against schuss", ours, plain, None),
                results.ratio(f"{case}, bf16 against JAX in float32", ours, jax, BF16_BARS.get(case)),
            ]
        )
    if all(set(line[1:]) == {"–"} for line in lines):
        return ""
    head = ["bf16 products, Adam", "thousand rows/s", "against schuss in float32", "against JAX in float32"]
    return f"## Products in bf16\n\n{markdown(head, lines)}"


def extras_section(results: Results) -> str:
    """What the rest costs at mid."""
    base = results.rate("relu", "schuss")
    lines = []
    for case, bar in COST_BARS.items():
        ours, cells = results.rate(case, "schuss"), [case]
        if ours is None or base is None:
            continue
        cost = base / ours - 1
        cells += [thousands(ours), results.judged(f"{case} at mid", f"{cost:+.1%}", cost < bar, f"< {bar:.0%}")]
        cells += [three(ours / rate) + " ×" if (rate := results.rate(case, rival)) else "–" for rival in RIVALS]
        lines.append(cells)
    if not lines:
        return ""
    head = ["at mid, Adam", "thousand rows/s", "time beyond ReLU, one output", *RIVALS.values()]
    note = "Ten classes are ten outputs: 3 % more arithmetic than one."
    return f"## Activations, classes, dropout\n\n{note}\n\n{markdown(head, lines)}"


def batches_section(results: Results) -> str:
    batches = sorted({each["batch"] for each in results.found["entries"] if each["case"].startswith("batch ")})
    lines = [
        [f"{batch:,}", *(thousands(results.rate(f"batch {batch}", who)) for who in ("schuss", "jax", "torch"))]
        for batch in batches
    ]
    head = ["batch (small, Adam)", "schuss", "JAX", "PyTorch, 1 thread"]
    return f"## Batch sizes\n\nThousand rows/s.\n\n{markdown(head, lines)}" if lines else ""


def gather_section(results: Results) -> str:
    entries = [each for each in results.found["entries"] if each["case"].endswith(" rows")]
    lines = [
        [case, *(thousands(results.rate(case, "schuss", kind="steps", threads=count)) for count in results.threads)]
        for case in dict.fromkeys(each["case"] for each in entries)
    ]
    if not lines:
        return ""
    head = ["width, table", *(f"{count} thread{'s' * (count > 1)}" for count in results.threads)]
    size = max(each["rows"] for each in entries) * 50 * 4 / 1e9
    note = (
        f"Rows of 50 features at random places; the larger table takes {size:.1f} GB. Thousand rows/s of steps alone."
    )
    return f"## Rows from a large table\n\n{note}\n\n{markdown(head, lines)}"


def fits_section(results: Results) -> str:
    entries = [each for each in results.found["entries"] if each["kind"] == "fits"]
    lines = []
    for each in (each for each in entries if each["who"] == "schuss" and each["median"]):
        which = {key: each[key] for key in ("kind", "hidden", "batch", "loss")}
        ours, theirs = (results.rate("fits", who, **which) for who in ("schuss", "sklearn"))
        task = "classes" if each["loss"] == "cross_entropy" else "regression"
        name = f"{task}, {each['hidden'][0]} wide, batch {each['batch']}"
        times = (three(1e3 / rate) if rate else "–" for rate in (ours, theirs))
        lines.append([name, *times, results.ratio(f"small fits, {name}", ours, theirs, FITS_BAR)])
    text = ""
    if lines:
        head = ["150 × 4, 100 epochs", "schuss: seconds for 1,000 fits", "scikit-learn", "ratio"]
        text = f"## Many small fits\n\n{markdown(head, lines)}"
    starts = {name: statistics.median(samples) for name, samples in results.found["starts"].items()}
    if starts:
        rival = starts.get("import torch")
        for name, seconds in starts.items():
            if rival and name != "import torch":
                text_of = f"{seconds:.2f} s against {rival:.2f} s"
                results.judged(f"fresh process, {name}", text_of, seconds < rival, "import torch")
        rows = [[name, f"{seconds:.2f} s"] for name, seconds in starts.items()]
        head = ["a fresh process: import and one such fit", "from start to end"]
        text += f"\n{markdown(head, rows)}"
    return text


def predictions_section(results: Results) -> str:
    lines = []
    for case in CASES:
        found = {
            who: [each for each in results.entries(case, who, kind="predict")] for who in ("schuss", "onnxruntime")
        }
        if not all(found.values()):
            continue
        best = {who: max(each["median"] for each in entries) for who, entries in found.items()}
        for batch in sorted({each["batch"] for each in found["schuss"]}):
            rates = (results.rate(case, who, kind="predict", batch=batch) for who in found)
            ours, theirs = rates
            lines.append(
                [f"{case}, {batch:,}", thousands(ours), thousands(theirs), results.ratio("", ours, theirs, None)]
            )
        ratio = results.ratio(f"{case}, prediction", best["schuss"], best["onnxruntime"], PREDICTION_BARS[case])
        lines.append([f"{case}, best", thousands(best["schuss"]), thousands(best["onnxruntime"]), ratio])
    if not lines:
        return ""
    head = ["case, rows a call", "schuss", "ONNX Runtime", "ratio"]
    note = "Thousand rows/s from array to outputs, the better number of threads for each."
    return f"## Prediction\n\n{note}\n\n{markdown(head, lines)}"


def roofline_section(results: Results) -> str:
    """Where a step's time goes, on one thread."""
    speeds = {int(size): max(samples) for size, samples in results.found["gigabytes"].items()}
    peak = results.peak(1)
    bounds, goes, words = [], [], []
    for case in measured_cases(results):
        step = step_of(results, case)
        rates = [
            results.rate(case, "schuss", kind=kind, optimizer=optimizer, threads=1)
            for kind, optimizer in (("train", "adam"), ("steps", "adam"), ("steps", "sgd"))
        ]
        if None in rates:
            continue
        whole, steps, plain = (1e6 * step.batch / rate for rate in rates if rate)
        level = next((size for size in speeds if size >= step.working_set), max(speeds))
        least, moving = 1e6 * step.operations / peak, 1e-3 * step.bytes_moved / speeds[level]
        bounds.append(
            [
                case,
                three(step.operations / 1e6),
                three(step.bytes_moved / 1e3),
                three(step.operations / step.bytes_moved),
                three(step.working_set / 1e3),
                three(least),
                f"{three(moving)} ({size_name(level)})",
                three(whole),
                f"{least / whole:.0%}",
            ]
        )
        parts = {
            "products at the peak": least,
            "Adam instead of plain descent": steps - plain,
            "order of rows and Python": whole - steps,
            "everything else": plain - least,
        }
        goes.append([case, *(f"{three(part)} µs, {part / whole:.0%}" for part in parts.values())])
        largest = max(list(parts)[1:], key=lambda name: parts[name])
        words.append(
            f"- **{case}**: {three(whole)} µs a step, of which the products need {three(least)} at the peak. The "
            f"largest part of the rest is {'the optimiser' if largest.startswith('Adam') else largest} "
            f"({three(parts[largest])} µs, {parts[largest] / whole:.0%}). Its bytes, at the speed of "
            f"{size_name(level)}, would take {three(moving)} µs."
        )
    if not bounds:
        return ""
    read = ", ".join(f"{speed:.0f} GB/s from {size_name(size)}" for size, speed in speeds.items())
    ridges = ", ".join(f"{three(peak / 1e9 / speed)} from {size_name(size)}" for size, speed in speeds.items())
    head = ["Adam, 1 thread", "MFLOP a step", "KB moved a step", "FLOP a byte", "KB touched again"]
    head += ["µs of products at the peak", "µs of bytes (from a set of)", "µs measured", "share of the peak"]
    words_of = "\n".join(words)
    return f"""## Where the time goes

One core reads {read}, measured in the same run. At
{peak / 1e9:.0f} GFLOP/s a step is bound by arithmetic where it does more operations for each byte than {ridges}.
Moved are at least: every row read, its copy written and read twice; every activation and its gradient written and read
twice; W read forward and back; W and both vectors of Adam read and written by the update.

{markdown(head, bounds)}
A step, cut into what was measured: the products at the peak; Adam less plain descent, both as steps alone; training
less steps alone; and everything else, which is the gathering of rows, bias, activation and loss, the plain update, the
last layer's few columns, and what the products lose to loads, to edges of tiles and to caches.

{markdown(["Adam, 1 thread", "products at the peak", "Adam's part", "order, Python", "everything else"], goes)}
{words_of}
"""


def write(results: Results, picture: str) -> str:
    """The whole page."""
    found = results.found
    sections = [
        training_section(results),
        share_section(results),
        bf16_section(results),
        extras_section(results),
        batches_section(results),
        gather_section(results),
        fits_section(results),
        predictions_section(results),
        roofline_section(results),
    ]
    missed = [name for name, met in results.verdicts if not met]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    met = f"Of {len(results.verdicts)} bars, {len(results.verdicts) - len(missed)} are met."
    lines = "".join(f"\n- {name}" for name in missed)
    load = next(iter(found["loads"].values()), 0.0)
    head = f"""# Performance

Written by `benchmarks/performance.py` from `benchmarks/results/throughput.json`; `benchmarks/throughput.py` says how to
measure again. Medians over {found["rounds"]} interleaved rounds; every contestant in a process of its own, same rows
for all; ReLU and squared error on standard normal columns unless said otherwise; everyone's order of rows is drawn anew
for every epoch and charged. On a machine whose processors others use too, a figure moves by 10 to 20 % from run to run:
see "The run that is shown" in decisions.md.

{found["machine"]}, {found["cores"]} cores, load {load:.1f} before the first case; commit {found["commit"]}; Python
{found["python"]}; {versions}.

{met}{" Missed:" if missed else ""}
{lines}

![Thousand rows per second of training]({picture})
"""
    return "\n".join(section for section in (head, *sections) if section)


def draw(results: Results, path: Path) -> None:
    """Thousand rows a second of the four cases, on logarithmic axes."""
    import matplotlib

    matplotlib.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "schuss", "svg.fonttype": "none", "font.size": 9})
    cases = measured_cases(results)
    figure, panels = pyplot.subplots(2, 2, figsize=(8, 4.6), constrained_layout=True)
    for case, panel in zip(cases, panels.flat, strict=False):
        rates = {"schuss": results.rate(case, "schuss")}
        rates |= {label: results.rate(case, rival) for rival, label in RIVALS.items()}
        shown = [(label, rate / 1e3) for label, rate in rates.items() if rate][::-1]
        colors = ["#d1495b" if label == "schuss" else "#8d99ae" for label, _ in shown]
        bars = panel.barh([label for label, _ in shown], [rate for _, rate in shown], color=colors)
        panel.bar_label(bars, [three(rate) for _, rate in shown], padding=3)
        panel.set_xscale("log")
        least, greatest = min(rate for _, rate in shown), max(rate for _, rate in shown)
        panel.set_xlim(least / 3, greatest * 4)
        panel.set_title(shape(results, case), loc="left", fontsize=9, fontweight="bold")
        panel.spines[["top", "right"]].set_visible(False)
        panel.minorticks_off()
    for panel in panels.flat[len(cases) :]:
        panel.set_visible(False)
    figure.suptitle("Training with Adam: thousand rows per second (logarithmic)", fontsize=10)
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Reads, writes, and says which bars were missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=PROJECT / "benchmarks" / "results" / "throughput.json")
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs")
    arguments = parser.parse_args()
    results = Results(json.loads(arguments.results.read_text()))
    (arguments.docs / "performance.md").write_text(write(results, "performance.svg"))
    draw(results, arguments.docs / "performance.svg")
    for name, met in results.verdicts:
        print("met   " if met else "MISSED", name)


if __name__ == "__main__":
    main()
