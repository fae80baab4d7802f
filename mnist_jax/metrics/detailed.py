"""Metrics of probabilities: ranking, calibration, likelihood, with 95% intervals."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mnist_jax.metrics import intervals
from mnist_jax.metrics.calibration import reliability
from mnist_jax.metrics.confusion import Evaluation, average, count_scores, evaluate
from mnist_jax.metrics.curves import Curves, ranking_areas, ranking_curves
from mnist_jax.metrics.predictions import Predictions

_TOP_K = (2, 3, 5)


@dataclasses.dataclass(frozen=True)
class Detailed:
    """Metrics of probabilities, besides an `Evaluation`.

    roc_auc, average_precision: float64 (K,), one class against the rest. brier: mean squared distance of
    the probabilities to the label, from 0 to 2. calibration_error: expected, over 15 bins of confidence
    (https://arxiv.org/abs/1706.04599). reliability: float64 (15, 3): examples, mean confidence and accuracy
    of each bin. top_k: k -> share of labels in the k most probable. intervals: name -> 95% interval.
    curves: one a class; None where the class has no example, or no other class has.
    """

    evaluation: Evaluation
    roc_auc: np.ndarray
    macro_roc_auc: float
    average_precision: np.ndarray
    macro_average_precision: float
    brier: float
    calibration_error: float
    reliability: np.ndarray
    top_k: dict[int, float]
    intervals: dict[str, tuple[float, float]]
    curves: list[Curves | None]

    def as_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """All but the curves and the confusion matrix, as in run.json; `notes` explains undefined values."""
        base, confusion = self.evaluation, self.evaluation.confusion
        columns = {
            "support": confusion.sum(1),
            "precision": base.precision,
            "recall": base.recall,
            "f1": base.f1,
            "roc_auc": self.roc_auc,
            "average_precision": self.average_precision,
        }
        record = {
            **base.scalars(),
            "micro_precision": base.accuracy,  # with one label per example, all micro averages are
            "micro_recall": base.accuracy,
            "micro_f1": base.accuracy,
            "macro_roc_auc": self.macro_roc_auc,
            "macro_average_precision": self.macro_average_precision,
            "brier": self.brier,
            "calibration_error": self.calibration_error,
            "top_k": self.top_k,
            "intervals": self.intervals,
            "per_class": [
                {"class": name, **{key: values[index] for key, values in columns.items()}}
                for index, name in enumerate(class_names)
            ],
            "reliability": self.reliability,
            "notes": _notes(confusion, class_names),
        }
        if len(class_names) == 2:
            (tn, fp), (fn, tp) = confusion.tolist()
            record["binary"] = {"positive": class_names[1], "TP": tp, "FP": fp, "FN": fn, "TN": tn}
        return record


def evaluate_in_detail(predictions: Predictions, *, bootstrap: bool = True) -> Detailed:
    """All metrics.

    bootstrap: includes intervals by resampling, a third of a second for ten thousand examples.
    """
    evaluation, labels = evaluate(predictions), predictions.labels
    probabilities = predictions.probabilities
    classes = np.arange(probabilities.shape[1])
    is_class = labels[:, None] == classes
    squared = ((probabilities - is_class) ** 2).sum(axis=1)
    losses = -predictions.log_probabilities[np.arange(len(labels)), labels]
    once = np.ones((1, len(labels)))
    (roc_auc,), (average_precision,) = ranking_areas(is_class, probabilities)(once)
    table = reliability(probabilities, labels)
    top_k = {k: _among_top(probabilities, labels, k) for k in _TOP_K if k < len(classes)}

    weighted_areas = ranking_areas(is_class, predictions.log_probabilities)

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        areas, precisions = weighted_areas(weights)
        loss, brier = intervals.weighted_means((losses, squared), weights)
        return {
            "loss": loss,
            "brier": brier,
            "roc_auc": areas,
            "macro_roc_auc": average(areas),
            "average_precision": precisions,
            "macro_average_precision": average(precisions),
        }

    found = intervals.of_rates(evaluation.confusion)
    found |= {f"top_k/{k}": intervals.wilson(among.sum(), among.size) for k, among in top_k.items()}
    if bootstrap:
        found |= intervals.of_confusion_scores(evaluation.confusion, count_scores)
        found |= intervals.of_examples(statistics, len(labels), _resamples(probabilities.size))
    return Detailed(
        evaluation=evaluation,
        roc_auc=roc_auc,
        macro_roc_auc=float(average(roc_auc)),
        average_precision=average_precision,
        macro_average_precision=float(average(average_precision)),
        brier=float(squared.mean()),
        calibration_error=float(np.nansum(table[:, 0] * np.abs(table[:, 2] - table[:, 1])) / len(labels)),
        reliability=table,
        top_k={k: float(among.mean()) for k, among in top_k.items()},
        intervals=found,
        curves=ranking_curves(predictions),
    )


def _resamples(size: int) -> int:
    """Resamples for N x K probabilities: fewer where they would take many seconds."""
    return int(np.clip(5 * 10**7 // size, 200, 1000))


def _among_top(probabilities: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether each label is among the k most probable classes, the first of equals."""
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return (ranked == labels[:, None]).any(axis=1)


def _notes(confusion: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Explanations of undefined values."""
    notes, true, predicted = [], confusion.sum(1), confusion.sum(0)
    for index, name in enumerate(class_names):
        if true[index] == 0:
            notes.append(
                f"class {name!r} has no example: its recall, ROC-AUC, average precision and curves are "
                "undefined"
            )
        if predicted[index] == 0:
            notes.append(f"class {name!r} was never predicted: its precision is undefined")
    if true.max() == true.sum():
        name = class_names[int(true.argmax())]
        notes.append(
            f"every example is of class {name!r}: its ROC-AUC, average precision and curves are undefined, "
            "and so is Matthews's correlation"
        )
        if predicted.max() == predicted.sum() and true.argmax() == predicted.argmax():
            notes.append("all are predicted so: Cohen's kappa is undefined")
    elif predicted.max() == predicted.sum():
        notes.append("all predictions are of one class: Matthews's correlation is undefined")
    return notes
