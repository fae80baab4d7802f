"""Significance of differences: tests on paired predictions and over seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse, stats

from mnist_jax.metrics import intervals
from mnist_jax.metrics.confusion import count_scores

Interval = tuple[float, float]


class McNemar(NamedTuple):
    """only_first, only_second: examples that only one model predicts correctly. p: of the exact test."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test of two models, from which of the same examples each predicts correctly, bool (N,).

    Models that are equally good err alone equally often: https://doi.org/10.1007/BF02295996.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    disagreeing = only_first + only_second
    p = stats.binomtest(only_first, disagreeing, 0.5).pvalue if disagreeing else 1.0
    return McNemar(only_first, only_second, float(p))


class Welch(NamedTuple):
    """p of Welch's test, and the 95% interval of the difference of the means; NaN where undefined."""

    p: float
    interval: Interval


def welch(first: Sequence[float], second: Sequence[float]) -> Welch:
    """Welch's test of a metric over the seeds of two settings: https://doi.org/10.1093/biomet/34.1-2.28.

    NaN with fewer than two seeds of either, or where neither differs from seed to seed.
    """
    if min(len(first), len(second)) < 2 or (np.ptp(first) == 0 and np.ptp(second) == 0):
        return Welch(float("nan"), (float("nan"), float("nan")))
    found = stats.ttest_ind(first, second, equal_var=False)
    low, high = found.confidence_interval(0.95)
    return Welch(float(found.pvalue), (float(low), float(high)))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected so that the family-wise error rate is that of one test; NaN are not counted.

    Holm's step-down method: https://www.jstor.org/stable/4615733.
    """
    values = np.asarray(p, float)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    steps = (len(order) - np.arange(len(order))) * values[order]
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected.tolist()


def paired_bootstrap(
    labels: np.ndarray, predicted: Sequence[np.ndarray], pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[dict[str, Interval]]:
    """95% percentile intervals of differences of accuracy and macro F1, over resampled test examples.

    Every resample has the same examples for all models, so their common variation cancels. Models are not
    resampled, so the intervals do not cover other seeds.

    Args:
      labels: (N,).
      predicted: per model, the predicted classes of the same examples, (N,).
      pairs: per pair, the indices of the models of two settings. The second mean score is subtracted from the
        first.

    Returns: for each pair "accuracy" and "macro_f1".
    """
    models, classes = len(predicted), int(max(labels.max(), *(p.max() for p in predicted))) + 1
    # Counts of each class, by examples; matrices of confusion would take K times as much.
    every, n = np.ones(len(labels)), np.arange(len(labels))
    of_class = sparse.csr_array((every, (labels, n)), shape=(classes, len(labels)))
    predicted_as = sparse.vstack([sparse.csr_array((every, (p, n)), shape=of_class.shape) for p in predicted])
    rightly = sparse.vstack([of_class * (p == labels) for p in predicted])

    def differences(weights: np.ndarray) -> dict[str, np.ndarray]:
        def counted(groups: sparse.sparray) -> np.ndarray:
            return (groups @ weights.T).reshape(-1, classes, len(weights)).transpose(2, 0, 1)

        true = np.broadcast_to(counted(of_class), (len(weights), models, classes))
        scores = count_scores(counted(rightly), true, counted(predicted_as))
        return {
            name: np.stack(
                [
                    scores[name][:, list(first)].mean(1) - scores[name][:, list(second)].mean(1)
                    for first, second in pairs
                ],
                axis=1,
            )
            for name in ("accuracy", "macro_f1")
        }

    found = intervals.of_examples(differences, len(labels))
    return [{name: found[f"{name}/{k}"] for name in ("accuracy", "macro_f1")} for k in range(len(pairs))]
