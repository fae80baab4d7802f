"""ROC and precision-recall curves of each class against the rest, and their areas."""

import dataclasses
from collections.abc import Callable
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
    is_class: np.ndarray, scores: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """ROC-AUC and average precision of each class against the rest, as a function of weights.

    Equal to scikit-learn's roc_auc_score and average_precision_score with `sample_weight`, for many
    weights at once.

    Args:
      is_class: bool (N, K).
      scores: (N, K).

    Returns:
      From weights, float32 (R, N) of integers, to both areas, (R, K) each; NaN where they are undefined.
    """
    rankings = [_areas(of_class, column) for of_class, column in zip(is_class.T, scores.T, strict=True)]

    def areas(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        auc, precision = zip(*(of_class(weights) for of_class in rankings), strict=True)
        return np.stack(auc, axis=1), np.stack(precision, axis=1)

    return areas


def _areas(is_class: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    if is_class.all() or not is_class.any() or np.isnan(scores).any():
        return lambda weights: (np.full(len(weights), np.nan),) * 2
    order = np.argsort(scores)
    # Examples that are scored less than every positive count by their total weight alone. Of a good model
    # these are nine of ten.
    order = order[np.searchsorted(scores[order], scores[is_class].min()) :]
    in_order = scores[order]
    # The positives, in groups of equal scores.
    positives = np.flatnonzero(is_class[order])
    starts = np.flatnonzero(np.diff(in_order[positives], prepend=np.nan) != 0)
    values = in_order[positives][starts]
    left, right = (np.searchsorted(in_order, values, side) for side in ("left", "right"))

    def areas(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total, ranked = weights.sum(axis=1), weights[:, order]
        group = np.add.reduceat(ranked[:, positives], starts, axis=1)
        cumulated = np.pad(np.cumsum(ranked, axis=1), ((0, 0), (1, 0)))
        cumulated += (total - cumulated[:, -1])[:, None]
        below, up_to = cumulated[:, left], cumulated[:, right]
        positive = group.sum(axis=1)
        positive_below = np.cumsum(group, axis=1) - group
        negative_below, negative_equal = below - positive_below, up_to - below - group
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may have no positive or no negative
            pairs = positive * (total - positive)
            auc = (group * (negative_below + negative_equal / 2)).sum(axis=1) / pairs
            found = (positive[:, None] - positive_below) / np.maximum(total[:, None] - below, 1)
            precision = (group * found).sum(axis=1) / positive
        return np.where(positive == total, np.nan, auc), precision

    return areas
