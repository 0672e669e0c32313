"""Runs in a folder: whatever ends one, the next finds all that was durable and reaches the same W, bit for bit."""

import errno
import json
import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from children import in_a_child

import schuss
from schuss.configuration import Configuration
from schuss.errors import (
    AbandonedError,
    DivergedError,
    IncompleteRunWarning,
    NewerFormatError,
    OutputError,
    RunError,
    SchussError,
    SettingError,
)
from schuss.files import STORAGE, read_tensors, write_tensors
from schuss.training import checkpoint, loop, pace
from schuss.training.run_folder import RunFolder, answer_to, is_training, read_events, send

RANDOM = np.random.default_rng(0)
COUNT = 600
SETTINGS: dict[str, Any] = {
    "hidden": (16, 16),
    "dropout": 0.1,
    "batch_size": 16,
    "epochs": 12,
    "members": 1,
    "checkpoint_seconds": 0,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "table.csv"
    frame = pd.DataFrame(RANDOM.normal(size=(COUNT, 4)), columns=list("abcd"))
    frame["kind"] = RANDOM.choice(["x", "y", "z"], COUNT)
    frame["y"] = frame.a * frame.b + (frame.kind == "x") + 0.1 * RANDOM.normal(size=COUNT)
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def undisturbed(table: Path) -> schuss.Model:
    return schuss.train(table, "y", **SETTINGS)


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the clock, at commands and at the checkpoint every few steps."""
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-3)
    monkeypatch.setattr(loop, "_MARKED_STEPS", 10)


def go(table: Path, run: Path, **others: Any) -> schuss.Model:
    """Begins a run, or goes on with it."""
    if RunFolder(run).holds_run():
        return schuss.train(run=run, resume=True, **others)
    return schuss.train(table, "y", run=run, **{**SETTINGS, **others})


def interrupted_after(looks: int) -> Callable[[], bool]:
    left = iter([False] * looks)
    return lambda: next(left, True)


def checkpoints(run: Path) -> list[Path]:
    return checkpoint.newest_first(run / "checkpoints")


def same(one: schuss.Model, other: schuss.Model) -> bool:
    return bool((one.W == other.W).all()) and one.record.scores == other.record.scores


def test_a_run_is_the_same_training_and_leaves_everything_behind(
    table: Path, undisturbed: schuss.Model, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert same(go(table, run), undisturbed)
    assert same(schuss.Model.load(run / "model.schuss"), undisturbed)
    names = [line["event"] for line in read_events(run)]
    assert (names[0], names[-2:], names.count("epoch")) == ("prepared", ["finished", "saved"], 12)
    assert len(checkpoints(run)) == 2
    assert not is_training(run)


def test_fault_01_a_hundred_kills_at_any_moment_change_no_bit_of_W(
    table: Path, undisturbed: schuss.Model, tmp_path: Path
) -> None:
    random, kills, finished, started = np.random.default_rng(1), 0, 0, 0
    while kills < 100:
        run = tmp_path / f"run{started}"
        started += 1
        while True:
            child = in_a_child(lambda run=run: go(table, run))  # type: ignore[misc]
            time.sleep(random.uniform(0, 0.15))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0
                finished += 1
                break
            kills += 1
        assert same(schuss.Model.load(run / "model.schuss"), undisturbed)
    assert finished == started


class Killing:
    """Ends the process at the given operation of the storage, between it and the one before."""

    def __init__(self, at: int, monkeypatch: pytest.MonkeyPatch, torn: bool = False) -> None:
        self.left = at
        for name in ("create", "write", "append", "sync", "rename", "sync_folder", "remove"):
            monkeypatch.setattr(STORAGE, name, self._counted(getattr(STORAGE, name)), raising=True)
        if torn:
            monkeypatch.setattr(STORAGE, "rename", self._torn)

    def _counted(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                os._exit(9)
            return operation(*arguments)

        return counted

    def _torn(self, source: Path, target: Path) -> None:
        """A file system without atomic renames: the name is there before the content is."""
        self.left -= 1
        content = source.read_bytes()
        target.write_bytes(content[: len(content) // 2] if self.left <= 0 else content)
        if self.left <= 0:
            os._exit(9)
        source.unlink()


@pytest.mark.parametrize("storage", ["atomic", "fault 12"])
def test_fault_02_03_12_a_kill_at_any_operation_on_files_leaves_a_run_that_goes_on(
    storage: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 10.0)
    settings = {**SETTINGS, "epochs": 2}
    expected = schuss.train(table, "y", **settings)

    def killed(run: Path, operation: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            Killing(operation, patch, torn=storage == "fault 12")
            go(table, run, **({} if RunFolder(run).holds_run() else settings))

    for operation in range(1, 1000):
        run = tmp_path / f"run{operation}"
        _, status = os.waitpid(in_a_child(lambda run=run, at=operation: killed(run, at)), 0)  # type: ignore[misc]
        if os.WEXITSTATUS(status) == 0:
            break
        assert os.WEXITSTATUS(status) == 9
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteRunWarning)
            with RunFolder(run) as folder:
                begun = folder.holds_run()
            asked: dict[str, Any] = {"resume": True} if begun else {"table": table, "target": "y", **settings}
            assert same(schuss.train(run=run, **asked), expected)
        assert not list(run.glob("**/*.part"))
    assert operation > 30


def test_an_averaged_run_goes_on_with_its_average(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-9)
    run, averaged = tmp_path / "run", {**SETTINGS, "averaging": "ema(decay=0.9)", "optimizer": "nadam"}
    schuss.train(table, "y", run=run, interrupted=interrupted_after(40), **averaged)
    assert same(schuss.train(run=run, resume=True), schuss.train(table, "y", **averaged))


def test_fault_04_an_interrupted_run_goes_on_from_the_very_step(
    table: Path, undisturbed: schuss.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_CHUNK_SECONDS", 1e-9)
    run = tmp_path / "run"
    model = go(table, run, interrupted=interrupted_after(9), checkpoint_seconds=1e9)
    assert model.record.outcome == "interrupted"
    (only,) = checkpoints(run)
    assert checkpoint.load(only).batch == 10
    assert same(go(table, run), undisturbed)


def test_an_interrupted_run_is_repeated_by_its_configuration(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = go(table, run, interrupted=interrupted_after(30))
    repeated = schuss.train(config=run / "config.toml")
    assert repeated.record.steps == model.record.steps
    assert same(repeated, model)


def test_a_configuration_trains_the_same_W_and_what_is_given_beside_it_counts(
    table: Path, undisturbed: schuss.Model, tmp_path: Path
) -> None:
    go(table, tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    assert same(schuss.train(config=config), undisturbed)
    assert schuss.train(config=config, epochs=2).record.epochs == 2


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, range], None]:
    """Makes the disk full for some calls of an operation, counted from 1."""

    def fill(name: str, calls: range) -> None:
        operation, count = getattr(STORAGE, name), 0

        def filled(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count in calls:
                raise OSError(errno.ENOSPC, "No space left on device")
            return operation(*arguments)

        monkeypatch.setattr(STORAGE, name, filled)

    return fill


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename"])
def test_fault_05_a_full_disk_costs_checkpoints_and_not_the_training(
    operation: str, table: Path, undisturbed: schuss.Model, tmp_path: Path, full: Callable[[str, range], None]
) -> None:
    run = tmp_path / "run"
    go(table, run, interrupted=interrupted_after(5))
    before = checkpoints(run)
    full(operation, range(2, 10**6))
    with pytest.warns(IncompleteRunWarning, match="No space left"):
        assert same(go(table, run), undisturbed)
    assert set(before) <= set(checkpoints(run))  # the old ones are kept
    assert not list(run.glob("**/*.part"))
    checkpoint.load(before[0])


def test_fault_06_a_gap_in_the_events_is_marked(
    table: Path, undisturbed: schuss.Model, tmp_path: Path, full: Callable[[str, range], None]
) -> None:
    full("append", range(3, 8))
    with pytest.warns(IncompleteRunWarning, match="events are missing"):
        assert same(go(table, tmp_path / "run"), undisturbed)
    (gap,) = (line for line in read_events(tmp_path / "run") if line["event"] == "gap")
    assert gap["lost"] == 5


def test_fault_07_a_folder_that_cannot_be_made_is_refused_before_the_table_is_read(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot hold a run"):
        schuss.train(tmp_path / "there is no table.csv", "y", run=tmp_path / "no" / "folder")


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_fault_08_a_damaged_checkpoint_is_said_aloud_and_the_one_before_it_is_used(
    damage: str, table: Path, undisturbed: schuss.Model, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    go(table, run, interrupted=interrupted_after(20))
    newest, older = checkpoints(run)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"flip": bytes(content), "truncate": bytes(content[:-7]), "empty": b""}[damage])
    with pytest.warns(IncompleteRunWarning, match=f"{newest.name}.*checkpoint before it is used"):
        assert same(go(table, run), undisturbed)
    resumed = next(line for line in read_events(run) if line["event"] == "resumed")
    assert resumed["step"] < json.loads(json.dumps(read_events(run)[-2]))["step"]
    assert older != newest


def test_fault_09_a_checkpoint_of_a_newer_version_is_refused_by_its_number(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(table, run, interrupted=interrupted_after(9))
    tensors, metadata = read_tensors(checkpoints(run)[0])
    card = {**json.loads(metadata["schuss_checkpoint"]), "format": 99}
    write_tensors(checkpoints(run)[0], tensors, {"schuss_checkpoint": json.dumps(card)})
    with pytest.raises(NewerFormatError, match="format 99"):
        go(table, run)


def test_fault_10_changed_settings_are_shown_and_must_be_forced(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(table, run, interrupted=interrupted_after(9))
    with pytest.raises(RunError, match=r"epochs: 12 → 13\n  learning_rate: 0.004 → 0.5"):
        schuss.train(run=run, resume=True, epochs=13, learning_rate=0.5)
    schuss.train(run=run, resume=True, threads=1, seconds=1e-9)  # these change no bit
    model = schuss.train(run=run, resume=True, force=True, epochs=13, seconds=1e9)
    with pytest.warns(UserWarning, match="changed by force at step"):
        schuss.train(config=run / "config.toml")
    assert model.record.epochs == 13
    with pytest.raises(RunError, match="another network or optimizer"):
        schuss.train(run=run, resume=True, force=True, hidden=(4,))


def test_fault_10_changed_rows_are_shown_and_must_be_forced(table: Path, tmp_path: Path) -> None:
    own, run = tmp_path / "own.csv", tmp_path / "run"
    own.write_bytes(table.read_bytes())
    go(own, run, interrupted=interrupted_after(9))
    lines = own.read_text().splitlines()
    changed = lines[5].rsplit(",", 1)[0] + ",0.25"
    own.write_text("\n".join([*lines[:5], changed, *lines[6:]]) + "\n")
    with pytest.raises(RunError, match=r"_digest: .* → "):
        go(own, run)
    in_other_units = [f"{line.rsplit(',', 1)[0]},{1e3 * float(line.rsplit(',', 1)[1])}" for line in lines[1:]]
    own.write_text("\n".join([lines[0], *in_other_units]) + "\n")
    with pytest.raises(RunError, match=r"schema_digest: .* → "):
        go(own, run)
    own.write_text("\n".join(lines[:-20]) + "\n")
    with pytest.raises(RunError, match="training_rows: 480 → 464"):
        go(own, run)
    assert go(own, run, force=True).record.outcome == "completed"


def test_fault_11_a_second_run_in_the_same_folder_is_refused(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with RunFolder(run):
        assert is_training(run)
        with pytest.raises(RunError, match="another process is training here"):
            go(table, run)
    assert not is_training(run)
    go(table, run)
    with pytest.raises(RunError, match="holds a run already"):
        schuss.train(table, "y", run=run)


def test_fault_13_checkpoints_are_ordered_by_their_steps_whatever_the_clock_says(
    table: Path, undisturbed: schuss.Model, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    go(table, run, interrupted=interrupted_after(20))
    newest, older = checkpoints(run)
    os.utime(newest, (0, 0))
    os.utime(older, (2**31, 2**31))
    step = checkpoint.load(newest).engine.step
    assert same(go(table, run), undisturbed)
    assert next(line for line in read_events(run) if line["event"] == "resumed")["step"] == step


def test_a_finished_run_is_resumed_by_looking_at_it(table: Path, undisturbed: schuss.Model, tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(table, run)
    before = (run / "model.schuss").stat().st_mtime_ns
    assert same(go(table, run), undisturbed)
    assert (run / "model.schuss").stat().st_mtime_ns == before


def test_a_folder_without_a_run_cannot_be_resumed_and_one_with_other_things_holds_none(
    table: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        schuss.train(run=tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(RunError, match=r"holds other things \(.*\)"):
        go(table, tmp_path)
    with pytest.raises(SettingError, match="nothing to resume"):
        schuss.train(table, "y", resume=True)


def test_a_frame_that_no_file_holds_is_given_again_to_go_on(table: Path, tmp_path: Path) -> None:
    frame, run = pd.read_csv(table), tmp_path / "run"
    schuss.train(frame, "y", run=run, interrupted=interrupted_after(9), **SETTINGS)
    with pytest.raises(SettingError, match="There is no table"):
        schuss.train(run=run, resume=True)
    model = schuss.train(frame, run=run, resume=True)
    assert same(model, schuss.train(frame, "y", **SETTINGS))


def asking(run: Path, *asked: tuple[str, float | None]) -> Callable[[object], None]:
    """An observer that asks for these one after another, each when the last has been answered."""
    ids: list[str] = []

    def ask(event: object) -> None:
        left = asked[len(ids) :]
        if left and isinstance(event, schuss.training.events.Chunk | schuss.training.events.Steered):
            if ids and answer_to(run, ids[-1], 0) is None:
                return
            ids.append(send(run, *left[0]))

    return ask


def test_a_run_that_was_steered_is_repeated_by_its_configuration(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = [asking(run, ("learning_rate", 0.05), ("pause", None), ("resume", None), ("learning_rate", 0.001))]
    model = go(table, run, observers=asked)
    rates = Configuration.read(run / "config.toml").replay["rates"]
    assert [rate["learning_rate"] for rate in rates] == [0.05, 0.001]
    assert rates[0]["step"] < rates[1]["step"]
    assert same(schuss.train(config=run / "config.toml"), model)


def test_fault_01_commands_that_came_after_the_last_checkpoint_are_repeated(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def work() -> None:
        ask, told = asking(run, ("learning_rate", 0.05), ("learning_rate", 0.001)), []

        def watch(event: object) -> None:
            ask(event)
            told.append(isinstance(event, schuss.training.events.Steered))
            if sum(told) == 2:
                os._exit(9)

        go(table, run, observers=[watch], checkpoint_seconds=1e9)

    _, status = os.waitpid(in_a_child(work), 0)
    assert os.WEXITSTATUS(status) == 9
    model = go(table, run)
    assert [rate["learning_rate"] for rate in Configuration.read(run / "config.toml").replay["rates"]] == [0.05, 0.001]
    assert same(schuss.train(config=run / "config.toml"), model)
    assert not same(schuss.train(table, "y", **SETTINGS), model)


@pytest.mark.parametrize("action", ["stop", "abandon"])
def test_a_run_can_be_stopped_or_abandoned(action: str, table: Path, undisturbed: schuss.Model, tmp_path: Path) -> None:
    run = tmp_path / "run"
    if action == "abandon":
        with pytest.raises(AbandonedError):
            go(table, run, observers=[asking(run, (action, None))])
        assert not (run / "model.schuss").exists()
        return
    model = go(table, run, observers=[asking(run, (action, None))])
    assert model.record.outcome == "stopped"
    assert same(schuss.train(config=run / "config.toml"), model)
    assert same(go(table, run), undisturbed)


def test_commands_that_cannot_be_meant_are_refused(tmp_path: Path, table: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(RunError, match="no training is running"):
        send(run, "pause")
    with RunFolder(run) as folder:
        for action, value in (("dance", None), ("learning_rate", None), ("pause", 1.0), ("learning_rate", -1.0)):
            with pytest.raises(RunError):
                send(run, action, value)
        for number, content in enumerate([b"", b"[]", b'{"action": "pause", "value": 3}', b"\xff", b'"pause"']):
            (run / "commands" / f"{number}.json").write_bytes(content)
        assert list(folder.commands()) == []
        assert not os.listdir(run / "commands")
        send(run, "pause")
        send(run, "learning_rate", 0.5)
        assert [(command.action, command.value) for command in folder.commands()] == [
            ("pause", None), ("learning_rate", 0.5)]  # fmt: skip


def test_events_can_be_read_while_they_are_written_and_after_a_crash(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(
        b'{"event": "epoch", "step": 5}\n{"event": "epoch", "step": 9}\n{"event": "resumed", "step": 5}\n'
        b'{"event": "epoch", "step": 8}\n[1]\n{"event": "epo'
    )
    assert [line["step"] for line in read_events(tmp_path)] == [5, 5, 8]
    assert read_events(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data = 3",
        "[data]\nformat = 3",
        "not toml [",
        "[setings]\nepochs = 3",
        "[data]\ntable = 'a.csv'\ntarget = 'y'\nx = 3",
        "[replay]\nsteps = 'x'",
        "[replay]\nrates = [{step = 3}]",
        "[replay]\nx = 3",
    ],
)
def test_a_configuration_that_is_none_is_one_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(SchussError):
        schuss.train(config=tmp_path / "config.toml")


def test_a_loss_of_one_s_own_must_be_given_again(table: Path, tmp_path: Path) -> None:
    def squared(output: Any, target: Any, weight: Any) -> Any:
        return weight * (output - target)[:, 0] ** 2, 2 * weight[:, None] * (output - target)

    run, own = tmp_path / "run", schuss.OwnLoss(squared)
    with pytest.warns(UserWarning, match="slower"):
        model = schuss.train(table, "y", run=run, loss=own, hidden=(4,), epochs=1)
    with pytest.raises(SettingError, match="loss"):
        schuss.train(config=run / "config.toml")
    with pytest.warns(UserWarning, match="slower"):
        assert same(schuss.train(config=run / "config.toml", loss=own), model)


def test_lbfgs_that_was_stopped_is_repeated_by_its_configuration(table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = schuss.train(
        table, "y", run=run, optimizer="lbfgs", hidden=(8,), epochs=20, interrupted=interrupted_after(20)
    )
    assert model.record.outcome == "interrupted"
    assert 0 < model.record.epochs < 20
    again = schuss.train(config=run / "config.toml")
    assert again.record.epochs == model.record.epochs
    assert same(again, model)


def test_a_run_that_kept_nothing_is_not_gone_on_with(table: Path, tmp_path: Path) -> None:
    wild = {"optimizer": "gradient_descent", "learning_rate": 1e9, "retries": 0}
    with pytest.raises(DivergedError):
        go(table, tmp_path / "run", **wild)
    with pytest.raises(RunError, match="kept nothing"):
        go(table, tmp_path / "run", learning_rate=0.01, force=True)
    with pytest.raises(RunError, match="another network"):
        go(table, tmp_path / "run", hidden=(3,), force=True)
    assert Configuration.read(tmp_path / "run" / "config.toml").settings["learning_rate"] == 1e9  # as it was
