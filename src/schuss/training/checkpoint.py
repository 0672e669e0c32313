"""TrainingState <-> file: whole, durable and verified, or not there at all."""

import os
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from schuss.engine.protocol import EngineState
from schuss.errors import ModelFileError, NewerFormatError
from schuss.files import STORAGE, Storage, read_tensors, write_tensors
from schuss.training.state import TrainingState
from schuss.training.stopping import Outcome

FORMAT = 1
_KEY = "schuss_checkpoint"


class _Card(msgspec.Struct, frozen=True):
    """All of a state that is no vector; `before` likewise."""

    format: int
    step: int
    epoch: int
    batch: int
    sum: float
    best_score: float | None
    best_epoch: int
    marked_score: float | None
    marked_epoch: int
    seconds: float
    share: float
    tries: int
    history: tuple[float, ...] = ()
    outcome: Outcome | None = None
    before: "_Card | None" = None


def save(path: str | os.PathLike[str], state: TrainingState, storage: Storage = STORAGE) -> None:
    """Writes a state. Raises OutputError where it cannot be written; what stood under the name then still does."""
    tensors = _tensors(state, "")
    if state.before is not None:
        tensors |= _tensors(state.before, "before_")
    write_tensors(path, tensors, {_KEY: msgspec.json.encode(_card(state)).decode()}, storage)


def load(path: str | os.PathLike[str]) -> TrainingState:
    """Reads what `save` wrote.

    Raises:
        ModelFileError: the file is missing, damaged, no checkpoint, or from a newer version.
    """
    tensors, metadata = read_tensors(path)
    try:
        text = metadata[_KEY]
        format = msgspec.json.decode(text, type=dict[str, object])["format"]
        if format != FORMAT:
            raise NewerFormatError(f"{path}: has format {format}, this schuss reads {FORMAT}. Install the other one.")
        card = msgspec.json.decode(text, type=_Card)
        before = _state(card.before, tensors, "before_") if card.before else None
        return _state(card, tensors, "", before)
    except (KeyError, ValueError, TypeError, msgspec.MsgspecError) as error:
        raise ModelFileError(f"{path}: is no checkpoint ({error}).") from error


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints of a folder by their steps, which no clock can change."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def name_of(state: TrainingState) -> str:
    """Sorts as the states follow one another: the steps of a later try come after all of an earlier one."""
    return f"step-{state.tries:03d}-{state.epoch:09d}-{state.batch:012d}.safetensors"


def _tensors(state: TrainingState, prefix: str) -> dict[str, NDArray[np.float32]]:
    tensors = {f"{prefix}W": state.engine.W, f"{prefix}vectors": state.engine.vectors}
    if state.engine.average is not None:
        tensors[f"{prefix}average"] = state.engine.average
    if state.best_W is not None and not prefix:
        tensors["best_W"] = state.best_W
    return tensors


def _card(state: TrainingState) -> _Card:
    return _Card(
        format=FORMAT,
        step=state.engine.step,
        before=_card(state.before) if state.before else None,
        **{name: getattr(state, name) for name in _Card.__struct_fields__ if name not in ("format", "step", "before")},
    )


def _state(
    card: _Card, tensors: dict[str, NDArray[np.float32]], prefix: str, before: TrainingState | None = None
) -> TrainingState:
    W, vectors, average = (tensors.get(f"{prefix}{name}") for name in ("W", "vectors", "average"))
    like_W = (average, tensors.get("best_W"))
    if W is None or vectors is None or W.ndim != 1 or vectors.shape[1:] != W.shape:
        raise ValueError("its vectors do not fit each other")
    if any(other is not None and other.shape != W.shape for other in like_W):
        raise ValueError("its vectors do not fit each other")
    told = {name: getattr(card, name) for name in _Card.__struct_fields__ if name not in ("format", "step", "before")}
    best_W = None if prefix else tensors.get("best_W")
    return TrainingState(EngineState(W, vectors, card.step, average), best_W=best_W, before=before, **told)
