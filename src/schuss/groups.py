"""Typed groups of numbers in words: "huber(delta=2)" is Huber(delta=2.0). For the command line and for files.

A group is a dataclass with a `name`; in words there is its name and, in brackets, what differs from its defaults.
"""

import ast
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from inspect import get_annotations
from typing import Any, Protocol, TypeVar

from schuss.errors import SettingError


class Named(Protocol):
    """A dataclass with a name."""

    @property
    def name(self) -> str:
        """By which it is known."""


Group = TypeVar("Group", bound=Named)


def in_words(group: Any) -> str:
    """The group as from_words takes it: huber(delta=2.0)."""
    told = [f"{item.name}={_literal(getattr(group, item.name))}" for item in _chosen(group)]
    return f"{group.name}({', '.join(told)})" if told else group.name


def from_words(words: str, known: Mapping[str, type[Group]], what: str) -> Group:
    """The group of that name; values may be numbers, names, lists of them, true, false and none.

    Arguments:
        words: a name, or a name with values in the order of the fields or by name: huber, huber(2), huber(delta=2).
        known: by name.
        what: how a person calls such a group, for the messages.

    Raises:
        SettingError: the words cannot be read, the name is unknown, or a value does not fit.

    >>> from schuss.descent import Adam
    >>> from_words("adam(beta1=0.8)", {"adam": Adam}, "optimizer").beta1
    0.8
    """
    if words in known:  # most are a name alone, and reading takes as long as a hundredth of a small fit
        with suppress(TypeError):  # a number is missing
            return known[words]()
    try:
        tree = ast.parse(words.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        if not isinstance(call.func, ast.Name):
            raise ValueError("it has no name")
        values = [_value(value) for value in call.args]
        by_name = {str(word.arg): _value(word.value) for word in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SettingError(f"The {what} {words!r} cannot be read ({error}): write it as name(number=value).") from None
    if call.func.id not in known:
        raise SettingError(f"There is no {what} {call.func.id!r}: choose one of {', '.join(known)}.")
    kind: Any = known[call.func.id]
    names = [item.name for item in _settable(kind)]
    given = [*names[: len(values)], *by_name]
    if len(values) > len(names) or set(given) - set(names) or len(set(given)) < len(given):
        raise SettingError(f"The {what} {words!r} does not fit: {call.func.id} has {', '.join(names) or 'no numbers'}.")
    try:
        made: Group = kind(**dict(zip(names, values, strict=False)), **by_name)
    except TypeError:  # text, or a list, where there should be a number
        raise SettingError(f"The {what} {words!r} does not fit: a value is of the wrong type.") from None
    return made


def _settable(kind: Any) -> list[Field[Any]]:
    """The fields that may be given: its own ones, then those that it shares with others of its kind."""
    own = get_annotations(kind)
    return sorted((item for item in fields(kind) if item.init), key=lambda item: item.name not in own)


def _chosen(group: Any) -> list[Field[Any]]:
    """The fields that are not at their defaults."""
    return [item for item in _settable(type(group)) if getattr(group, item.name) != _default(item)]


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _literal(value: Any) -> str:
    """A value as _value reads it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_literal, value))}]"
    return value if isinstance(value, str) else repr(value)


def _value(tree: ast.expr) -> Any:
    """A number, a name, a list of them, true, false or none."""
    if isinstance(tree, ast.Name):
        return {"true": True, "false": False, "none": None}.get(tree.id.lower(), tree.id)
    if isinstance(tree, ast.List | ast.Tuple):
        return tuple(_value(item) for item in tree.elts)
    return ast.literal_eval(tree)
