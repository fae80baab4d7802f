"""ROC and precision-recall curves, each class against the rest; their areas are in `intervals`."""

import dataclasses
from typing import Literal

import numpy as np

from mnist_jax.metrics.predictions import Predictions


@dataclasses.dataclass(frozen=True)
class Curves:
    """One class against the rest. roc: false and true positive rates, without points that are on a line with
    those around them. pr: recalls and precisions, up to where the recall is 1.

    Each is float64 (2, points), from the highest threshold on.
    """

    roc: np.ndarray
    pr: np.ndarray

    def thinned(self, kind: Literal["roc", "pr"], points: int) -> np.ndarray:
        """At most so many points of a curve, (2, points), its ends among them."""
        curve = getattr(self, kind)
        kept = np.linspace(0, curve.shape[1] - 1, min(points, curve.shape[1]))
        return curve[:, kept.round().astype(int)]


def ranking_curves(predictions: Predictions) -> list[Curves | None]:
    """The curves of each class against the rest; None where they are undefined.

    They are those of scikit-learn's roc_curve and precision_recall_curve, to import which would take longer
    than all of the evaluation.
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
