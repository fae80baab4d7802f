"""ROC and precision-recall curves of each class against the rest, and their areas."""

import dataclasses
from typing import Literal

import numpy as np

from mnist_jax.metrics.predictions import Predictions


@dataclasses.dataclass(frozen=True)
class Curves:
    """Curves of one class against the rest, float64 (2, points) each, from the highest threshold down.

    roc: false and true positive rates, without collinear points. pr: recalls and precisions, up to recall 1.
    """

    roc: np.ndarray
    pr: np.ndarray

    def thinned(self, kind: Literal["roc", "pr"], points: int) -> np.ndarray:
        """At most `points` points of a curve, (2, points), including its ends."""
        curve = getattr(self, kind)
        kept = np.linspace(0, curve.shape[1] - 1, min(points, curve.shape[1]))
        return curve[:, kept.round().astype(int)]


def ranking_curves(predictions: Predictions) -> list[Curves | None]:
    """The curves of each class against the rest; None where undefined.

    Equal to scikit-learn's roc_curve and precision_recall_curve, whose import takes longer than the
    evaluation.
    """
    return [
        _ranking_curves(predictions.labels == k, scores)
        for k, scores in enumerate(predictions.probabilities.T)
    ]


def _ranking_curves(is_class: np.ndarray, scores: np.ndarray) -> Curves | None:
    if is_class.all() or not is_class.any() or np.isnan(scores).any():
        return None
    order = np.argsort(-scores, kind="stable")
    thresholds = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # the last of equal scores
    chosen, true = thresholds + 1, np.cumsum(is_class[order])[thresholds]
    false = chosen - true
    bends = np.ones(len(true), bool)
    bends[1:-1] = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
    roc = np.stack([false[bends] / false[-1], true[bends] / true[-1]])
    full = int(np.argmax(true == true[-1])) + 1
    pr = np.stack([true[:full] / true[-1], true[:full] / chosen[:full]])
    return Curves(np.insert(roc, 0, 0, axis=1), np.insert(pr, 0, (0, 1), axis=1))


def ranking_areas(
    is_class: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """ROC-AUC and average precision of each class against the rest, (R, K) each.

    Equal to scikit-learn's roc_auc_score and average_precision_score with `sample_weight`, for many weights
    at once. is_class: bool (N, K). scores: (N, K). weights: float32 (R, N).
    """
    columns = [_areas(is_class[:, k], scores[:, k], weights) for k in range(scores.shape[1])]
    auc, precision = zip(*columns, strict=True)
    return np.stack(auc, axis=1), np.stack(precision, axis=1)


def _areas(is_class: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    undefined = np.full(len(weights), np.nan)
    if is_class.all() or not is_class.any() or np.isnan(scores).any():
        return undefined, undefined
    order = np.argsort(scores)
    in_order = scores[order]
    # Positives in groups of equal scores: the weight of each group, and of all lower scores.
    positives = order[is_class[order]]
    starts = np.flatnonzero(np.diff(scores[positives], prepend=np.nan) != 0)
    group = np.add.reduceat(weights[:, positives], starts, axis=1)
    values = scores[positives][starts]
    cumulated = np.cumsum(weights[:, order], axis=1)
    cumulated = np.concatenate([np.zeros_like(cumulated[:, :1]), cumulated], axis=1)
    below = cumulated[:, np.searchsorted(in_order, values, "left")]
    up_to = cumulated[:, np.searchsorted(in_order, values, "right")]
    positive, total = group.sum(axis=1), cumulated[:, -1]
    positive_below = np.cumsum(group, axis=1) - group
    negative_below, negative_equal = below - positive_below, up_to - below - group
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may have no positive or no negative
        auc = (group * (negative_below + negative_equal / 2)).sum(axis=1) / (positive * (total - positive))
        found = (positive[:, None] - positive_below) / np.maximum(total[:, None] - below, 1)
        precision = (group * found).sum(axis=1) / positive
    return np.where(positive == total, np.nan, auc), precision
