"""The quality benchmark scores, keeps and ranks its fits."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import opponents
import quality

TABLES = """
import numpy

def split(n):
    rows = numpy.random.default_rng(0).permutation(n)
    return rows[n // 5 :], rows[: n // 5]
"""


class _Mean:
    """The simplest model of numbers."""

    def fit(self, X: Any, y: Any) -> None:
        self.value = y.mean()

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.value)


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    (tmp_path / "tables.py").write_text(TABLES)
    return argparse.Namespace(
        data=tmp_path,
        tables=["iris"],
        models=["sklearn-mlp", "tabm"],
        seeds=2,
        again=[],
        limit=600.0,
        schuss=sys.executable,
        results=tmp_path / "quality.json",
    )


def test_the_mean_is_scored_by_the_deviation_of_the_test_rows(arguments: argparse.Namespace) -> None:
    table = opponents.load(arguments.data, "diabetes")
    found = opponents.measured(table, _Mean())
    errors = table.y[table.test] - table.y[table.training].mean()
    assert found["scores"]["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert found["peak_memory_bytes"] > 2**20


def test_a_sure_and_wrong_class_costs_a_bounded_loss() -> None:
    found = opponents.scores(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]), is_regression=False)
    assert found == {"log_loss": pytest.approx(-np.log(1e-7) / 2), "accuracy": 0.5}


def test_a_fit_in_a_process_of_its_own_beats_the_most_frequent_class(arguments: argparse.Namespace) -> None:
    found = quality.fit(arguments.data, "wine", "sklearn-mlp", 0, arguments.limit, sys.executable)
    assert found
    assert found["scores"]["accuracy"] > 0.6
    assert quality.fit(arguments.data, "wine", "sklearn-mlp", 0, 0.01, sys.executable) == {"limit": 0.01}


def test_only_what_is_missing_is_fitted(arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def fit(folder: Path, table: str, model: str, seed: int, limit: float, python: str) -> quality.Fit:
        made.append((model, seed))
        return {"limit": limit} if model == "tabm" else {"scores": {"log_loss": 1.0, "accuracy": 0.5}}

    monkeypatch.setattr(quality, "fit", fit)
    quality.fill(arguments)
    assert made == [("sklearn-mlp", 0), ("tabm", 0), ("sklearn-mlp", 1)]
    quality.fill(arguments)
    assert len(made) == 3
    arguments.limit = 1200.0
    quality.fill(arguments)
    assert made[3:] == [("tabm", 0)]
    arguments.again = ["sklearn-mlp"]
    quality.fill(arguments)
    assert made[4:] == [("sklearn-mlp", 0), ("sklearn-mlp", 1)]
    assert len(quality.read(arguments.results)) == 3


def test_models_are_ranked_by_the_mean_over_the_seeds() -> None:
    def made(table: str, model: str, seed: int, loss: float) -> quality.Fit:
        scores = {"log_loss": loss, "accuracy": loss}
        return {"table": table, "model": model, "seed": seed, "scores": scores, "fit_seconds": 1, "fit_cpu_seconds": 2}

    fits = [made("iris", "xgboost", 0, 0.1), made("iris", "xgboost", 1, 0.5), made("iris", "lightgbm", 0, 0.2)]
    fits += [made("wine", "lightgbm", 0, 0.3), {"table": "wine", "model": "xgboost", "seed": 0, "limit": 1.0}]
    found = quality.means(fits, opponents.TABLES, list(opponents.MODELS))
    assert quality.ranks(found) == {"wine": {"lightgbm": 1.0}, "iris": {"lightgbm": 1.0, "xgboost": 2.0}}
    assert "| iris | 0.2000 / 0.2000 (1) | 0.3000 / 0.3000 (2) |" in quality.show(found, ["lightgbm", "xgboost"])
