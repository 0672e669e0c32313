"""The house itself: floors, what an import costs, the demo's promises that no other test sees."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import schuss

HOUSE = Path(schuss.__file__).parent
# From the ground up: a file imports only from its own room and from rooms above it in this list.
FLOORS = (
    "errors",
    "arrays",
    "files",
    "groups",
    "network",
    "losses",
    "own",
    "metrics",
    "numeric",
    "descent",
    "settings",
    "table",
    "engine",
    "objective",
    "training",
    "configuration",
    "recipe",
    "model",
    "keeping",
    "preparing",
    "ensemble",
    "evaluating",
    "job",
    "cross_validation",
    "progress",
    "tensorboard",
    "estimators",
    "view",
    "tuning",
    "cli",
    "__main__",
)


def room(name: str) -> str:
    return name.split(".")[1] if name.startswith("schuss.") else ""


def imported_rooms(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "schuss":
            names |= {f"schuss.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {room(name) for name in names} - {"", "_core"}


@pytest.mark.parametrize("path", sorted(HOUSE.rglob("*.py")), ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_point_one_way(path: Path) -> None:
    own = path.relative_to(HOUSE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    allowed = set(FLOORS[: FLOORS.index(own) + 1])
    assert imported_rooms(path) <= allowed


def test_importing_schuss_loads_no_heavy_library() -> None:
    heavy = "{'sklearn', 'pandas', 'torch', 'polars', 'scipy', 'pyarrow'}"
    code = f"import schuss, sys; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_training_from_a_file_loads_neither_scikit_learn_nor_pandas_nor_torch(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("x,y\n" + "".join(f"{i},{2 * i + 0.5}\n" for i in range(20)))
    code = (
        f"import schuss, sys; schuss.train({str(table)!r}, 'y', epochs=1).predict({str(table)!r});"
        "print(sorted({'sklearn', 'pandas', 'torch', 'polars'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_training_from_an_array_loads_neither_pandas_nor_what_shows_progress() -> None:
    code = (
        "import schuss, sys, numpy as np; schuss.train(np.random.rand(20, 3), 'column_3', epochs=1);"
        "print(sorted({'sklearn', 'pandas', 'torch', 'polars', 'rich', 'click', 'optuna'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_version_is_the_one_that_is_built() -> None:
    project = tomllib.loads((HOUSE.parents[1] / "pyproject.toml").read_text())["project"]
    assert schuss.__version__ == project["version"]


def test_every_public_name_can_be_had() -> None:
    for name in schuss.__all__:
        assert getattr(schuss, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute"):
        _ = schuss.no_such_name
