"""The events of a training as TensorBoard shows them. An extra: pip install schuss[tensorboard]."""

import os
from collections.abc import Mapping
from typing import Any

from schuss.ensemble import Averaged
from schuss.errors import SettingError
from schuss.training.events import Chunk, Epoch, Finished, MemberEvent


class TensorBoard:
    """An observer that writes the curves of a training into a folder: observers=[TensorBoard("folder")].

    Batch losses and the learning rate stand at their step, losses and scores of epochs too. What cannot be written is
    left out; the training goes on.

    Arguments:
        folder: made where it does not exist; each training should have its own.

    Raises:
        SettingError: tensorboardX is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter  # an extra
        except ImportError as error:
            raise SettingError(f"TensorBoard needs an extra ({error}): pip install 'schuss[tensorboard]'.") from error
        self._writer: Any = SummaryWriter(os.fspath(folder))

    def __call__(self, event: object) -> None:
        """Curves of chunks and epochs, of each network its own; the end closes the file."""
        of = ""
        if isinstance(event, MemberEvent):
            of, event = f"member{event.number}/", event.event
        if isinstance(event, Chunk):
            told = {"batch/loss": event.mean, "batch/learning_rate": event.learning_rate}
            self._write(event.last_step, {of + name: value for name, value in told.items()})
        elif isinstance(event, Epoch):
            scores = {f"{of}validation/{name}": value for name, value in event.scores.items()}
            self._write(event.step, {f"{of}epoch/loss": event.loss, **scores})
        elif isinstance(event, Averaged) or (isinstance(event, Finished) and not of):
            self._writer.close()

    def _write(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
