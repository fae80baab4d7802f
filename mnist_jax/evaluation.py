"""How good predictions are, from log-probabilities and labels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics of one split, every example counted once; NaN where a metric is undefined.

    loss: mean cross-entropy in nats. confusion: int64 (K, K), rows true classes, columns predicted.
    precision, recall, f1: float64 (K,), one a class; the macro averages leave undefined classes out, as
    scikit-learn does with `zero_division=nan`.
    """

    examples: int
    loss: float
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    confusion: np.ndarray

    def scalars(self) -> dict[str, float]:
        """The fields that are one number."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}

    def as_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """All of it under plain names, with a list of one dict a class."""
        columns = {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "support": self.confusion.sum(1),
        }
        per_class = [
            {"class": name, **{key: values[index] for key, values in columns.items()}}
            for index, name in enumerate(class_names)
        ]
        return {**self.scalars(), "per_class": per_class, "confusion": self.confusion}


def evaluate(log_probabilities: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Metrics from log-probabilities (N, K) and labels (N,), N at least 1, labels from 0 to K - 1.

    The predicted class is the likeliest, the first of equals.
    """
    examples, classes = log_probabilities.shape
    predicted = log_probabilities.argmax(axis=1)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    right, true_totals, predicted_totals = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    precision, recall = _ratio(right, predicted_totals), _ratio(right, true_totals)
    # 2 TP / (2 TP + FP + FN): defined, and 0, where only one of precision and recall is undefined.
    f1 = _ratio(2 * right, true_totals + predicted_totals)
    likelihoods = log_probabilities[np.arange(examples), labels]
    return Evaluation(
        examples=examples,
        loss=float(-likelihoods.mean(dtype=np.float64)),
        accuracy=float(right.sum() / examples),
        macro_precision=_mean_of_defined(precision),
        macro_recall=_mean_of_defined(recall),
        macro_f1=_mean_of_defined(f1),
        precision=precision,
        recall=recall,
        f1=f1,
        confusion=confusion,
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


def _mean_of_defined(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
