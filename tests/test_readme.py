"""What the README shows runs as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_diabetes

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables that the README speaks of, as the demo writes them."""
    monkeypatch.chdir(tmp_path)
    frame = load_diabetes(as_frame=True).frame
    frame[:350].to_csv("diabetes.csv", index=False)
    frame[350:].to_csv("diabetes-held-out.csv", index=False)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("number", range(README.count("```python")))
def test_python_of_the_readme_runs(number: int) -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[number]
    exec(compile(code, f"README, block {number + 1}", "exec"), {})


@pytest.mark.usefixtures("tables")
def test_first_commands_of_the_readme_run_one_after_another() -> None:
    block = re.findall(r"```console\n(.*?)```", README, re.DOTALL)[0]
    commands = [line.removeprefix("$ schuss ") for line in block.splitlines()]
    assert len(commands) == 4
    for command in commands:
        done = subprocess.run([sys.executable, "-m", "schuss", *shlex.split(command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert sorted(os.listdir()) == ["diabetes-held-out.csv", "diabetes.csv", "diabetes.schuss", "predicted.csv"]


def test_every_setting_that_the_readme_names_exists() -> None:
    told = set(re.findall(r"`(--[a-z-]+)", README))
    help_text = subprocess.run(
        [sys.executable, "-m", "schuss", "train", "--help"], capture_output=True, text=True
    ).stdout
    assert told
    assert told - {"--help"} <= set(re.findall(r"--[a-z-]+", help_text))
