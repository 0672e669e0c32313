"""What a training was asked for, with everything resolved, as TOML: given back to schuss, it trains the same W."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import msgspec

import schuss
from schuss.errors import SettingError, one_line
from schuss.groups import in_words
from schuss.network.specifications import HiddenLayer, layer_in_words
from schuss.table.delimited import TableFormat
from schuss.training.loop import NewRate, Plan

_PARTS = ("data", "settings", "rows", "replay")
_FREE = ("seconds", "threads")  # whatever they are, W after so many steps is the same


class _NotPlainError(TypeError):
    """A value that cannot be written down, such as a DataFrame."""


class _Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a replay may hold.

    steps, last_try: and divergences after which the run was ended. rates: that were given by hand. forced_at: the step
    at which it was asked for something else. members: the same of each network of an ensemble.
    """

    steps: int | None = None
    last_try: int = 0
    rates: tuple[NewRate, ...] = ()
    forced_at: int | None = None
    members: "tuple[_Replay, ...]" = ()


@dataclass(frozen=True)
class Configuration:
    """Plain values only: text, numbers, truth values, lists and tables of them.

    data:     the arguments of schuss.train, besides settings; those that cannot be written down are left out.
    settings: by name, resolved.
    rows:     what training saw: rows of each part and a digest of them.
    replay:   steps at which a run was ended, steered by hand, or changed by force.
    """

    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    rows: Mapping[str, Any] = field(default_factory=dict)
    replay: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """What `text` wrote.

        Raises:
            SettingError: the file cannot be read, or holds something else.
        """
        try:
            found = msgspec.toml.decode(Path(path).read_bytes(), type=dict[str, Any])
            if unknown := set(found) - {"schuss", *_PARTS}:
                raise ValueError(f"{min(unknown)} is none of its parts {', '.join(_PARTS)}")
            parts = {name: dict(found.get(name, {})) for name in _PARTS}
            msgspec.convert(parts["replay"], _Replay)
            if format := parts["data"].pop("format", None):
                parts["data"]["format"] = TableFormat(**{**format, "missing": tuple(format.get("missing", ()))})
        except (OSError, ValueError, TypeError, msgspec.MsgspecError) as error:
            raise SettingError(f"{path}: is no configuration of a run ({one_line(error)}).") from error
        return cls(**parts)

    def text(self) -> str:
        """As TOML."""
        content = {"schuss": schuss.__version__, "data": plain(self.data), "settings": self._plain_settings(),
                   "rows": self.rows, "replay": self.replay}  # fmt: skip
        return msgspec.toml.encode({name: value for name, value in content.items() if value}).decode()

    def differences(self, other: "Configuration") -> list[str]:
        """What is said in both, and differently, a line each; not what cannot change W."""
        found = []
        for mine, its in (
            (plain(self.data), plain(other.data)),
            (self._plain_settings(), other._plain_settings()),
            (self.rows, other.rows),
        ):
            for name in its:
                if name in mine and mine[name] != its[name] and name not in _FREE:
                    found.append(f"{name}: {_short(mine[name])} → {_short(its[name])}")
        return found

    def updated(self, other: "Configuration") -> Self:
        """What it says, with what the other says in the place of it."""
        return replace(
            self,
            data={**self.data, **other.data},
            settings={**self.settings, **other.settings},
            rows=other.rows or self.rows,
            replay=other.replay or self.replay,
        )

    def plan(self, plan: Plan, member: int = 0) -> Plan:
        """The plan, ended and steered as the replay tells, that of a member where there are several."""
        replay = msgspec.convert(self.replay, _Replay)
        replay = next(iter(replay.members[member:]), replay)
        steps = plan.steps if replay.steps is None else replay.steps
        return replace(plan, steps=steps, last_try=replay.last_try, rates=replay.rates)

    def _plain_settings(self) -> dict[str, Any]:
        """The settings; of a person's own code there is but a name that none other has, so that it is asked for."""
        found: dict[str, Any] = plain(self.settings)
        return {**{name: "own" for name, value in self.settings.items() if value is not None}, **found}


def plain(value: Any) -> Any:
    """A value that TOML can hold; of a mapping, those of its values that can be so, and no None."""
    if isinstance(value, Mapping):
        found = {}
        for name, item in value.items():
            try:
                found[str(name)] = plain(item)  # as TOML has it
            except _NotPlainError:
                continue
        return {name: item for name, item in found.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, TableFormat):
        return {item.name: plain(own) for item in fields(value) if (own := getattr(value, item.name)) is not None}
    if isinstance(value, HiddenLayer):
        return layer_in_words(value)
    if is_dataclass(value) and not isinstance(value, type) and hasattr(value, "name"):
        for item in fields(value):
            plain(getattr(value, item.name))
        return in_words(value)
    raise _NotPlainError(f"{type(value).__name__} cannot be written down")


def _short(value: Any) -> str:
    words = str(value)
    return words if len(words) <= 60 else f"{words[:57]}…"
