"""Default settings reach their bars on real tables, from CSV files through the command line."""

import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
DATA = PROJECT.parent / "shared" / "data"
sys.path.insert(0, str(PROJECT / "benchmarks"))

from accuracy import BARS, load_tables, run  # noqa: E402


@pytest.mark.skipif(not DATA.is_dir(), reason="the real tables are not here")
@pytest.mark.parametrize("name", BARS)
def test_default_settings_reach_the_bar(name: str) -> None:
    score, bar = BARS[name]
    options = ["--effort", "fast"] if name == "flights" else []  # two minutes otherwise
    assert run(load_tables(DATA), name, options)[score] >= bar
