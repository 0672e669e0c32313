"""L-BFGS over all rows: it reaches known optima in float32 too, and begins, stops and speaks like the loop."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import minimize as in_memory
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

import schuss
from schuss import Network, Objective, Rows
from schuss.arrays import Outputs, Vector
from schuss.descent import LBFGS, Constant, GradientDescent
from schuss.descent.optimizers import OPTIMIZERS, RULES
from schuss.engine import make_engine
from schuss.engine.protocol import Cost, Engine, EngineState
from schuss.errors import SettingError, SourceError
from schuss.losses import SquaredError, loss_named
from schuss.table.store import MemoryStore, Store, Windows
from schuss.training.events import Epoch, Event, Finished
from schuss.training.full_batch import minimise
from schuss.training.judging import Validation
from schuss.training.loop import Plan
from schuss.training.state import TrainingState
from schuss.training.stopping import Goal, Outcome

PLAN = Plan(learning_rate=1.0, schedule=Constant(), batch_size=1, epochs=1000)
RANDOM = np.random.default_rng(0)
ROWS = Rows.from_arrays(RANDOM.normal(size=(50, 2)), RANDOM.normal(size=50), RANDOM.random(50))
NETWORK = Network(inputs=2, hidden=(4,), activation="tanh")
COST = Cost(SquaredError(), l2=0.01, mean_weight=ROWS.total_weight / 50)


class Streamed:
    """Rows of which seven at a time lie in the same place, as they do when they are read from a disk."""

    def __init__(self, rows: Rows, broken: bool = False) -> None:
        self._rows, self._broken = rows, broken

    def __len__(self) -> int:
        return len(self._rows)

    def digest(self) -> str:
        raise AssertionError("nobody asks whether they are the same")

    def blocks(self) -> Iterator[Rows]:
        for rows in self._rows.batches(7):
            block = rows.take(np.arange(len(rows)))
            yield block
            block.features[...] = np.nan
            if self._broken:
                raise SourceError("rows.shard: page 1 is damaged.")

    def windows(self, seed: int, epochs: range, batch_size: int, start: int = 0) -> Windows:
        raise AssertionError("nobody asks for batches")


def run(
    plan: Plan = PLAN,
    store: Store | None = None,
    network: Network = NETWORK,
    cost: Cost = COST,
    precision: str = "float32",
    engine: Engine | None = None,
    rule: LBFGS | None = None,
    **options: Any,
) -> list[Event]:
    engine = engine or make_engine(network, cost, GradientDescent(), precision=precision)
    state = TrainingState(EngineState.start(network.initial(0), GradientDescent()))
    options |= {"rule": rule or LBFGS(), "cost": cost, "is_weight": network.is_weight}
    return list(minimise(engine, state, store or MemoryStore(ROWS), plan, **options))


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    assert not [thread for thread in threading.enumerate() if "work" in thread.name]
    return events[-1]


def losses_in_turn(values: list[float]) -> Validation:
    """A validation that says these losses after one another, and looks at every row."""
    left = iter(values)

    def scores(blocks: Any) -> list[dict[str, float]]:
        found: list[Outputs] = [outputs for outputs, _ in blocks]
        assert sum(outputs.shape[1] for outputs in found) == len(ROWS)
        return [{"loss": next(left)}]

    return Validation(Streamed(ROWS), NETWORK.outputs, scores)


def expect_near(found: Vector, expected: Vector, share: float) -> None:
    assert np.linalg.norm(found - expected) < share * np.linalg.norm(expected)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_linear_network_reaches_the_least_squares_of_scikit_learn(precision: str, weighted: bool) -> None:
    X, y = load_diabetes(return_X_y=True)
    X, y = StandardScaler().fit_transform(X), (y - y.mean()) / y.std()
    weights = RANDOM.random(len(y)) if weighted else np.ones(len(y))
    cost, network = Cost(SquaredError(), mean_weight=weights.mean()), Network(inputs=10)
    end = finished(run(store=MemoryStore(Rows.from_arrays(X, y, weights)), network=network, cost=cost,
                       precision=precision))  # fmt: skip
    reference = LinearRegression().fit(X, y, weights)
    expect_near(end.state.W, np.append(reference.coef_, reference.intercept_), 1e-5)
    assert end.outcome is Outcome.CONVERGED


@pytest.mark.parametrize("penalty", [1e-2, 1e-5])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_logistic_network_reaches_the_optimum_of_scikit_learn(precision: str, penalty: float) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    cost = Cost(loss_named("log_loss"), penalty)
    store = MemoryStore(Rows.from_arrays(X, y))
    end = finished(run(store=store, network=Network(inputs=30), cost=cost, precision=precision))
    reference = LogisticRegression(C=1 / (penalty * len(y)), tol=1e-12, max_iter=100_000).fit(X, y)
    expect_near(end.state.W, np.append(reference.coef_[0], reference.intercept_), 5e-4)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_rows_that_are_read_in_blocks_give_what_scipy_finds_in_memory(precision: str) -> None:
    objective = Objective(NETWORK, "squared_error", ROWS, l2=0.01)
    start, options = NETWORK.initial(0).astype(np.float64), {"gtol": 1e-7, "ftol": 0.0, "maxiter": 1000}
    expected = in_memory(objective, start, jac=objective.gradient, method="L-BFGS-B", options=options)
    held = finished(run(precision=precision)).state.W
    streamed = finished(run(precision=precision, store=Streamed(ROWS))).state.W
    for W in (held, streamed):
        assert objective(W) == pytest.approx(expected.fun, rel=1e-6)
        expect_near(W, expected.x, 1e-3)


def test_iterations_are_epochs_and_their_losses_those_of_W_in_the_target_s_unit() -> None:
    events = run(replace(PLAN, epochs=5, loss_unit=100.0), precision="float64")
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert [(event.epoch, event.step) for event in epochs] == [(each, each) for each in range(1, 6)]
    objective = Objective(NETWORK, "squared_error", ROWS)
    assert epochs[-1].loss == pytest.approx(100 * objective(finished(events).state.W), rel=1e-9)
    assert finished(events).outcome is Outcome.COMPLETED
    assert (finished(events).state.epoch, finished(events).state.engine.step) == (5, 5)


def test_nothing_is_done_where_all_iterations_are() -> None:
    engine = make_engine(NETWORK, COST, GradientDescent())
    state = TrainingState(EngineState.start(NETWORK.initial(0), GradientDescent()), epoch=5)
    options: dict[str, Any] = {"rule": LBFGS(), "cost": COST, "is_weight": NETWORK.is_weight}
    (end,) = minimise(engine, state, MemoryStore(ROWS), replace(PLAN, epochs=5), **options)
    assert isinstance(end, Finished)
    assert (end.outcome, end.state.epoch) == (Outcome.COMPLETED, 5)
    assert (end.state.W == state.W).all()


def test_patience_ends_it_and_the_best_W_is_kept() -> None:
    end = finished(run(replace(PLAN, goal=Goal(patience=2)), validation=losses_in_turn([3.0, 1.0, 2.0, 2.0, 0.0])))
    assert end.outcome is Outcome.EARLY_STOPPED
    assert (end.state.epoch, end.state.best_epoch, end.state.best_score) == (4, 2, 1.0)
    assert (end.state.W == finished(run(replace(PLAN, epochs=2))).state.W).all()
    assert (end.state.W != end.state.engine.W).any()


def test_a_validation_loss_that_is_no_number_is_divergence() -> None:
    end = finished(run(validation=losses_in_turn([1.0, float("nan")])))
    assert end.outcome is Outcome.DIVERGED
    assert (end.state.engine.W == finished(run(replace(PLAN, epochs=1))).state.W).all()


def test_an_interruption_between_two_evaluations_keeps_the_last_iteration() -> None:
    looks = iter(range(10**6))
    end = finished(run(interrupted=lambda: next(looks) >= 10))
    assert end.outcome is Outcome.INTERRUPTED
    assert 0 < end.state.epoch < 10
    assert (end.state.W == finished(run(replace(PLAN, epochs=end.state.epoch))).state.W).all()


def test_an_interruption_is_seen_in_the_middle_of_a_pass() -> None:
    looks = iter(range(10**6))
    end = finished(run(store=Streamed(ROWS), interrupted=lambda: next(looks) >= 3))
    assert end.outcome is Outcome.INTERRUPTED
    assert next(looks) == 4
    assert (end.state.W == NETWORK.initial(0)).all()


def test_a_time_budget_ends_it_and_says_so() -> None:
    assert finished(run(replace(PLAN, seconds=1e-9))).outcome is Outcome.OUT_OF_TIME


def test_an_error_while_rows_are_read_comes_out_and_the_thread_ends() -> None:
    before = threading.active_count()
    with pytest.raises(SourceError, match="damaged"):
        run(store=Streamed(ROWS, broken=True))
    assert threading.active_count() == before


def test_an_error_inside_scipy_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = LBFGS()
    object.__setattr__(rule, "pairs", "many")
    with pytest.raises((TypeError, ValueError)):
        run(rule=rule)


def test_who_stops_listening_ends_the_thread() -> None:
    before = threading.active_count()
    engine = make_engine(NETWORK, COST, GradientDescent())
    state = TrainingState(EngineState.start(NETWORK.initial(0), GradientDescent()))
    events = minimise(engine, state, MemoryStore(ROWS), PLAN, rule=LBFGS(), cost=COST, is_weight=NETWORK.is_weight)
    next(events)
    events.close()
    assert threading.active_count() == before


class Barrier:
    """A loss of −log(1 − W₀ / wall) − W₀ / wall, least at 0, and infinite from the wall on."""

    def __init__(self, wall: float) -> None:
        self.wall, self.asked = wall, 0.0

    def load(self, state: EngineState) -> None:
        self._state = state

    def state(self) -> EngineState:
        return self._state

    def gradient(self, W: Vector, rows: Rows) -> tuple[float, Vector]:
        self.asked, left = max(self.asked, W[0]), 1 - W[0] / self.wall
        if left <= 0:
            return np.inf, np.full(len(W), np.nan)
        return len(rows) * (-np.log(left) - W[0] / self.wall), len(rows) * (1 / left - 1) / self.wall * np.eye(2)[0]


def test_a_line_search_comes_back_from_where_the_loss_is_infinite() -> None:
    network, engine = Network(inputs=1), Barrier(1.5)
    start = TrainingState(EngineState(np.array([-8.0, 0.0]), np.zeros((0, 2))))
    events = list(
        minimise(engine, start, MemoryStore(ROWS), PLAN, rule=LBFGS(), cost=Cost(SquaredError()),  # type: ignore[arg-type]
                 is_weight=network.is_weight)
    )  # fmt: skip
    assert engine.asked > 1.5
    assert finished(events).state.W[0] == pytest.approx(0.0, abs=1e-4)


def test_a_start_that_is_not_finite_is_divergence() -> None:
    end = finished(run(network=Network(inputs=2), store=MemoryStore(Rows.from_arrays([[1e38, 1e38]], [-1e30]))))
    assert end.outcome is Outcome.DIVERGED


# -- as a training of a table ---------------------------------------------------------------------------------------

FRAME = pd.DataFrame(RANDOM.normal(size=(400, 3)), columns=["a", "b", "c"])
FRAME = FRAME.assign(word=np.where(FRAME["a"] > 0.3, "much", "little"))
FRAME = FRAME.assign(y=1e4 + 300 * FRAME["a"] - 20 * FRAME["b"] + 100 * RANDOM.normal(size=400))


def test_a_table_without_hidden_layers_is_linear_regression_in_memory_and_from_disk(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHUSS_CACHE", str(tmp_path))
    settings: dict[str, Any] = {"hidden": (), "optimizer": "lbfgs", "test": 0.0}
    held, packed = (schuss.train(FRAME, "y", memory=size, **settings) for size in ("1GB", "4kB"))
    assert "lbfgs" in held.record.reasons["optimizer"]
    assert (held.record.outcome, packed.record.outcome) == ("converged", "converged")
    X = pd.get_dummies(FRAME.drop(columns="y"), dtype=float)
    expected = LinearRegression().fit(X, FRAME["y"]).predict(X)
    for model in (held, packed):
        assert model.predict(FRAME) == pytest.approx(expected, rel=1e-6)


def test_hidden_layers_take_validation_rows_and_the_estimator_goes_on() -> None:
    estimator = schuss.SchussRegressor((8,), optimizer="lbfgs(pairs=5)", epochs=20, random_state=0, warm_start=True)
    X, y = FRAME[["a", "b"]], FRAME["y"]
    first = estimator.fit(X, y).loss_curve_[-1]
    assert estimator.model_.record.rows["validation"] == 40
    assert estimator.fit(X, y).loss_curve_[-1] < first


def test_a_sparse_matrix_will_do_and_a_model_is_trained_on() -> None:
    X = FRAME[["a", "b", "c"]].to_numpy()
    estimator = schuss.SchussRegressor((), optimizer="lbfgs", random_state=0).fit(sparse.csr_matrix(X), FRAME["y"])
    assert estimator.predict(X) == pytest.approx(LinearRegression().fit(X, FRAME["y"]).predict(X), rel=1e-6)
    model = schuss.train(FRAME, "y", hidden=(), optimizer="lbfgs", epochs=1)
    updated = model.update(FRAME, optimizer="lbfgs", validation=0.0)
    assert updated.evaluate(FRAME)["loss"] < model.evaluate(FRAME)["loss"]


@pytest.mark.parametrize(
    "settings",
    [{"learning_rate": 0.1}, {"batch_size": 32}, {"schedule": "cosine"}, {"dropout": 0.1}, {"weight_decay": 0.1},
     {"clip_norm": 1.0}, {"clip_value": 1.0}, {"precision": "bf16"}, {"optimizer": "lbfgs(weight_decay=0.1)"},
     {"optimizer": "lbfgs(pairs=0)"}, {"optimizer": "lbfgs(pairs=2.5)"}, {"optimizer": "lbfgs(tolerance=-1)"}],
    ids=str,
)  # fmt: skip
def test_what_has_no_meaning_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="lbfgs"):
        schuss.train(FRAME, "y", **{"optimizer": "lbfgs", **settings})


def test_it_is_the_one_rule_that_engines_do_not_know() -> None:
    assert set(RULES) - set(OPTIMIZERS) == {"lbfgs"}
