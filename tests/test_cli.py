"""The command line: what a person types, what comes out, and what bad input leads to."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

import schuss
from schuss import cli
from schuss.groups import in_words
from schuss.network.specifications import hidden_layers
from schuss.settings import Settings

RANDOM = np.random.default_rng(0)
COUNT = 200
SMALL = ("--hidden", "8", "--epochs", "5")
FAST = (*SMALL, "--members", "1")


class Terminal:
    """Runs the program inside this process, in a folder of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture, self.said_aside = monkeypatch, capsys, ""

    def __call__(self, *arguments: str, exit_code: int = 0) -> str:
        """Standard output; with another exit code than 0, standard error."""
        self._patch.setattr(sys, "argv", ["schuss", *arguments])
        code = 0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = self._capture.readouterr()
        self.said_aside = err
        assert code == exit_code, out + err
        assert "Traceback" not in out + err
        return err if exit_code else out

    def refuses(self, *arguments: str) -> str:
        """The one message with which the program refuses; nothing was written."""
        before = sorted(os.listdir())
        message = self(*arguments, exit_code=1)
        assert sorted(os.listdir()) == before
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        return message


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    monkeypatch.chdir(tmp_path)
    frame().to_csv("houses.csv", index=False)
    return Terminal(monkeypatch, capsys)


def frame(count: int = COUNT) -> pd.DataFrame:
    size, kind = RANDOM.normal(size=count), RANDOM.choice(["flat", "house"], count)
    return pd.DataFrame({"size": size, "kind": kind, "price": 100 + 20 * size + 30 * (kind == "flat")})


def write(name: str, text: str | bytes) -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def rows(header: str, row: Callable[[int], str], count: int = 40) -> str:
    return header + "\n" + "".join(row(i) + "\n" for i in range(count))


def test_train_evaluate_predict_inspect(program: Terminal) -> None:
    said = program("train", "houses.csv", "--target", "price", *FAST, "--numeric", "standard")
    assert "houses.csv: 200 rows" in said
    assert "task: regression (price: 200 distinct numbers)   train 160 · validation 20 · test 20" in said
    assert "network: 1 numbers + 2 levels → 8 → 1   W: 41 numbers" in said
    assert "mean of the target alone" in said
    assert "saved houses.schuss" in said
    assert "RMSE" in program("evaluate", "houses.schuss", "houses.csv")
    some = program(
        "evaluate", "houses.schuss", "houses.csv", "--metric", "max_error", "-m", "tweedie_deviance(power=1)"
    )
    assert "greatest |error|" in some
    assert "Tweedie deviance(power=1)" in some
    assert "200 predictions" in program("predict", "houses.schuss", "houses.csv", "-o", "predicted.csv")
    predicted = pd.read_csv("predicted.csv")["price"]
    expected = schuss.Model.load("houses.schuss").predict("houses.csv")
    np.testing.assert_allclose(predicted, expected, rtol=1e-12)
    assert "hidden: 8 (chosen by you)" in program("inspect", "houses.schuss")
    shown = program("inspect", "houses.csv", "--target", "price")
    assert "categorical" in shown
    assert "a scaled number" in shown
    assert "one of 2 levels" in shown


def test_predictions_of_classes_with_probabilities_as_parquet(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "kind", "-q", *FAST, "-o", "kind.schuss")
    program("predict", "kind.schuss", "houses.csv", "-o", "p.parquet", "--probabilities")
    table = pyarrow.parquet.read_table("p.parquet").to_pydict()
    assert list(table) == ["kind", "probability of flat", "probability of house"]
    shares = zip(table["probability of flat"], table["probability of house"], strict=True)
    assert table["kind"] == ["flat" if flat >= house else "house" for flat, house in shares]


def test_quiet_says_nothing_and_json_says_json(program: Terminal) -> None:
    assert program("train", "houses.csv", "-t", "price", "--quiet", *FAST) == ""
    lines = [json.loads(line) for line in program("train", "houses.csv", "-t", "price", "--json", *FAST).splitlines()]
    assert [line["event"] for line in lines] == ["prepared", *["epoch"] * 5, "finished", "saved"]
    assert lines[-1]["scores"]["test"]["rmse"] > 0
    scores = json.loads(program("evaluate", "houses.schuss", "houses.csv", "--json"))
    assert scores["total_loss"] == pytest.approx(scores["loss"] * COUNT)
    assert json.loads(program("inspect", "houses.schuss", "--json"))["network"]["hidden"] == [8]
    shown = json.loads(program("inspect", "houses.csv", "--json", "-t", "price"))
    assert (shown["rows"], shown["task"], shown["left_out"], shown["notes"]) == (COUNT, "regression", {}, [])


