"""Where the core cannot be had, or cannot do what is asked, the reference goes on."""

import sys
import warnings
from dataclasses import dataclass

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
def test_a_users_own_rule_or_loss_goes_to_the_reference(cost: Cost, rule: Adam) -> None:
    assert make_engine(NETWORK, cost, rule).name == "reference"
    with pytest.raises(EngineError, match="use the reference"):
        make_engine(NETWORK, cost, rule, "native")


def test_an_unknown_engine_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(SettingError, match="auto, native, reference"):
        make_engine(NETWORK, COST, GradientDescent(), "gpu")
