"""How good predictions are, from log-probabilities and labels; plain numpy in, dataclasses out.

What is undefined (the recall of a class without an example, the precision of one never predicted) is NaN, and
averages leave it out, as scikit-learn does with `zero_division=nan`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mnist_jax import intervals

_CALIBRATION_BINS = 15
_TOP_K = (2, 3, 5)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a confusion matrix and the likelihood of the labels tell, every example counted once.

    loss: mean cross-entropy in nats. confusion: int64 (K, K), rows true classes, columns predicted.
    precision, recall, f1: float64 (K,), one a class.
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
        """The fields that are one number."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}


@dataclasses.dataclass(frozen=True)
class Curves:
    """One class against the rest. roc: false and true positive rates. pr: recalls and precisions.

    Each is float64 (2, points), from the highest threshold on.
    """

    roc: np.ndarray
    pr: np.ndarray


@dataclasses.dataclass(frozen=True)
class Detailed:
    """What the probabilities tell beside an `Evaluation`.

    roc_auc, average_precision: float64 (K,), one class against the rest. brier: mean squared distance of
    the probabilities to the label, from 0 to 2. calibration_error: expected, over 15 bins of confidence
    (https://arxiv.org/abs/1706.04599). reliability: float64 (15, 3): examples, mean confidence and accuracy
    of each bin. top_k: k -> share of labels among the k likeliest classes. intervals: name -> 95% interval.
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
        """All but the curves, as run.json has it; `notes` says what is undefined and why."""
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
            "micro_precision": base.accuracy,  # with one label an example, the three micro averages are equal
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
            "confusion": confusion,
            "reliability": self.reliability,
            "notes": _notes(confusion, class_names),
        }
        if len(class_names) == 2:
            (tn, fp), (fn, tp) = confusion.tolist()
            record["binary"] = {"positive": class_names[1], "TP": tp, "FP": fp, "FN": fn, "TN": tn}
        return record


def evaluate(log_probabilities: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Metrics from log-probabilities (N, K) and labels (N,), N at least 1, labels from 0 to K - 1.

    The predicted class is the likeliest, the first of equals.
    """
    examples, classes = log_probabilities.shape
    predicted = log_probabilities.argmax(axis=1)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    likelihoods = log_probabilities[np.arange(examples), labels]
    scores: dict[str, Any] = {
        name: values if values.ndim else float(values) for name, values in confusion_scores(confusion).items()
    }
    loss = float(-likelihoods.mean(dtype=np.float64))
    return Evaluation(examples=examples, loss=loss, confusion=confusion, **scores)


def confusion_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics that follow from confusion matrices (..., K, K), each (...) or, one a class, (..., K).

    Cohen's kappa: https://doi.org/10.1177/001316446002000104. Matthews's correlation for several classes:
    https://doi.org/10.1016/j.compbiolchem.2004.09.006.
    """
    matrix = confusion.astype(np.float64)
    total = matrix.sum((-2, -1))
    right = np.diagonal(matrix, axis1=-2, axis2=-1)
    true, predicted = matrix.sum(-1), matrix.sum(-2)
    precision, recall = _ratio(right, predicted), _ratio(right, true)
    # 2 TP / (2 TP + FP + FN): defined, and 0, where only one of precision and recall is undefined.
    f1 = _ratio(2 * right, true + predicted)
    accuracy = right.sum(-1) / total
    by_chance = (true * predicted).sum(-1) / total**2
    covariance = accuracy - by_chance
    spread = np.sqrt((1 - (true**2).sum(-1) / total**2) * (1 - (predicted**2).sum(-1) / total**2))
    scores = {
        "accuracy": accuracy,
        "balanced_accuracy": _average(recall),
        "cohen_kappa": _ratio(covariance, 1 - by_chance),
        "matthews": _ratio(covariance, spread),
    }
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        scores |= {
            name: values,
            f"macro_{name}": _average(values),
            f"weighted_{name}": _average(values, true),
        }
    return scores


def evaluate_in_detail(log_probabilities: np.ndarray, labels: np.ndarray) -> Detailed:
    """Everything, with intervals; see `evaluate` for the arguments. Curves and AUC are scikit-learn's."""
    evaluation = evaluate(log_probabilities, labels)
    probabilities = np.exp(log_probabilities.astype(np.float64))
    classes = np.arange(probabilities.shape[1])
    is_class = labels[:, None] == classes
    squared = ((probabilities - is_class) ** 2).sum(axis=1)
    curves, roc_auc, average_precision = zip(
        *(_one_against_rest(is_class[:, k], probabilities[:, k]) for k in classes), strict=True
    )
    reliability = _reliability(probabilities, labels)
    share, gap = reliability[:, 0] / len(labels), reliability[:, 2] - reliability[:, 1]
    return Detailed(
        evaluation=evaluation,
        roc_auc=np.array(roc_auc),
        macro_roc_auc=float(_average(np.array(roc_auc))),
        average_precision=np.array(average_precision),
        macro_average_precision=float(_average(np.array(average_precision))),
        brier=float(squared.mean()),
        calibration_error=float(np.nansum(share * np.abs(gap))),
        reliability=reliability,
        top_k={k: _top_k(probabilities, labels, k) for k in _TOP_K if k < len(classes)},
        intervals={
            **intervals.of_rates(evaluation.confusion),
            **intervals.of_confusion_scores(evaluation.confusion, confusion_scores),
            **intervals.of_means(
                {"loss": -log_probabilities[np.arange(len(labels)), labels], "brier": squared}
            ),
        },
        curves=list(curves),
    )


def _one_against_rest(is_class: np.ndarray, scores: np.ndarray) -> tuple[Curves | None, float, float]:
    if is_class.all() or not is_class.any():
        return None, np.nan, np.nan
    from sklearn import metrics  # 0.7 s to import, and most runs' first minutes go without

    false_rate, true_rate, _ = metrics.roc_curve(is_class, scores)
    precision, recall, _ = metrics.precision_recall_curve(is_class, scores)
    curves = Curves(roc=np.stack([false_rate, true_rate]), pr=np.stack([recall, precision])[:, ::-1])
    return curves, metrics.auc(false_rate, true_rate), metrics.average_precision_score(is_class, scores)


def _reliability(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    # Bins are open to the left and closed to the right.
    bins = np.clip(np.ceil(confidence * _CALIBRATION_BINS).astype(int) - 1, 0, _CALIBRATION_BINS - 1)
    count, confident, correct = (
        np.bincount(bins, weights, _CALIBRATION_BINS) for weights in (np.ones(len(bins)), confidence, right)
    )
    return np.stack([count, _ratio(confident, count), _ratio(correct, count)], axis=1)


def _top_k(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of examples whose label is among the k likeliest classes, the first of equals."""
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((ranked == labels[:, None]).any(axis=1).mean())


def _notes(confusion: np.ndarray, class_names: Sequence[str]) -> list[str]:
    notes = []
    for index, name in enumerate(class_names):
        if confusion[index].sum() == 0:
            notes.append(f"class {name!r} has no example: its recall, ROC-AUC and curves are undefined")
        if confusion[:, index].sum() == 0:
            notes.append(f"class {name!r} was never predicted: its precision is undefined")
    return notes


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 1e-12)


def _average(values: np.ndarray, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """The mean over the last axis of what is defined; NaN where nothing is."""
    weights = np.where(np.isnan(values), 0.0, weights)
    return _ratio((np.nan_to_num(values) * weights).sum(-1), weights.sum(-1))
