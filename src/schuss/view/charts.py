"""Line charts as SVG text: axes with round ticks, linear or logarithmic, a legend, and words for those who listen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

import numpy as np

from schuss.arrays import Vector

# Of Okabe & Ito (2008), without yellow, which is faint on white; with dashes, so that no line needs its colour.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "14 4")
_WIDTH, _HEIGHT = 460, 270  # of a panel, of which these are around the plot:
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 16, 34, 48
_ROW, _LETTER = 20, 7.6  # of the legend: its height, and the width of a letter
_MOST_POINTS = 1000  # of a line: more cannot be seen

_Place: TypeAlias = Callable[[float], float]


@dataclass(frozen=True, eq=False)
class Line:
    """Points [n] in their order; what is not finite, or not above 0 on a logarithmic axis, is a gap."""

    label: str
    x: Sequence[float] | Vector
    y: Sequence[float] | Vector


@dataclass(frozen=True)
class Panel:
    """A plot; its axes are logarithmic where the values are above 0 and the greatest is 10 times the least.

    mark: a place on the x axis, with words. Lines of the same label look alike in all panels.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    mark: tuple[float, str] | None = None


def chart(title: str, description: str, panels: Sequence[Panel]) -> str:
    """The panels, two side by side, over one legend, as an SVG document.

    Arguments:
        title: over all. description: what can be seen, in words, for those who listen.

    >>> chart("Way", "It falls.", [Panel("", "x", "y", [Line("a", [0, 1], [1, 0])])])[:4]
    '<svg'
    """
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    columns = min(len(panels), 2)
    width, rows = _WIDTH * columns, math.ceil(len(panels) / columns)
    legend, legend_height = _legend(labels, width) if len(labels) > 1 else ("", 0)
    drawn = [
        _moved(at % columns * _WIDTH, _TOP + at // columns * _HEIGHT, _panel(panel, labels))
        for at, panel in enumerate(panels)
    ]
    below = _TOP + rows * _HEIGHT
    height = below + legend_height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}. {escape(description)}" '
        'font-family="system-ui, Helvetica, Arial, sans-serif" font-size="12" fill="#222">\n'
        f"<title>{escape(title)}</title>\n<desc>{escape(description)}</desc>\n"
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        f'<text x="16" y="24" font-size="15" font-weight="600">{escape(title)}</text>\n'
        + "\n".join(drawn)
        + f"\n{_moved(0, below, legend)}\n</svg>\n"
    )


def _moved(x: float, y: float, parts: str) -> str:
    return f'<g transform="translate({x},{y})">{parts}</g>'


