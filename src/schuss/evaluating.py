"""What a trained model is worth on the rows that were held out, beside the best constant prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from schuss.arrays import Matrix, Rows, Vector
from schuss.engine.protocol import Engine
from schuss.ensemble import Member
from schuss.model.model import Model
from schuss.model.scores import scores_of
from schuss.preparing import Prepared
from schuss.table.store import Store
from schuss.table.table import BLOCK_ROWS

_ROWS_OF_CONSTANT = 1 << 20


@dataclass(frozen=True)
class Evaluated:
    """The last event of a job: scores on the test rows, and of the best constant prediction beside them."""

    scores: Mapping[str, float]
    constant: Mapping[str, float]


def evaluated(
    model: Model, members: Sequence[Member], prepared: Prepared, is_fresh: bool
) -> tuple[Model, Evaluated | None]:
    """The model with the scores of held-out rows in its record; and those of the test rows, if there are any.

    Where on the validation rows no W is better than the best constant, that becomes the model.

    Arguments:
        members: as they were before their training, those that the model is made of.
        is_fresh: whether training began with a new W; one that goes on is never replaced.
    """
    recipe, found, test = prepared.recipe, dict[str, Mapping[str, float]](), None

    def scores(store: Store, each_W: Matrix, constant: Vector) -> list[dict[str, float]]:
        """Of the average of networks, and of constant outputs: they are scored as if they were epochs."""
        looked_at = (
            (np.stack([_averaged(model, members[0].engine, each_W, rows), _with_offset(constant, rows)]), rows)
            for block in store.blocks()
            for rows in block.batches(BLOCK_ROWS)
        )
        return scores_of(model.encoding, model.loss, looked_at, recipe.metrics.values())

    networks = np.atleast_2d(model.W)
    judged = [(members[0], networks)]
    if prepared.folds is not None:  # each network has validation rows of its own
        judged = [(member, W[np.newaxis]) for member, W in zip(members, networks, strict=True)]
    pairs = [
        scores(member.prepared.validation, each_W, constant_outputs(member.prepared))
        for member, each_W in judged
        if member.prepared.validation is not None
    ]
    if pairs:
        reached, of_constant = (mean_scores([pair[side] for pair in pairs]) for side in (0, 1))
        goal = recipe.plan.goal
        is_asked = is_fresh and not prepared.facts.factors  # these make it worse on purpose
        if is_asked and goal.is_better(goal.score(of_constant), goal.score(reached)):
            model, reached = _as_constant(model, constant_outputs(prepared)), of_constant
        found["validation"] = reached
    if prepared.test is not None:
        found["test"], of_constant = scores(prepared.test, np.atleast_2d(model.W), constant_outputs(prepared))
        test = Evaluated(found["test"], of_constant)
    finite = {
        part: {name: value if np.isfinite(value) else None for name, value in own.items()}
        for part, own in found.items()
    }
    model.record = replace(model.record, scores=finite)
    return model, test


def _averaged(model: Model, engine: Engine, each_W: Matrix, rows: Rows) -> Matrix:
    """Outputs [n, K] of networks whose predictions are averaged, by an engine that is there already."""
    return model.average(np.stack([engine.outputs(W, rows) for W in each_W], axis=1))


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each; of no scores none."""
    return {name: float(np.mean([own[name] for own in scores])) for name in (scores[0] if scores else ())}


def _as_constant(model: Model, outputs: Vector) -> Model:
    """A model that says the same of every row: the last layer of each network has no weights, only biases."""
    W, last = model.W.copy(), model.network.dense[-1]
    for own in np.atleast_2d(W):
        last.weights(own)[...] = 0
        last.biases(own)[...] = outputs
    words = "on the validation rows no W was better than the best constant: the model is that constant"
    record = replace(model.record, notes=(*model.record.notes, words))
    return Model(model.encoding, model.network, model.loss, W, record, model.precision, model.threads)


def constant_outputs(prepared: Prepared) -> Vector:
    """Outputs [K] that say the same of every row and have the least loss on the training rows, on a million of them.

    Of classes they are the training shares.
    """
    loss, classes = prepared.recipe.cost.loss, len(prepared.encoding.schema.target.classes)
    if classes:
        return loss.constant(np.arange(float(classes))[:, np.newaxis], np.array(prepared.facts.shares[:classes]))
    found, rows = [], 0
    for block in prepared.training.blocks():
        targets = block.targets.astype(np.float64)
        weights = np.ones(len(block)) if block.weights is None else block.weights
        found.append((targets, weights) if block.offset is None else loss.freed(targets, weights, block.offset))
        rows += len(block)
        if rows >= _ROWS_OF_CONSTANT:
            break
    targets, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return loss.constant(targets, weights)


def _with_offset(constant: Vector, rows: Rows) -> Matrix:
    """Constant outputs [K] for each row, with its offset, [n, K]."""
    outputs = np.tile(constant, (len(rows), 1))
    if rows.offset is not None:
        outputs[:, 0] += rows.offset
    return outputs