def test_every_setting_is_an_option_and_reaches_the_training(program: Terminal) -> None:
    program(
        "train", "houses.csv", "-t", "price", "-q", "--hidden", "4,3", "--activation", "tanh", "--optimizer", "lion",
        "--learning-rate", "0.002", "--schedule", "constant", "--l2", "0.1", "--weight-decay", "0.2",
        "--batch-size", "7", "--epochs", "2", "--seconds", "60", "--patience", "3", "--seed", "5", "--threads", "1",
        "--loss", "squared_error", "--precision", "float64", "--dropout", "0.25", "--clip-norm", "1",
    )  # fmt: skip
    model = schuss.Model.load("houses.schuss")
    chosen = [name for name, reason in model.record.reasons.items() if "chosen by you" in reason]
    assert sorted(chosen) == sorted(
        ["hidden", "activation", "optimizer", "learning_rate", "schedule", "weight_decay", "batch_size", "epochs",
         "patience", "loss", "l2", "clip_norm", "seconds", "dropout"]
    )  # fmt: skip
    assert model.network.hidden == (4, 3)
    assert model.precision == "float64"
    assert model.network.dropout == 0.25
    assert "dropout in training: 0.25" in program("inspect", "houses.schuss")
    limits = ("--clip-value", "0.1", "--precision", "float64")
    program("train", "houses.csv", "-t", "price", "-q", *FAST, *limits, "-o", "limited.schuss")
    assert "give one of them" in program.refuses("train", "houses.csv", "-t", "price", "--clip-norm", "1", *limits)


def test_no_hidden_layers_are_a_linear_regression(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "-q", "--hidden", "none", "--optimizer", "lbfgs", "--test", "0")
    model = schuss.Model.load("houses.schuss")
    assert (model.network.hidden, model.record.outcome) == ((), "converged")
    assert model.evaluate("houses.csv")["rmse"] < 1e-3  # the table is a straight line without noise


def test_every_setting_has_an_option(program: Terminal) -> None:
    said = program("train", "--help")
    for name in Settings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in said


def test_a_learning_rate_is_suggested_and_drawn(program: Terminal) -> None:
    said = program("find-rate", "houses.csv", "-t", "price", "--hidden", "8", "-o", "rates.svg")
    assert said.startswith("learning rate ")
    assert Path("rates.svg").read_text().startswith("<svg")
    told = json.loads(program("find-rate", "houses.csv", "-t", "price", "--hidden", "8", "--json"))
    assert f"learning rate {told['suggestion']:.3g}" in said
    assert len(told["rates"]) == len(told["losses"])
    assert "end its name so" in program.refuses("find-rate", "houses.csv", "-t", "price", "-o", "rates.png")
    assert "--target" in program("find-rate", "houses.csv", exit_code=2)


def test_optimizers_are_compared_in_a_table_a_picture_and_as_json(program: Terminal) -> None:
    rules = "adam,momentum(momentum=0.95, clip_norm=1),lbfgs"
    said = program("compare", "houses.csv", "-t", "price", "--optimizers", rules, "-o", "way.svg", *SMALL)
    assert [line.split("  ")[0] for line in said.splitlines()] == [
        "optimizer", "adam", "momentum(momentum=0.95, clip_norm=1)", "lbfgs",
    ]  # fmt: skip
    assert "momentum(momentum=0.95, clip_norm=1)" in Path("way.svg").read_text()
    lines = program("compare", "houses.csv", "-t", "price", "--optimizers", rules, "--json", "--test", "0", *SMALL)
    told = [json.loads(line) for line in lines.splitlines()]
    assert [each["outcome"] for each in told] == ["completed"] * 3
    assert [len(each["epochs"]["losses"]) for each in told] == [5] * 3
    assert "no optimizer 'adamm'" in program.refuses("compare", "houses.csv", "-t", "price", "--optimizers", "adamm")
    assert "--target" in program("compare", "houses.csv", exit_code=2)