def _panel(panel: Panel, labels: Sequence[str]) -> str:
    """Grid, axes, lines and mark, from (0, 0)."""
    points = [_points(line) for line in panel.lines]
    x, x_ticks = _axis([one[:, 0] for one in points], _LEFT, _WIDTH - _RIGHT)
    y, y_ticks = _axis([one[:, 1] for one in points], _HEIGHT - _BOTTOM, _TOP, margin=0.04)
    left, right, top, bottom = _LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    parts = [f'<text x="{left}" y="{top - 12}" font-weight="600">{escape(panel.title)}</text>']
    for value in y_ticks:
        parts.append(f'<path d="M{left} {y(value):.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    for value in x_ticks:
        parts.append(f'<path d="M{x(value):.1f} {bottom}v5" stroke="#222"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{bottom + 19}" text-anchor="middle">{_number(value)}</text>')
    parts.append(f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#222"/>')
    middle = (left + right) / 2, (top + bottom) / 2
    parts.append(f'<text x="{middle[0]}" y="{bottom + 38}" text-anchor="middle">{escape(panel.x_label)}</text>')
    turned = f'transform="translate(16,{middle[1]}) rotate(-90)" text-anchor="middle"'
    parts.append(f"<text {turned}>{escape(panel.y_label)}</text>")
    parts += [
        f'<path d="{_path(one, x, y)}" {_look(labels.index(line.label))}/>'
        for line, one in zip(panel.lines, points, strict=True)
    ]
    if panel.mark:
        place, words = x(panel.mark[0]), escape(panel.mark[1])
        anchor, shift = ("end", -6) if place > middle[0] else ("start", 6)
        parts.append(f'<path d="M{place:.1f} {top}V{bottom}" stroke="#222" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{place + shift:.1f}" y="{top + 12}" text-anchor="{anchor}">{words}</text>')
    return "\n".join(parts)


def _points(line: Line) -> Vector:
    """[n, 2], of a long line not all."""
    points = np.column_stack([np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)])
    return points[:: len(points) // _MOST_POINTS + 1]


def _path(points: Vector, x: _Place, y: _Place) -> str:
    """From point to point, with a new start after each gap; a lone point is a dot."""
    words, is_open = [], False
    for across, up in points.tolist():
        place = x(across), y(up)
        if not all(map(math.isfinite, place)):
            is_open = False
            continue
        words.append(f"{'L' if is_open else 'M'}{place[0]:.1f} {place[1]:.1f}" + ("" if is_open else "h0"))
        is_open = True
    return "".join(words)


def _look(number: int) -> str:
    """Of the line of that number."""
    color, dashes = _COLORS[number % len(_COLORS)], _DASHES[number % len(_DASHES)]
    return f'fill="none" stroke="{color}" stroke-width="2" stroke-linecap="round" stroke-dasharray="{dashes or "none"}"'


def _legend(labels: Sequence[str], width: int) -> tuple[str, int]:
    """Each line with its label, in as many rows as it takes, and their height."""
    parts, x, y = [], _LEFT, 0
    for number, label in enumerate(labels):
        taken = int(46 + _LETTER * len(label) + 16)
        if x + taken > width and x > _LEFT:
            x, y = _LEFT, y + _ROW
        parts.append(
            f'<path d="M{x} {y + 8}h38" {_look(number)}/><text x="{x + 46}" y="{y + 12}">{escape(label)}</text>'
        )
        x += taken
    return "".join(parts), y + _ROW + 8


def _axis(values: Sequence[Vector], start: float, end: float, margin: float = 0.0) -> tuple[_Place, list[float]]:
    """Where a value lies between start and end, and the values that are told."""
    all_values = np.concatenate([*values, np.empty(0)])
    finite = all_values[np.isfinite(all_values)]
    least, greatest = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if least == greatest:
        least, greatest = least - 0.5 * (abs(least) or 1), greatest + 0.5 * (abs(greatest) or 1)
    positive = finite[finite > 0]
    is_log = len(positive) and greatest > 10 * positive.min() and (least > 0 or 10 * len(positive) > 9 * len(finite))
    if is_log:
        least = float(positive.min())
    scale: _Place = (lambda value: math.log10(value) if value > 0 else math.nan) if is_log else float
    low, high = scale(least), scale(greatest)
    low, high = low - margin * (high - low), high + margin * (high - low)

    def place(value: float) -> float:
        return start + (end - start) * (scale(value) - low) / (high - low)

    ticks = _log_ticks(low, high) if is_log else _linear_ticks(low, high)
    return place, ticks


def _linear_ticks(low: float, high: float) -> list[float]:
    """Round values, three to eight of them."""
    rough = (high - low) / 7.5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = unit * next(times for times in (1, 2, 5, 10) if times * unit >= rough)
    return [step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between 10^low and 10^high, every so many; of few, 2 and 5 times them too."""
    every = math.ceil((high - low) / 6)
    powers = range(math.floor(low), math.ceil(high) + 1)
    times = (1,) if high - low > 2.5 else (1, 2, 5)
    ticks = [one * 10.0**power for power in powers if power % every == 0 for one in times]
    return [tick for tick in ticks if low <= math.log10(tick) <= high]


def _number(value: float) -> str:
    """0.05, 20, 1,000, 2·10⁶."""
    if value == 0 or 1e-3 <= abs(value) * (1 + 1e-9) < 1e5:
        return f"{value:,.6g}"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    mantissa = f"{value / 10.0**power:.3g}"
    ten = "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return ten if mantissa == "1" else f"{mantissa}·{ten}"
