"""Where the core cannot be had, or cannot do what is asked, the reference goes on."""

import sys
import warnings
from dataclasses import dataclass
from typing import Any

import pytest

import schuss.engine
from schuss.descent.optimizers import Adam, GradientDescent
from schuss.engine import make_engine
from schuss.engine.protocol import Cost
from schuss.errors import EngineError, SettingError
from schuss.losses import LogLoss, SquaredError
from schuss.network import Network

NETWORK, COST = Network(inputs=2), Cost(SquaredError())


@pytest.fixture
def no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine on which the core was not built."""
    monkeypatch.setattr(schuss.engine, "_warned", [])
    monkeypatch.delitem(sys.modules, "schuss.engine.native", raising=False)
    monkeypatch.delattr(schuss.engine, "native", raising=False)
    monkeypatch.delitem(sys.modules, "schuss.engine.stepwise", raising=False)
    monkeypatch.delattr(schuss, "_core", raising=False)
    monkeypatch.setitem(sys.modules, "schuss._core", None)


def test_auto_takes_the_native_engine() -> None:
    assert make_engine(NETWORK, COST, GradientDescent()).name == "native"


def test_a_missing_core_is_reported_once_and_the_reference_goes_on(no_core: None) -> None:
    with pytest.warns(RuntimeWarning, match="native core cannot be loaded") as caught:
        assert make_engine(NETWORK, COST, GradientDescent()).name == "reference"
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make_engine(NETWORK, COST, GradientDescent()).name == "reference"


def test_asking_for_the_native_engine_without_a_core_is_an_error(no_core: None) -> None:
    with pytest.raises(EngineError, match="cannot be loaded"):
        make_engine(NETWORK, COST, GradientDescent(), "native")


def test_the_reference_needs_no_core(no_core: None) -> None:
    assert make_engine(NETWORK, COST, GradientDescent(), "reference").name == "reference"


@dataclass(frozen=True, kw_only=True)
class MyAdam(Adam):
    """A rule that a user derived from ours."""


class MyLoss(LogLoss):
    """A loss that a user derived from ours."""


@pytest.mark.parametrize(("cost", "rule"), [(COST, MyAdam()), (Cost(MyLoss()), Adam())])
def test_a_users_own_rule_or_loss_is_called_step_by_step(cost: Cost, rule: Adam) -> None:
    for engine, precision in (("auto", "float32"), ("native", "float32"), ("auto", "auto")):
        assert make_engine(NETWORK, cost, rule, engine, precision=precision).name == "stepwise"
    assert make_engine(NETWORK, cost, rule, precision="float64").name == "reference"


@pytest.mark.parametrize(("cost", "rule"), [(COST, MyAdam()), (Cost(MyLoss()), Adam())])
def test_a_users_own_rule_or_loss_needs_no_core(no_core: None, cost: Cost, rule: Adam) -> None:
    with pytest.warns(RuntimeWarning, match="native core cannot be loaded"):
        assert make_engine(NETWORK, cost, rule).name == "reference"


def test_an_unknown_engine_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(SettingError, match="auto, native, reference"):
        make_engine(NETWORK, COST, GradientDescent(), "gpu")


def test_float64_is_the_reference_and_float32_the_native_engine() -> None:
    for precision, name in (("float32", "native"), ("auto", "native"), ("float64", "reference")):
        assert make_engine(NETWORK, COST, GradientDescent(), precision=precision).name == name
    with pytest.raises(EngineError, match="float64"):
        make_engine(NETWORK, COST, GradientDescent(), "native", precision="float64")


def test_bf16_is_never_replaced_by_something_else_in_silence(no_core: None) -> None:
    with pytest.raises(EngineError, match="cannot be loaded"):
        make_engine(NETWORK, COST, GradientDescent(), precision="bf16")
    with pytest.raises(EngineError, match="bf16"):
        make_engine(NETWORK, COST, GradientDescent(), "reference", precision="bf16")


def test_without_a_core_dropout_and_clipping_go_to_the_reference_with_its_warning(no_core: None) -> None:
    network, rule = Network(inputs=2, hidden=(3,), dropout=0.5), GradientDescent(clip_norm=1.0)
    with pytest.warns(RuntimeWarning, match="native core cannot be loaded"):
        assert make_engine(network, COST, rule).name == "reference"


@pytest.mark.parametrize("wrong", [{"precision": "float8"}, {"seed": -1}, {"seed": 2**63}])
def test_an_unknown_precision_and_an_impossible_seed_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        make_engine(NETWORK, COST, GradientDescent(), **wrong)
