"""What becomes of epochs that are over: their scores, the best W, and reasons to end."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from schuss.arrays import Matrix, Outputs, Rows
from schuss.table.store import Store
from schuss.training.events import Epoch
from schuss.training.state import TrainingState
from schuss.training.stopping import Goal, Outcome

_NO_SCORES: Mapping[str, float] = {}


@dataclass(frozen=True, eq=False)
class Validation:
    """Rows by which the best W is chosen.

    outputs: K. scores: blocks of these rows, each with its outputs [epochs, n, K] -> the named scores of each epoch,
    "loss" among them.
    """

    store: Store
    outputs: int
    scores: Callable[[Iterable[tuple[Outputs, Rows]]], Sequence[Mapping[str, float]]]


@dataclass(frozen=True, eq=False)
class Seen:
    """What there is to judge some epochs by: W after each, [epochs, P], and what Validation.scores takes."""

    path: Matrix
    blocks: Iterable[tuple[Outputs, Rows]]


def judged(
    state: TrainingState,
    losses: Sequence[float],
    sound: Sequence[bool],
    seen: Seen | None,
    validation: Validation | None,
    goal: Goal,
    epochs: int,
    step_at: Callable[[int], int],
    seconds: float,
) -> tuple[TrainingState, list[Epoch], Outcome | None]:
    """The state after some epochs, their events, and the reason to end there, if any.

    An epoch that explodes does not count, nor do those after it or after a reason to end.

    Arguments:
        losses: of the epochs. sound: whether they are what they should be. seen: what there is to judge them by.
        epochs: after which training ends. step_at: the steps taken at the end of an epoch.
    """
    scores = validation.scores(seen.blocks) if validation and seen else [_NO_SCORES] * len(losses)
    finite = np.asarray(np.isfinite(seen.path).all(axis=1)) if seen else np.ones(len(losses), np.bool_)
    ended: list[Epoch] = []
    epoch, outcome, best = state.epoch, None, None
    best_score, marked_score, marked_epoch = state.best_score, state.marked_score, state.marked_epoch
    for loss, is_sound, found, is_finite in zip(losses, sound, scores, finite, strict=True):
        if not (is_sound and is_finite and (not found or math.isfinite(found["loss"]))):
            outcome = Outcome.DIVERGED
            break
        epoch += 1
        score, is_best = loss, False
        if found:
            score = goal.score(found)
            if is_best := goal.is_better(score, best_score):
                best, best_score = epoch, score
            if goal.is_better(score, marked_score, goal.improvement):
                marked_score, marked_epoch = score, epoch
        ended.append(Epoch(epoch, step_at(epoch), loss, found, is_best, seconds))
        if goal.target is not None and goal.is_reached(score):
            outcome = Outcome.REACHED
        elif found and goal.patience is not None and epoch - marked_epoch >= goal.patience:
            outcome = Outcome.EARLY_STOPPED
        elif epoch >= epochs:
            outcome = Outcome.COMPLETED
        if outcome:
            break
    if best is not None and seen:
        state = replace(state, best_W=seen.path[best - state.epoch - 1].copy(), best_score=best_score, best_epoch=best)
    state = replace(state, epoch=epoch, batch=0, sum=0.0, marked_score=marked_score, marked_epoch=marked_epoch)
    return state, ended, outcome
