"""What is free is what the system and the control groups leave."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from schuss.table import memory
from schuss.table.memory import half_of_free_memory, memory_for


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups without a limit."""
    monkeypatch.setattr(memory, "_ROOT", tmp_path)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_free_in_system", lambda: 1e9)
    return tmp_path


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"memory.{name}").write_text(f"{content}\n")


def test_without_groups_it_is_what_the_system_has(groups: Path) -> None:
    assert half_of_free_memory() == 5e8
    (groups / "cgroup").write_text("0::/\n3:cpuset:/\n")
    assert half_of_free_memory() == 5e8


def test_a_group_of_version_2_limits_all_that_are_in_it(groups: Path) -> None:
    (groups / "cgroup").write_text("0::/user/own\n")
    group(groups / "user" / "own", max="max", current=10)
    group(groups / "user", max=10**6, current=700_000, stat="anon 100000\nfile 600000")
    assert half_of_free_memory() == 450_000  # files that are kept in memory can be let go


def test_a_group_of_version_1_limits_too(groups: Path) -> None:
    (groups / "cgroup").write_text("4:memory:/own\n1:cpu:/elsewhere\n0::/\n")
    group(groups / "memory" / "own", limit_in_bytes=2 * 10**6, usage_in_bytes=1_500_000, stat="cache 1\ntotal_cache 9")
    assert half_of_free_memory() == 250_004.5


def test_a_container_sees_its_own_group_as_the_root(groups: Path) -> None:
    (groups / "cgroup").write_text("0::/outside/that/is/not/here\n")
    group(groups, max=1000, current=400)
    assert half_of_free_memory() == 300


def test_a_source_in_memory_already_has_no_limit() -> None:
    for table in ({"a": [1]}, np.ones((2, 2)), pa.table({"a": [1]}), pd.DataFrame({"a": [1]})):
        assert memory_for(table) is None
    for several in ([{"a": [1]}], iter([{"a": [1]}]), {1: {"a": [1]}}.values(), Path("file.csv")):
        assert memory_for(several, 1000) == 500
    assert memory_for("file.csv", 1000) == 500
    assert memory_for("file.csv", math.inf) is None
