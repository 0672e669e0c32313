"""Model: schema, network and W together. It predicts, evaluates, and lives in one file that holds no code."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import schuss
from schuss.arrays import Matrix, Outputs, Rows, Vector
from schuss.descent.optimizers import GradientDescent
from schuss.engine import make_engine
from schuss.engine.protocol import Cost, Engine
from schuss.errors import CellError, ModelFileError, NewerFormatError, SettingError
from schuss.files import STORAGE, Storage, read_tensors, write_tensors
from schuss.groups import from_words, in_words
from schuss.losses import LOSSES, Gaussian, Loss
from schuss.metrics import Chosen, metrics_for
from schuss.model.scores import scores_of
from schuss.network import Network
from schuss.own import OwnLoss
from schuss.table.delimited import TableFormat
from schuss.table.drift import Drift, drift
from schuss.table.encoding import Encoding
from schuss.table.memory import memory_for
from schuss.table.order import TRAINING
from schuss.table.parts import Parts
from schuss.table.source import read_table
from schuss.table.table import Table

_SAVED: dict[str, type[Loss]] = {**LOSSES, OwnLoss.name: OwnLoss}
FORMAT = 2  # of the file; older ones stay readable, newer ones are refused by name


@dataclass(frozen=True)
class Record:
    """What is remembered of the training.

    outcome: how it ended. epochs, steps: taken; best_epoch: whose W was kept, 0 for the last.
    rows: of each part; left_out: of none, by reason. scores: of the parts that were held out, by name.
    reasons: every setting as it was resolved, with the reason. notes: on the reading of the table.
    updates: training rows of each update since the first training; of the last one all the rest is told.
    Of an ensemble, epochs, steps and seconds are the most of any member, best_epoch is their mean, and so are the
    validation scores where each member has validation rows of its own.
    """

    outcome: str = ""
    epochs: int = 0
    steps: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    updates: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Card:
    """The metadata of a file, as JSON."""

    format: int
    version: str
    encoding: Encoding
    network: dict[str, Any]
    loss: str
    precision: str
    record: Record


class Model:
    """A trained network with all that it needs to predict from a table.

    encoding:  how columns become features and outputs become predictions; holds the schema.
    network:   the function (W, x) -> output.
    loss:      what it was trained on; brings the link from outputs to probabilities.
    W:         [P] float32, all weights and biases; of several networks, whose predictions are averaged, [members, P].
    record:    what is remembered of the training.
    precision: of W and of predictions, float32 or float64.
    threads:   at most so many for a prediction, None for all that the process may use; not saved.
    """

    def __init__(
        self,
        encoding: Encoding,
        network: Network,
        loss: Loss,
        W: Vector,
        record: Record,
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.encoding, self.network, self.loss, self.record, self.precision = encoding, network, loss, record, precision
        self.threads = threads
        self.W = W.astype(precision)
        self.W.flags.writeable = False

    def __repr__(self) -> str:
        chain = "-".join(self.network.words)
        return f"<schuss.Model {self.encoding.schema.target.task}: {len(self.encoding.schema.columns)}-{chain}>"

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Also of the copy, W cannot be written to."""
        self.__dict__.update(state)
        self.W.flags.writeable = False

    def __getstate__(self) -> dict[str, Any]:
        """An engine is not part of the model: it is made again where the model goes."""
        return {name: value for name, value in self.__dict__.items() if name != "_engine"}

    @property
    def members(self) -> int:
        """How many networks are averaged."""
        return len(np.atleast_2d(self.W))

    @property
    def classes(self) -> tuple[Any, ...]:
        """The labels, in the order of predict_proba's columns; () for regression."""
        return self.encoding.schema.target.classes

    @cached_property
    def _engine(self) -> Engine:
        cost = Cost(self.loss)
        return make_engine(self.network, cost, GradientDescent(), threads=self.threads, precision=self.precision)

    def predict(self, table: object, format: TableFormat | None = None) -> NDArray[Any]:
        """Predictions in the target's own units or labels, one for each row, in order.

        Arguments:
            table: a file, DataFrame, Arrow table or array with the columns of the schema (and its offset or exposure,
                if there is one), in any order.
            format: how a text file is read; None for the defaults.

        Returns:
            [N]; [N, T] float64 for several targets, [N, levels] for several quantiles.

        Raises:
            DataError: the table cannot be read, a column is missing or of another kind, or numbers lie so far from
                those of training that the network overflows.
        """
        return self._each(table, format, self.meaning)

    def meaning(self, outputs: Matrix) -> NDArray[Any]:
        """As predict, from outputs [N, K]."""
        if not self.classes:
            outputs = self.loss.prediction(outputs.astype(np.float64))
        return self.encoding.decode(outputs)

    def predict_spread(self, table: object, format: TableFormat | None = None) -> NDArray[np.float64]:
        """The standard deviation around each prediction after the loss gaussian, [N], in the target's units.

        Raises:
            SettingError: the model was trained on another loss.
            DataError: as predict.
        """
        return self._each(table, format, self.deviation)

    def deviation(self, outputs: Matrix) -> NDArray[np.float64]:
        """As predict_spread, from outputs [N, K]."""
        if not isinstance(self.loss, Gaussian):
            raise SettingError(f"The loss {self.loss.name} learns no spread: train with the loss gaussian.")
        return np.asarray(self.loss.spread(outputs.astype(np.float64))[:, 0] * self.encoding.schema.target.deviation[0])

    def spread(self, table: object, format: TableFormat | None = None) -> NDArray[np.float64]:
        """The standard deviation (n − 1) between the predictions of the members: how far training left them uncertain.

        Returns:
            In the target's units [N], of several targets [N, T], of several quantiles [N, levels]; of classes that of
            each probability, [N, classes], of multilabel [N, T].

        Raises:
            SettingError: the model is a single network.
            DataError: as predict.
        """
        return self._each_member(table, format, self.spread_of)

    def spread_of(self, outputs: Outputs) -> NDArray[np.float64]:
        """As spread, from the outputs of each member, [N, members, K]."""
        if self.members == 1:
            raise SettingError("A single network has no spread between members: train with members=2 or more.")
        each = [self.loss.prediction(outputs[:, member].astype(np.float64)) for member in range(self.members)]
        spread = np.std(each, axis=0, ddof=1) * (self.encoding.schema.target.deviation or 1.0)
        return np.asarray(spread if self.classes or spread.shape[1] > 1 else spread[:, 0])

    def predict_proba(self, table: object, format: TableFormat | None = None) -> Matrix:
        """The probability of each class, [N, classes] float64, columns in the order of `classes`; of multilabel [N, T].

        Raises:
            SettingError: the model is a regression.
            DataError: as predict.
        """
        return self._each(table, format, self.probabilities)

    def probabilities(self, outputs: Matrix) -> Matrix:
        """As predict_proba, from outputs [N, K]."""
        if self.encoding.schema.target.task == "regression":
            raise SettingError("Probabilities exist for classes only; this model is a regression: use predict.")
        return self.loss.prediction(outputs.astype(np.float64))

    def outputs(self, table: object, format: TableFormat | None = None) -> Matrix:
        """Outputs of the network before link and units, [N, K]; of several those whose prediction is the average.

        Raises DataError as predict.
        """
        return self._each(table, format, lambda outputs: outputs)

    def member_blocks(self, table: Table) -> Iterator[Outputs]:
        """The outputs of each member for a table from `read_for`, block by block [n, members, K]."""
        for block in table.blocks(list(self.encoding.input_names)):
            outputs = self.member_outputs(self.encoding.encode(block, target=False))
            finite = np.isfinite(outputs).all(axis=(1, 2))
            if not finite.all():
                raise CellError(f"{block.where(int(finite.argmin()))}: numbers lie so far from those seen in training "
                                "that there is no prediction. Correct them, or leave them empty.")  # fmt: skip
            yield outputs

    def _each(
        self, table: object, format: TableFormat | None, meaning: Callable[[Matrix], NDArray[Any]]
    ) -> NDArray[Any]:
        """What averaged outputs mean, [N, …]."""
        return self._each_member(table, format, lambda outputs: meaning(self.average(outputs)))

    def _each_member(
        self, table: object, format: TableFormat | None, meaning: Callable[[Outputs], NDArray[Any]]
    ) -> NDArray[Any]:
        """What the outputs of the members mean, [N, …]: nothing else of the length of the table is held."""
        read = read_for(self.encoding, table, format)
        found, start = np.empty(0), 0
        for outputs in self.member_blocks(read):
            values = meaning(outputs)
            if not start:
                found = np.empty((len(read), *values.shape[1:]), values.dtype)
            found[start : start + len(values)] = values
            start += len(values)
        return found

    def evaluate(
        self, table: object, format: TableFormat | None = None, *, metrics: Chosen | None = None
    ) -> dict[str, float]:
        """Scores on a table that holds the target: average and total loss, and metrics.

        Rows without a target are left out; a weight column of the schema is used where the table has it.

        Arguments:
            table, format: as in predict.
            metrics: names such as "mae" or "f1(average=macro)", or a schuss.Metric of your own; None for the usual ones
                of the task.

        Raises:
            DataError: as predict, or the target is missing or no row has one.
            SettingError: a metric is unknown or does not exist for the task.
        """
        chosen = metrics_for(self.encoding.schema.target.task, metrics)
        read = read_for(self.encoding, table, format)
        parts = parts_to_score(self.encoding, read)
        blocks = (self.encoding.encode(block, rows) for block, rows in parts.blocks(TRAINING))
        looked_at = ((self.outputs_of(rows)[np.newaxis], rows) for rows in blocks)
        return scores_of(self.encoding, self.loss, looked_at, chosen.values())[0]

    def outputs_of(self, rows: Rows) -> Matrix:
        """As outputs, of encoded rows."""
        return self.average(self.member_outputs(rows))

    def member_outputs(self, rows: Rows) -> Outputs:
        """The outputs of each member for encoded rows, [N, members, K]."""
        return np.stack([self._engine.outputs(W, rows) for W in np.atleast_2d(self.W)], axis=1)

    def average(self, outputs: Outputs) -> Matrix:
        """[N, members, K] -> [N, K]: outputs whose prediction is the average of those of the members."""
        if outputs.shape[1] == 1:
            return outputs[:, 0]
        return self.loss.averaged(outputs.astype(np.float64).swapaxes(0, 1))

    def drift(self, table: object, format: TableFormat | None = None) -> tuple[Drift, ...]:
        """What differs between a table and the rows that the model learned from, the most alarming first.

        Raises:
            DataError: as predict.
        """
        return drift(self.encoding.schema, read_for(self.encoding, table, format))

    def update(self, table: object, **settings: Any) -> "Model":
        """A new model that was trained on with the rows of another table: see schuss.update."""
        return schuss.update(self, table, **settings)

    def save(self, path: str | os.PathLike[str], storage: Storage = STORAGE) -> None:
        """Writes the model as one .schuss file: whole and durable, or not at all.

        Of an OwnLoss it holds the link: what is loaded predicts, and needs the function again to evaluate.

        Raises:
            OutputError: the file cannot be written.
            SettingError: the loss is the user's own, and no OwnLoss.
        """
        loss = OwnLoss(link=self.loss.link) if isinstance(self.loss, OwnLoss) else self.loss
        if type(loss) not in _SAVED.values():
            raise SettingError(f"A .schuss file knows only the losses of schuss, not {self.loss!r}: pickle the model.")
        card = _Card(
            format=FORMAT,
            version=schuss.__version__,
            encoding=self.encoding,
            network=self.network.description(),
            loss=in_words(loss),
            precision=self.precision,
            record=self.record,
        )
        write_tensors(path, {"W": self.W}, {"schuss": msgspec.json.encode(card).decode()}, storage)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Model":
        """Reads a .schuss file. Nothing in it is executed.

        Raises:
            ModelFileError: the file is missing, damaged, altered, foreign or from a newer version.
        """
        tensors, metadata = read_tensors(path)
        try:
            card = _read_card(path, metadata["schuss"])
            network, loss = Network(**card.network), from_words(card.loss, _SAVED, "loss")
            W = tensors["W"]
            if (
                W.shape[-1:] != (network.parameters,)
                or not 1 <= W.ndim <= 2
                or not W.size
                or W.dtype != np.dtype(card.precision)
                or not np.isfinite(W).all()
            ):
                raise ValueError(f"W has shape {W.shape} and type {W.dtype}, which its network cannot have")
            _check_card(card, network, loss)
            return cls(card.encoding, network, loss, W, card.record, card.precision)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise ModelFileError(f"{path}: is no model that this schuss can read ({error}).") from error