def test_a_search_is_told_saved_and_resumed(program: Terminal) -> None:
    out = program("tune", "houses.csv", "-t", "price", "--trials", "2", "--run", "s", "--epochs", "2")
    assert "the recipe's own choice" in out
    assert out.splitlines()[-1] == "saved s/model.schuss"
    lines = program("tune", "--resume", "--run", "s", "--trials", "3", "--json").splitlines()
    told = [json.loads(line) for line in lines]
    assert [line["number"] for line in told if line["event"] == "trial"] == [3]
    assert told[-2]["trials"] == 3
    best = told[-2]["best"]["number"]
    assert f"trial-{best}" in program("runs", "s")
    assert "another.schuss" in program("train", "--config", f"s/trial-{best}/config.toml", "-o", "another.schuss")
    assert np.array_equal(schuss.Model.load("another.schuss").W, schuss.Model.load("s/model.schuss").W)
    assert program("tune", "houses.csv", "-t", "price", "--trials", "1", "--epochs", "2", "-q", "-x", "kind") == ""
    assert Path("houses.schuss").exists()
    assert "TABLE" in program("tune", "-t", "price", exit_code=2)
    assert "holds a search already" in program.refuses("tune", "houses.csv", "-t", "price", "--run", "s")


def test_fault_04_an_interrupted_search_trains_with_what_was_best(program: Terminal) -> None:
    command = ["tune", "houses.csv", "-t", "price", "--trials", "99999", "--epochs", "2", "--json"]
    running = subprocess.Popen(
        [sys.executable, "-m", "schuss", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout
    while '"trial"' not in (line := running.stdout.readline()):
        assert line
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert json.loads(out.splitlines()[-1])["event"] == "saved"
    assert schuss.Model.load("houses.schuss").record.outcome == "completed"


def test_precision_that_is_left_to_a_trial_is_told(program: Terminal) -> None:
    said = program("train", "houses.csv", "-t", "price", "--precision", "auto", *FAST)
    assert "precision: float32 (" in said or "precision: bf16 (" in said


def test_the_same_command_gives_the_same_W(program: Terminal) -> None:
    for name in ("a.schuss", "b.schuss"):
        program("train", "houses.csv", "-t", "price", "-q", *FAST, "--seed", "3", "-o", name)
    assert (schuss.Model.load("a.schuss").W == schuss.Model.load("b.schuss").W).all()


def test_held_out_rows_can_be_files_of_their_own(program: Terminal) -> None:
    frame(30).to_csv("valid.csv", index=False)
    frame(40).to_csv("test.csv", index=False)
    program("train", "houses.csv", "-t", "price", "-q", *FAST, "--validation", "valid.csv", "--test", "test.csv")
    record = schuss.Model.load("houses.schuss").record
    assert record.rows == {"training": COUNT, "validation": 30, "test": 40}
    program("train", "houses.csv", "-t", "price", "-q", *FAST, "--validation", "0.25", "--test", "0")
    assert schuss.Model.load("houses.schuss").record.rows == {"training": 150, "validation": 50}


def test_weights_exclusions_tasks_and_several_files(program: Terminal) -> None:
    table = frame().assign(w=1.0, stars=np.arange(COUNT) % 5)
    table[:100].to_csv("part-1.csv", index=False)
    table[100:].to_csv("part-2.csv", index=False)
    said = program("train", "part-*.csv", "-t", "stars", "--task", "regression", "--weight", "w", "-x", "kind", *FAST,
                   "-o", "m.schuss")  # fmt: skip
    assert "left out: kind (excluded by you)" in said
    schema = schuss.Model.load("m.schuss").encoding.schema
    assert (schema.target.task, schema.weight, schema.rows) == ("regression", "w", 160)
    assert "w" not in [column.name for column in schema.columns]


def test_text_files_are_read_as_they_are_said_to_be(program: Terminal) -> None:
    write("t.txt", "".join(f"{i}|{'-' if i % 5 == 0 else i * 2}|{i % 2}\n" for i in range(100)))
    said = program(
        "train", "t.txt", "-t", "column_3", "--separator", "|", "--no-header", "--missing", "-", *FAST, "-o", "m.schuss"
    )
    assert "20 missing in column_2" in said
    assert "task: binary" in said


def test_a_column_of_numbers_that_one_cell_makes_text_is_mentioned(program: Terminal) -> None:
    write("t.csv", rows("x,k,y", lambda i: f"{'unknown' if i == 7 else i % 5},a{i % 2},{i}"))
    said = program("train", "t.csv", "-t", "y", *FAST)
    assert "note: x: text, because t.csv, line 9 holds 'unknown'; 97.5% of its values are numbers." in said
    assert "note: k" not in said


def test_rows_without_a_target_are_left_out_and_counted(program: Terminal) -> None:
    write("gaps.csv", rows("x,y", lambda i: f"{i},{'' if i % 4 == 0 else i * 1.5}"))
    assert "left out: 10 rows (no value in the target)" in program("train", "gaps.csv", "-t", "y", *FAST)


def test_progress_in_a_terminal_is_one_line_that_moves(program: Terminal) -> None:
    code = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'schuss', *sys.argv[1:]]) >> 8)"
    frame(20_000).to_csv("big.csv", index=False)
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "big.csv", "-t", "price", "--epochs", "30", "--hidden", "64"],
        capture_output=True, text=True, env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0
    assert "━" in done.stdout
    assert "rows/s" in done.stdout
    assert "saved big.schuss" in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_fault_04_an_interruption_saves_and_says_so(program: Terminal, number: int, code: int) -> None:
    frame(5000).to_csv("big.csv", index=False)
    running = subprocess.Popen(
        [sys.executable, "-m", "schuss", "train", "big.csv", "-t", "price", "--epochs", "99999", "--patience", "99999"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout
    while "epoch" not in (line := running.stdout.readline()):
        assert line
    time.sleep(0.2)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == code, err
    assert "interrupted" in out
    assert "saved big.schuss" in out
    assert np.isfinite(schuss.Model.load("big.schuss").W).all()


def test_an_interruption_before_the_first_epoch_keeps_the_model_that_was_there(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "-q", *FAST)
    before = Path("houses.schuss").read_bytes()
    frame(20_000).to_csv("houses.csv", index=False)
    running = subprocess.Popen(
        [sys.executable, "-m", "schuss", "train", "houses.csv", "-t", "price", "--hidden", "2048,2048"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout
    while "network" not in running.stdout.readline():
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "nothing was saved" in err
    assert Path("houses.schuss").read_bytes() == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_fault_04_an_interruption_of_the_reading_ends_at_once(
    program: Terminal, number: int, code: int, tmp_path: Path
) -> None:
    os.mkfifo("pipe.csv")  # nobody will ever write to its end
    environment = {**os.environ, "SCHUSS_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        [sys.executable, "-m", "schuss", "train", "pipe.csv", "-t", "y"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as running, Path("pipe.csv").open("w") as pipe:  # fmt: skip
        pipe.write("a,y\n1,2\n")
        pipe.flush()
        time.sleep(0.2)
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    assert running.returncode == code, err
    assert err == "interrupted while the table was read: nothing was saved\n"
    assert out == ""
    assert not Path("pipe.schuss").exists()


def test_a_reader_that_goes_away_loses_no_training(program: Terminal) -> None:
    command = f"{sys.executable} -m schuss train houses.csv -t price --epochs 5 --hidden 8 | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.startswith("houses.csv: 200 rows")
    assert done.stderr == ""
    assert schuss.Model.load("houses.schuss").record.epochs == 5


def test_what_is_read_is_never_written_over(program: Terminal) -> None:
    assert ".schuss" in program.refuses("train", "houses.csv", "-t", "price", "-o", "houses.csv")
    program("train", "houses.csv", "-t", "price", "-q", *FAST)
    assert "is what is read" in program.refuses("predict", "houses.schuss", "houses.csv", "-o", "houses.csv")
    os.mkfifo("pipe.schuss")
    assert "device" in program.refuses("train", "houses.csv", "-t", "price", "-o", "pipe.schuss")
    assert "device" in program.refuses("inspect", "pipe.schuss")


def test_a_replaced_model_is_mentioned(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", *FAST)
    assert "in place of the one that was there" in program("train", "houses.csv", "-t", "price", *FAST)


def test_several_tables_become_model_schuss_whoever_resolves_the_pattern(program: Terminal) -> None:
    frame().to_csv("houses-2.csv", index=False)
    for tables in (["houses.csv", "houses-2.csv"], ["houses*.csv"]):
        program("train", *tables, "-t", "price", "-q", *FAST)
        Path("model.schuss").unlink()


def test_predictions_read_categories_as_the_model_knows_them(program: Terminal) -> None:
    level = RANDOM.choice(["01", "1", "A7"], 300)
    pd.DataFrame({"code": level, "y": np.where(level == "01", 100.5, -100.5)}).to_csv("codes.csv", index=False)
    program("train", "codes.csv", "-t", "y", "-q", "--hidden", "8", "--epochs", "60", "--learning-rate", "0.01")
    write("new.csv", "code\n01\n1\n")
    program("predict", "codes.schuss", "new.csv", "-o", "p.csv")
    predicted = pd.read_csv("p.csv")["y"].to_numpy()
    np.testing.assert_allclose(predicted, schuss.Model.load("codes.schuss").predict("new.csv"))
    assert predicted[0] > 50
    assert predicted[1] < -50


def test_words_for_missing_values_travel_in_the_model(program: Terminal) -> None:
    write("t.csv", rows("x,y", lambda i: f"{-999 if i % 5 == 0 else 'NA' if i % 7 == 0 else i},{i}"))
    said = program("train", "t.csv", "-t", "y", "--missing", "-999", *FAST)
    assert "1 numeric, 12 missing in x" in said
    told = program("evaluate", "t.schuss", "t.csv", "--missing", "-999")
    assert program("evaluate", "t.schuss", "t.csv") == told


def test_several_targets_each_have_their_score(program: Terminal) -> None:
    frame().assign(cents=lambda table: 100 * table["price"]).to_csv("two.csv", index=False)
    said = program("train", "two.csv", "-t", "price", "-t", "cents", *FAST)
    assert "RMSE of price" in said
    assert "RMSE of cents" in said


def test_a_diverging_training_saves_nothing_and_gives_advice(program: Terminal) -> None:
    message = program.refuses(
        "train", "houses.csv", "-t", "price", "-q", "--optimizer", "gradient_descent", "--learning-rate", "1e6",
        "--validation", "0",
    )  # fmt: skip
    assert "much smaller learning rate" in message


def test_layers_are_said_in_words_and_come_back(program: Terminal) -> None:
    words = "8, layer_norm(relu), residual(dense(8), dropout(0.1), dense(8, identity))"
    said = program(
        "train", "houses.csv", "-t", "price", *FAST, "--hidden", words, "--numeric", "standard", "--embedding", "1",
        "--l1", "0.001",
    )  # fmt: skip
    chain = "layer_norm(activation=relu) → residual(dense(width=8), dropout(probability=0.1), dense(width=8,"
    assert f"→ embedding 1 → 8 → {chain} activation=identity)) → 1" in said
    model = schuss.Model.load("houses.schuss")
    assert model.network.hidden == hidden_layers(words)
    assert model.network.embeddings == (1,)
    shown = program("inspect", "houses.schuss")
    assert [name for name in ("embedding", "norm1", "hidden3", "dropout in training: 0.1") if name in shown][3:]
    program("predict", "houses.schuss", "houses.csv", "-o", "p.csv")


def test_wrong_usage_has_exit_code_2(program: Terminal) -> None:
    assert "--target" in program("train", "houses.csv", exit_code=2)
    assert "rely" in program("train", "houses.csv", "-t", "price", "--activation", "rely", exit_code=2)
    assert "No such command" in program("trian", exit_code=2)


def test_settings_out_of_range_are_named(program: Terminal) -> None:
    assert "hidden layer 'a'" in program.refuses("train", "houses.csv", "-t", "price", "--hidden", "a,b")
    assert "epochs is 0" in program.refuses("train", "houses.csv", "-t", "price", "--epochs", "0")
    assert "together below 1" in program.refuses(
        "train", "houses.csv", "-t", "price", "--test", "0.6", "--validation", "0.6"
    )


def test_fault_07_output_that_cannot_be_written_is_refused_before_the_table_is_read(program: Terminal) -> None:
    assert "nowhere" in program.refuses("train", "no-such.csv", "-t", "price", "-o", "nowhere/m.schuss")
    program("train", "houses.csv", "-t", "price", "-q", *FAST)
    assert "nowhere" in program.refuses("predict", "houses.schuss", "houses.csv", "-o", "nowhere/p.csv")
    assert ".parquet" in program.refuses("predict", "houses.schuss", "houses.csv", "-o", "p.xlsx")


def test_fault_14_missing_values_are_filled_and_flagged(program: Terminal) -> None:
    write("gaps.csv", rows("x,k,y", lambda i: f"{'' if i % 3 else i},{'' if i % 4 else 'a'},{i}"))
    said = program("train", "gaps.csv", "-t", "y", *FAST)
    assert "missing" in said
    assert "x is missing" in schuss.Model.load("gaps.schuss").encoding.feature_names


def test_fault_15_infinite_values_are_refused_with_their_place(program: Terminal) -> None:
    write("t.csv", rows("x,y", lambda i: f"{'inf' if i == 7 else i},{i}"))
    assert "line 9" in program.refuses("train", "t.csv", "-t", "y")
    assert "line 9" in program.refuses("train", "t.csv", "-t", "x")


def test_fault_16_constant_and_empty_columns_are_left_out(program: Terminal) -> None:
    write("t.csv", rows("x,one,none,gap,y", lambda i: f"{i},1,,{'' if i % 2 else 5},{i}"))
    said = program("train", "t.csv", "-t", "y", *FAST)
    assert "one (constant" in said
    assert "none (" in said
    assert np.isfinite(schuss.Model.load("t.schuss").predict("t.csv")).all()


def test_fault_16_only_constant_columns_are_refused(program: Terminal) -> None:
    write("t.csv", rows("one,y", lambda i: f"1,{i}"))
    assert "no column left to predict from" in program.refuses("train", "t.csv", "-t", "y")


def test_fault_17_a_table_of_one_row_is_refused_and_one_of_three_is_trained_on(program: Terminal) -> None:
    write("one.csv", "x,y\n1,2\n")
    program.refuses("train", "one.csv", "-t", "y")
    write("three.csv", "x,y\n1,2.5\n2,3\n3,4\n")
    program("train", "three.csv", "-t", "y", "-q", *FAST)
    assert np.isfinite(schuss.Model.load("three.schuss").predict("three.csv")).all()


def test_fault_18_a_single_class_gives_a_warning_and_a_constant_model(program: Terminal) -> None:
    write("t.csv", rows("x,y", lambda i: f"{i},same"))
    program("train", "t.csv", "-t", "y", "--quiet", *FAST)
    assert "warning: Every row has the same class, same" in program.said_aside
    assert set(schuss.Model.load("t.schuss").predict("t.csv")) == {"same"}


def test_fault_19_a_category_never_seen_is_predicted_from_the_other_columns(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "-q", *FAST)
    write("new.csv", "size,kind\n0.5,castle\n0.5,\n")
    program("predict", "houses.schuss", "new.csv", "-o", "p.csv")
    assert np.isfinite(pd.read_csv("p.csv")["price"]).all()


def test_fault_20_missing_columns_are_named_and_extra_or_reordered_ones_do_no_harm(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "-q", *FAST)
    write("reordered.csv", "more,kind,size\n1,flat,0.5\n")
    program("predict", "houses.schuss", "reordered.csv", "-o", "p.csv")
    write("fewer.csv", "sise\n0.5\n")
    assert "'size'" in program.refuses("predict", "houses.schuss", "fewer.csv", "-o", "q.csv")


def test_fault_21_text_in_a_numeric_column_is_named_with_its_place(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "-q", *FAST)
    write("drift.csv", "size,kind\n0.5,flat\nlarge,flat\n")
    message = program.refuses("predict", "houses.schuss", "drift.csv", "-o", "p.csv")
    assert "'size'" in message
    assert "line 3" in message
    assert "'large'" in message


def test_fault_23_ragged_rows_and_open_quotes_are_refused_with_their_line(program: Terminal) -> None:
    write("t.csv", "x,y\n1,2\n3,4,5\n")
    assert "line 3" in program.refuses("train", "t.csv", "-t", "y")
    write("t.csv", 'x,y\n1,2\n"3,4\n')
    program.refuses("train", "t.csv", "-t", "y")


def test_fault_25_doubled_and_empty_names_are_refused(program: Terminal) -> None:
    assert "'x'" in program.refuses("train", write("t.csv", "x,x,y\n1,2,3\n"), "-t", "y")
    program.refuses("train", write("t.csv", "x,,y\n1,2,3\n"), "-t", "y")


@pytest.mark.parametrize("content", ["", "x,y\n"])
def test_fault_27_empty_files_and_bare_headers_are_refused(program: Terminal, content: str) -> None:
    program.refuses("train", write("t.csv", content), "-t", "y")


def test_a_wrong_target_is_refused_with_the_nearest_name(program: Terminal) -> None:
    assert "'price'" in program.refuses("train", "houses.csv", "-t", "prize")


def test_a_table_without_a_header_is_suspected_when_the_target_is_not_there(program: Terminal) -> None:
    write("t.csv", "1,2.5,a\n3,4,b\n5,6,c\n")
    assert "--no-header" in program.refuses("train", "t.csv", "-t", "y")


def test_files_that_are_missing_unreadable_or_no_tables_are_refused(program: Terminal) -> None:
    assert "houses.csv" in program.refuses("train", "hoses.csv", "-t", "price")
    Path("folder").mkdir()
    program.refuses("train", "folder", "-t", "price")
    assert "PNG" in program.refuses("train", write("t.csv", b"\x89PNG\r\n\x1a\n" + bytes(50)), "-t", "price")
    program.refuses("train", write("t.parquet", b"PAR1" + bytes(50)), "-t", "price")


def test_fault_38_to_41_models_that_are_none_are_refused(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "-q", *FAST)
    whole = Path("houses.schuss").read_bytes()
    altered = bytearray(whole)
    altered[-1] ^= 1
    for content in (whole[: len(whole) // 2], bytes(altered), pickle.dumps([1]), b"", b"PK\x03\x04" + bytes(100)):
        write("m.schuss", content)
        for command in (["predict", "m.schuss", "houses.csv", "-o", "p.csv"], ["evaluate", "m.schuss", "houses.csv"],
                        ["inspect", "m.schuss"]):  # fmt: skip
            assert "m.schuss" in program.refuses(*command)
    assert "No such file" in program.refuses("evaluate", "none.schuss", "houses.csv")


def test_the_cache_is_shown_and_cleared(program: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SCHUSS_CACHE", str(folder))
    program("train", "houses.csv", "-t", "price", "-q", *FAST, "--memory", "2kB")
    shown = program("cache")
    assert "houses.csv: " in shown
    assert f"{folder}: 1 entries" in shown
    (manifest,) = folder.glob("*/manifest.json")
    manifest.write_text("no JSON")
    assert "removed" in (shown := program("cache", "--clear"))
    assert f"{manifest.parent} (damaged), " in shown
    assert f"{folder}: 0 entries" in program("cache")


def test_a_model_is_trained_on_with_a_new_table(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "-q", *FAST, "--numeric", "standard")
    old = Path("houses.schuss").read_bytes()
    frame().assign(price=lambda new: new["price"] + 50).to_csv("later.csv", index=False)
    said = program("train", "--from", "houses.schuss", "later.csv", "--epochs", "30")
    assert "network: 1 numbers + 2 levels → 8 → 1" in said
    assert "drift" not in said
    assert "saved later.schuss" in said
    assert Path("houses.schuss").read_bytes() == old
    before, after = (schuss.Model.load(name).evaluate("later.csv") for name in ("houses.schuss", "later.schuss"))
    assert after["rmse"] < before["rmse"]
    assert "updated with 160 rows" in program("inspect", "later.schuss")
    program("train", "--from", "houses.schuss", "later.csv", "-o", "houses.schuss", "-q", "--epochs", "1")
    assert Path("houses.schuss").read_bytes() != old


def test_a_model_is_replaced_by_its_update_only_where_that_is_said(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "-q", *FAST)
    assert "--out" in program.refuses("train", "--from", "houses.schuss", "houses.csv")
    for given in (["-t", "price"], ["--hidden", "8"], ["-x", "kind"], ["--loss", "squared_error"]):
        message = program.refuses("train", "--from", "houses.schuss", "houses.csv", "-o", "new.schuss", *given)
        assert "belongs to the model" in message


def test_a_table_that_differs_from_the_training_rows_is_mentioned(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "-q", *FAST)
    assert "RMSE" in program("evaluate", "houses.schuss", "houses.csv")
    assert program.said_aside == ""
    frame().assign(size=50.0, kind="castle").to_csv("castles.csv", index=False)
    told = "castles.csv differs from the training rows: kind: 1 text unknown to the model in 100% of the rows: 'castle'"
    program("evaluate", "houses.schuss", "castles.csv")
    assert told in program.said_aside
    program("predict", "houses.schuss", "castles.csv", "-o", "predicted.csv")
    assert told in program.said_aside
    assert program.said_aside.count("\n") == 1
    said = program("train", "--from", "houses.schuss", "castles.csv", "--epochs", "1")
    assert "drift: size: 100% of the values above" in said


def test_cross_validation_comes_before_the_training(program: Terminal) -> None:
    said = program("train", "houses.csv", "--target", "price", *FAST, "--cv", "3", "--out-of-fold", "o.csv")
    assert "fold 3 of 3: RMSE" in said
    assert "3 folds: RMSE" in said
    assert " ± " in said
    assert "train 180 · validation 20\n" in said
    assert pd.read_csv("o.csv")["fold"].value_counts().tolist() == [67, 67, 66]
    assert "cross-validation: RMSE" in program("inspect", "houses.schuss")
    lines = [json.loads(line) for line in program(
        "train", "houses.csv", "-t", "price", *FAST, "--cv", "2", "--json", "--valid-by", "time:size"
    ).splitlines()]  # fmt: skip
    assert [line["event"] for line in lines[:4]] == ["fold", "fold", "cross-validated", "prepared"]
    assert program("train", "houses.csv", "-t", "price", *FAST, "--cv", "2", "--quiet") == ""


@pytest.mark.parametrize("options", [("--cv", "3", "--test", "0.1"), ("--out-of-fold", "o.csv")])
def test_cross_validation_is_refused_where_it_cannot_be(program: Terminal, options: tuple[str, ...]) -> None:
    assert "--cv" in program("train", "houses.csv", "--target", "price", *options, exit_code=2)


def test_out_of_fold_predictions_need_a_file_that_can_be_written(program: Terminal) -> None:
    message = program.refuses("train", "houses.csv", "-t", "price", *FAST, "--cv", "3", "--out-of-fold", "o.txt")
    assert "end the name with one of them" in message


def test_losses_offsets_and_class_weights_are_options(program: Terminal) -> None:
    random = np.random.default_rng(0)
    a, e = random.normal(size=200), random.uniform(1, 3, 200)
    table = pd.DataFrame({"a": a, "e": e, "y": random.poisson(e * np.exp(a)), "word": np.where(a > 0, "x", "y")})
    table.to_csv("table.csv", index=False)
    options = ["table.csv", "--epochs", "2", "--hidden", "none", "-o", "m.schuss"]
    said = program("train", "-t", "y", "--loss", "tweedie(power=1.2)", "--exposure", "e", "-x", "word", *options)
    assert "the loss is tweedie" in said
    assert "best constant alone: loss" in said
    model = schuss.Model.load("m.schuss")
    assert in_words(model.loss) == "tweedie(power=1.2)"
    offset = model.encoding.schema.offset
    assert offset is not None
    assert (offset.name, offset.logarithm) == ("e", True)
    for choice in ("balanced", "x=2,y=0.5"):
        program("train", "-t", "word", "--class-weight", choice, *options)


def test_a_configuration_alone_needs_no_table(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "--hidden", "4", "--epochs", "2", "--run", "run", "-q")
    assert "saved model.schuss" in program("train", "--config", "run/config.toml")
    assert "loss: squared_error (as before)" in program("inspect", "model.schuss")
    assert "no configuration" in program.refuses("train", "--config", "houses.csv")
    assert "nothing to resume" in program.refuses("train", "--resume")


def test_a_run_after_cross_validation_says_where_its_table_is(program: Terminal) -> None:
    program("train", "houses.csv", "-t", "price", "--hidden", "4", "--epochs", "2", "--cv", "2", "--run", "run", "-q")
    assert f'table = "{Path("houses.csv").absolute()}"' in Path("run/config.toml").read_text()
    said = program("train", "--run", "run", "--resume", "--force", "--epochs", "3")
    assert "done at epoch 3" in said
    assert "3/3" in program("runs")
    assert "saved" in program("train", "--run", "run", "--resume")
    assert "nothing was trained" in program.said_aside


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--steps", "4"), "epoch 2: all steps done"),
        (("--target-score", "1e9"), "epoch 1: stopped: the score that was asked for is reached"),
        (("--metric", "mae"), "validation MAE"),
        (("--loss", "huber"), "validation loss"),
        (("--offset", "size"), "best constant beside the offset: RMSE"),
    ],
)
def test_what_is_said_is_what_counts(options: tuple[str, ...], words: str, program: Terminal) -> None:
    frame(40).to_csv("held.csv", index=False)
    plain = ("--hidden", "4", "--epochs", "3", "--batch-size", str(COUNT // 2), "--test", "held.csv")
    said = program("train", "houses.csv", "-t", "price", *plain, "--validation", "held.csv", *options)
    assert words in said
