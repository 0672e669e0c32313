"""One fit of quality.py, in a process of its own: a model on a table, its scores on the test rows, time and memory.

    python benchmarks/opponents.py DATA_FOLDER TABLE MODEL SEED THREADS        # prints JSON

Every model gets the same frame, in which texts are categories with the levels of the training rows. Encoding, scaling
and validation rows are part of a model, and of its time; imports are not.
"""

import gc
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from accuracy import load_tables
from facts import facts
from numpy.typing import NDArray

OPEN = ("california", "adult", "diamonds", "bike", "flights", "sleep")
OTHERS = ("skin", "beijing-air")
BUNDLED = ("diabetes", "breast_cancer", "wine", "iris", "digits")
TABLES = OPEN + OTHERS + BUNDLED
_LEAST = 1e-7  # a probability, for the log-loss: float32 near 1 is no finer


class Table(NamedTuple):
    """X [N, F], y [N] (numbers, or classes 0 .. k-1), and which rows are for training and for testing."""

    X: Any
    y: NDArray[Any]
    is_regression: bool
    training: NDArray[Any]
    test: NDArray[Any]


def load(folder: Path, name: str) -> Table:
    """The table with its fixed split: a random fifth for testing, of beijing-air the last fifth of the time."""
    tables = load_tables(folder)
    if name in OPEN:
        X, y, task = tables.load(name)
    elif name in BUNDLED:
        import sklearn.datasets

        X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True, as_frame=True)
        task = "reg" if name == "diabetes" else "class"
    else:
        X, y, task = {"skin": _skin, "beijing-air": _beijing}[name](folder / name.replace("skin", "skin-segmentation"))
    training, test = tables.split(len(X))
    if name == "beijing-air":  # whose rows are in the order of time
        training, test = np.split(np.arange(len(X)), [len(X) - len(X) // 5])
    for column in X.select_dtypes(exclude="number"):
        X[column] = pd.Categorical(X[column], categories=sorted(X[column].iloc[training].dropna().unique()))
    return Table(X, np.asarray(y), task == "reg", training, test)


def _skin(folder: Path) -> tuple[Any, Any, str]:
    frame = pd.read_csv(folder / "Skin_NonSkin.txt.gz", sep="\t", names=["blue", "green", "red", "class"])
    return frame, frame.pop("class") - 1, "class"


def _beijing(folder: Path) -> tuple[Any, Any, str]:
    """All stations; without PM10, of which PM2.5 is a part."""
    frame = pd.concat([pd.read_csv(path) for path in sorted(folder.glob("*.csv.gz"))])
    frame = frame.dropna(subset="PM2.5").drop(columns=["No", "PM10"])
    frame = frame.sort_values(["year", "month", "day", "hour", "station"]).reset_index(drop=True)
    return frame, frame.pop("PM2.5"), "reg"


def _schuss(effort: str, is_regression: bool, seed: int, threads: int) -> Any:
    import schuss

    kind = schuss.SchussRegressor if is_regression else schuss.SchussClassifier
    return kind(effort=effort, random_state=seed, n_jobs=threads)


def _fast(*case: Any) -> Any:
    return _schuss("fast", *case)


def _standard(*case: Any) -> Any:
    return _schuss("standard", *case)


def _thorough(*case: Any) -> Any:
    return _schuss("thorough", *case)


def _sklearn_mlp(is_regression: bool, seed: int, threads: int) -> Any:
    """One-hot categories, scaled numbers (and target), early stopping; the rest as it comes."""
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    encoding = ColumnTransformer(
        [
            ("texts", OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                make_column_selector(dtype_include="number"),
            ),
        ]
    )
    if not is_regression:
        return make_pipeline(encoding, MLPClassifier(early_stopping=True, random_state=seed))
    return TransformedTargetRegressor(
        make_pipeline(encoding, MLPRegressor(early_stopping=True, random_state=seed)), transformer=StandardScaler()
    )


def _lightgbm(is_regression: bool, seed: int, threads: int) -> Any:
    import lightgbm

    kind = lightgbm.LGBMRegressor if is_regression else lightgbm.LGBMClassifier
    return kind(random_state=seed, n_jobs=threads, verbosity=-1)


def _xgboost(is_regression: bool, seed: int, threads: int) -> Any:
    import xgboost

    kind = xgboost.XGBRegressor if is_regression else xgboost.XGBClassifier
    return kind(random_state=seed, n_jobs=threads, enable_categorical=True)


def _realmlp(is_regression: bool, seed: int, threads: int) -> Any:
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    return _filled((RealMLP_TD_Regressor if is_regression else RealMLP_TD_Classifier), seed, threads)


def _tabm(is_regression: bool, seed: int, threads: int) -> Any:
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    return _filled((TabM_D_Regressor if is_regression else TabM_D_Classifier), seed, threads)


def _filled(kind: Any, seed: int, threads: int) -> Any:
    """One of pytabkit, which takes no missing numbers: they become the median of the training rows."""
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    numbers = make_column_selector(dtype_include="number")
    filling = ColumnTransformer(
        [("numbers", SimpleImputer(strategy="median"), numbers)],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    return make_pipeline(
        filling.set_output(transform="pandas"), kind(random_state=seed, n_threads=threads, device="cpu")
    )


class Model(NamedTuple):
    """make(is_regression, seed, threads) is an estimator; the packages are those whose versions matter."""

    make: Callable[[bool, int, int], Any]
    packages: tuple[str, ...]
    is_slow: bool = False


MODELS: Mapping[str, Model] = {
    "schuss-fast": Model(_fast, ("schuss", "numpy")),
    "schuss-standard": Model(_standard, ("schuss", "numpy")),
    "schuss-thorough": Model(_thorough, ("schuss", "numpy")),
    "sklearn-mlp": Model(_sklearn_mlp, ("scikit-learn", "numpy")),
    "lightgbm": Model(_lightgbm, ("lightgbm", "numpy")),
    "xgboost": Model(_xgboost, ("xgboost", "numpy")),
    "realmlp": Model(_realmlp, ("pytabkit", "torch", "numpy"), is_slow=True),
    "tabm": Model(_tabm, ("pytabkit", "torch", "numpy"), is_slow=True),
}


def warm_up(estimator: Any, is_regression: bool) -> None:
    """What the first fit of a process pays for: what is imported then, and a collection of the garbage of imports."""
    random = np.random.default_rng(0)
    y = random.normal(size=100) if is_regression else random.integers(0, 2, 100)
    estimator.fit(pd.DataFrame(random.normal(size=(100, 3)), columns=["a", "b", "c"]), y)
    gc.collect()


def measured(table: Table, estimator: Any) -> dict[str, Any]:
    """Scores on the test rows, seconds (of the clock, and of all processors together) and peak memory in bytes."""
    began = _clocks()
    estimator.fit(table.X.iloc[table.training], table.y[table.training])
    fitted = _clocks()
    X = table.X.iloc[table.test]
    predicted = np.asarray(estimator.predict(X) if table.is_regression else estimator.predict_proba(X), np.float64)
    ended = _clocks()
    return {
        "scores": scores(table.y[table.test], predicted, table.is_regression),
        "fit_seconds": round(fitted[0] - began[0], 3),
        "fit_cpu_seconds": round(fitted[1] - began[1], 3),
        "predict_seconds": round(ended[0] - fitted[0], 3),
        "predict_cpu_seconds": round(ended[1] - fitted[1], 3),
        "peak_memory_bytes": 1024 * max(usage.ru_maxrss for usage in _usages()),
    }


def _clocks() -> tuple[float, float]:
    """Seconds of the clock, and of the processors for this process and its children."""
    return time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in _usages())


def _usages() -> list[resource.struct_rusage]:
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def scores(y: NDArray[Any], predicted: NDArray[Any], is_regression: bool) -> dict[str, float]:
    """The one that ranks comes first. predicted: numbers [N], or probabilities [N, k] of the classes 0 .. k-1."""
    if is_regression:
        return {"rmse": float(np.sqrt(np.mean((y - predicted.reshape(len(y))) ** 2)))}
    of_the_true = predicted[np.arange(len(y)), y] / predicted.sum(axis=1)
    return {
        "log_loss": float(-np.log(np.maximum(of_the_true, _LEAST)).mean()),
        "accuracy": float((predicted.argmax(axis=1) == y).mean()),
    }


def main() -> None:
    """Fits and prints."""
    folder, name, model, seed, threads = sys.argv[1:]
    company = round(os.getloadavg()[0], 2)
    warnings.filterwarnings("ignore")
    table = load(Path(folder), name)
    how = table.is_regression, int(seed), int(threads)
    warm_up(MODELS[model].make(*how), table.is_regression)
    found = measured(table, MODELS[model].make(*how))
    print(json.dumps({**found, "company": company, "threads": int(threads), **facts(MODELS[model].packages)}))


if __name__ == "__main__":
    main()
