"""Metrics of the confusion matrix.

Undefined values (recall of a class without examples, precision of one never predicted) are NaN. Averages
leave them out, as in scikit-learn with `zero_division=nan`.
"""

import dataclasses
from typing import Any

import numpy as np

from mnist_jax.metrics.predictions import Predictions

LOWER_IS_BETTER = frozenset({"loss", "brier", "calibration_error"})


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics of the confusion matrix and the likelihood of the labels, every example counted once.

    loss: mean cross-entropy in nats. confusion: int64 (K, K), rows true classes, columns predicted.
    precision, recall, f1: float64 (K,).
    """

    examples: int
    loss: float
    accuracy: float
    balanced_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    cohen_kappa: float
    matthews: float
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    confusion: np.ndarray

    def scalars(self) -> dict[str, float]:
        """The fields that are scalars."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}


def merit(metric: str, value: float) -> float:
    """The value of a metric with the sign that makes higher better."""
    return -value if metric in LOWER_IS_BETTER else value


def evaluate(predictions: Predictions) -> Evaluation:
    """The metrics of at least one prediction."""
    examples = len(predictions.labels)
    likelihoods = predictions.log_probabilities[np.arange(examples), predictions.labels]
    scores: dict[str, Any] = {
        name: values if values.ndim else float(values)
        for name, values in confusion_scores(predictions.confusion).items()
    }
    loss = float(-likelihoods.mean(dtype=np.float64))
    return Evaluation(examples=examples, loss=loss, confusion=predictions.confusion, **scores)


def confusion_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of confusion matrices (..., K, K), see `count_scores`."""
    matrix = confusion.astype(np.float64)
    return count_scores(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2))


def count_scores(right: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics from counts per class, float64 (..., K): correct predictions, examples and predictions.

    Returns: name -> (...) or, per class, (..., K).

    Cohen's kappa: https://doi.org/10.1177/001316446002000104. Matthews's correlation for several classes:
    https://doi.org/10.1016/j.compbiolchem.2004.09.006.
    """
    total = true.sum(-1)
    precision, recall = ratio(right, predicted), ratio(right, true)
    # 2 TP / (2 TP + FP + FN): defined, and 0, where only one of precision and recall is undefined.
    f1 = ratio(2 * right, true + predicted)
    accuracy = right.sum(-1) / total
    by_chance = (true * predicted).sum(-1) / total**2
    covariance = accuracy - by_chance
    spread = np.sqrt((1 - (true**2).sum(-1) / total**2) * (1 - (predicted**2).sum(-1) / total**2))
    scores = {
        "accuracy": accuracy,
        "balanced_accuracy": average(recall),
        "cohen_kappa": ratio(covariance, 1 - by_chance),
        "matthews": ratio(covariance, spread),
    }
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        scores |= {
            name: values,
            f"macro_{name}": average(values),
            f"weighted_{name}": average(values, true),
        }
    return scores


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; NaN where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 1e-12)


def average(values: np.ndarray, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """The mean over the last axis without NaN; NaN where all are NaN."""
    weights = np.where(np.isnan(values), 0.0, weights)
    return ratio((np.nan_to_num(values) * weights).sum(-1), weights.sum(-1))
