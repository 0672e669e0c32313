"""Charts: SVG that can be read, points where they belong, round ticks, gaps where there is no number."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, strategies as some

from schuss.view import charts
from schuss.view.charts import Line, Panel, chart

SVG = "{http://www.w3.org/2000/svg}"
LEFT, RIGHT = charts._LEFT, charts._WIDTH - charts._RIGHT


def drawn(*lines: Line, mark: tuple[float, str] | None = None) -> ElementTree.Element:
    return ElementTree.fromstring(chart("A title", "What is seen.", [Panel("panel", "x", "y", lines, mark)]))


def paths(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """The points of each line of the first panel."""
    colored = [path for path in root.iter(f"{SVG}path") if path.get("stroke-linecap")]
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path.get("d", ""))] for path in colored
    ]


def texts(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def test_a_chart_says_in_words_what_is_seen() -> None:
    root = drawn(Line("a", [0, 1], [0, 1]))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "A title. What is seen."
    assert [root.findtext(SVG + tag) for tag in ("title", "desc")] == ["A title", "What is seen."]


def test_names_cannot_become_markup() -> None:
    root = drawn(Line("<b>&\"'", [0, 1], [0, 1]), Line("</svg><script>", [0, 1], [1, 0]), mark=(0.5, "<i>"))
    assert {"<b>&\"'", "</svg><script>", "<i>"} <= set(texts(root))
    assert not list(root.iter(f"{SVG}script"))


def test_points_lie_where_their_numbers_say() -> None:
    (points,) = paths(drawn(Line("a", [0, 1, 4], [-1, 0, 3])))
    assert [x for x, _ in points] == pytest.approx([LEFT, LEFT + (RIGHT - LEFT) / 4, RIGHT], abs=0.1)
    assert points[0][1] - points[1][1] == pytest.approx((points[1][1] - points[2][1]) / 3, abs=0.2)


def test_numbers_of_many_sizes_lie_on_logarithmic_axes() -> None:
    root = drawn(Line("a", [1, 10, 100], [1e-6, 1e-3, 1.0]))
    (points,) = paths(root)
    assert points[1][0] == pytest.approx((LEFT + RIGHT) / 2, abs=0.1)
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.1)
    assert {"1", "10", "100", "10⁻⁶", "0.01"} <= set(texts(root))


def test_what_is_no_number_is_a_gap() -> None:
    root = drawn(Line("a", [0, 1, 2, 3], [1, math.nan, 2, math.inf]), Line("b", [], []))
    assert [len(points) for points in paths(root)[:2]] == [2, 0]
    path = next(path for path in root.iter(f"{SVG}path") if path.get("stroke-linecap"))
    assert path.get("d", "").count("M") == 2


@pytest.mark.parametrize("values", [[], [math.nan], [5.0], [0.0], [2.0, 2.0], [-1e300, 1e300], [1e-300, 1e-299]])
def test_any_numbers_can_be_drawn(values: list[float]) -> None:
    root = drawn(Line("a", values, values))
    assert all(math.isfinite(x) and math.isfinite(y) for points in paths(root) for x, y in points)
    assert "nan" not in ElementTree.tostring(root).decode()


def test_a_long_line_is_thinned() -> None:
    (points,) = paths(drawn(Line("a", np.arange(1e5), np.arange(1e5))))
    assert 500 < len(points) <= 1000


def test_every_line_is_in_the_legend_and_no_two_look_alike() -> None:
    names = [f"line {number}" for number in range(35)]
    root = drawn(*(Line(name, [0, 1], [0, 1]) for name in names))
    assert set(names) <= set(texts(root))
    looks = [(path.get("stroke"), path.get("stroke-dasharray")) for path in root.iter(f"{SVG}path")
             if path.get("stroke-linecap")]  # fmt: skip
    assert looks[:35] == looks[35:]
    assert len(set(looks)) == 35
    bottom = max(float(path.get("d", "").split()[1].split("h")[0]) for path in root.iter(f"{SVG}path")
                 if path.get("stroke-linecap"))  # fmt: skip
    assert bottom < float(root.get("height", ""))


@given(some.floats(-1e6, 1e6), some.floats(1e-3, 1e6))
def test_linear_ticks_are_round_and_enough(low: float, width: float) -> None:
    ticks = charts._linear_ticks(low, low + width)
    assert 3 <= len(ticks) <= 8
    slack = 1e-9 * (abs(low) + width)
    assert all(low - slack <= tick <= low + width + slack for tick in ticks)


@given(some.floats(-20, 20), some.floats(1.0, 30))
def test_logarithmic_ticks_are_enough_and_within(low: float, width: float) -> None:
    ticks = charts._log_ticks(low, low + width)
    assert 2 <= len(ticks) <= 10
    assert all(low <= math.log10(tick) <= low + width for tick in ticks)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (20.0, "20"), (0.05, "0.05"), (1000.0, "1,000"), (1e5, "10⁵"), (2e6, "2·10⁶"), (1e-5, "10⁻⁵"),
     (-2.5e-7, "-2.5·10⁻⁷"), (0.30000000000000004, "0.3"), (1e-3, "0.001")]
)  # fmt: skip
def test_numbers_are_said_briefly(value: float, words: str) -> None:
    assert charts._number(value) == words