def _check_card(card: _Card, network: Network, loss: Loss) -> None:
    """The parts of a card fit each other: a digest only says that they are what was written."""
    target = card.encoding.schema.target
    numbers = len(target.names) if target.task == "regression" else 0
    fits = (
        (network.inputs, network.categories) == (card.encoding.features, card.encoding.categories)
        and network.outputs == loss.outputs(len(target.names), len(target.classes))
        and target.task in loss.tasks
        and (target.task in ("regression", "multilabel")) != bool(target.classes)
        and (target.task == "binary") <= (len(target.classes) == 2)
        and len(target.names) >= 1
        and len(target.mean) == len(target.deviation) == numbers
    )
    if not fits:
        raise ValueError("its parts do not fit each other")


def _read_card(path: str | os.PathLike[str], text: str) -> _Card:
    """The metadata, after a look at the version of their format."""
    found = msgspec.json.decode(text, type=dict[str, Any]).get("format")
    if isinstance(found, int) and found > FORMAT:
        raise NewerFormatError(f"{path}: has format {found}, this schuss reads up to {FORMAT}. Install a newer schuss.")
    return msgspec.json.decode(text, type=_Card)


def parts_to_score(encoding: Encoding, table: Table) -> Parts:
    """The rows that have a target, and a weight above 0 where the table has weights.

    Raises:
        DataError: there is none, or a weight or target is impossible.
    """
    schema = encoding.schema
    parts = Parts(table, schema.target, schema.weight if schema.weight in table.names else None)
    if not parts.usable:
        raise CellError(f"{table.name}: all weights in {schema.weight!r} are 0. At least one row must count.")
    return parts


def read_for(
    encoding: Encoding,
    table: object,
    format: TableFormat | None,
    memory: float | None = None,
    others: Collection[str] = (),
) -> Table:
    """A table for a model: what the schema knows as text is read as text, so that "01" stays what it is.

    memory: bytes, of which the columns of a file may take half; None for half of what is free.
    others: columns that are wanted too.
    """
    target, only = encoding.schema.target, {*encoding.column_names, *others}
    text = encoding.category_names + (target.names if target.kind == "text" else ())
    format, schema = format or TableFormat(), encoding.schema
    format = replace(format, missing=format.missing + schema.missing, suffix=format.suffix or schema.suffix)
    return read_table(table, format, text=text, only=only, memory=memory_for(table, memory))
