"""95% confidence intervals of metrics over random examples."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

_RESAMPLES = 1000
_CHUNK = 50  # resamples at a time: their weights fit the processor's cache
_TAILS = (0.025, 0.975)
_Z = 1.959963984540054  # the normal distribution's 97.5% quantile


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval of a rate; NaN without trials (https://doi.org/10.1080/01621459.1927.10502953)."""
    if trials == 0:
        return float("nan"), float("nan")
    rate, shrink = successes / trials, 1 + _Z**2 / trials
    centre = (rate + _Z**2 / (2 * trials)) / shrink
    half = _Z * np.sqrt(rate * (1 - rate) / trials + _Z**2 / (4 * trials**2)) / shrink
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def of_rates(confusion: np.ndarray) -> dict[str, tuple[float, float]]:
    """Wilson's intervals of accuracy, and of each class's precision and recall: "recall/3" for class 3."""
    right, true, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    rates = {"accuracy": wilson(right.sum(), confusion.sum())}
    for k in range(len(confusion)):
        rates[f"precision/{k}"] = wilson(right[k], predicted[k])
        rates[f"recall/{k}"] = wilson(right[k], true[k])
    return rates


def of_confusion_scores(
    confusion: np.ndarray, scores: Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[str, np.ndarray]]
) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals of metrics that follow from the confusion matrix (K, K).

    Drawing cells from a multinomial distribution is drawing examples with replacement. Only cells with
    examples are drawn: at most one per example, of K x K.

    Args:
      confusion: int (K, K), rows true classes, columns predicted.
      scores: from correct, true and predicted examples per class, float64 (R, K) each, to name -> (R,) or
        (R, K), such as `confusion.count_scores`.

    Returns: name -> interval, "name/k" for class k. Accuracy, precision and recall are left out: see
    `of_rates`.
    """
    rng, total = np.random.default_rng(0), confusion.sum()
    true, predicted = np.nonzero(confusion)
    shares = confusion[true, predicted] / total
    on_diagonal = (true == predicted)[:, None]
    parts = []
    for _ in range(0, _RESAMPLES, _CHUNK):
        cells = rng.multinomial(total, shares, size=_CHUNK).T
        counts = np.zeros((3, len(confusion), _CHUNK))
        np.add.at(counts[0], true, cells * on_diagonal)
        np.add.at(counts[1], true, cells)
        np.add.at(counts[2], predicted, cells)
        parts.append(scores(*counts.transpose(0, 2, 1)))
    found = _percentiles_of(parts)
    rates = ("accuracy", "precision", "recall")
    return {name: interval for name, interval in found.items() if name.split("/")[0] not in rates}


def of_examples(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]], examples: int, resamples: int = _RESAMPLES
) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals of statistics over weighted examples.

    statistics: from weights float32 (R, N), how often each example was drawn, to name -> (R,) or (R, K).
    Returns: name -> interval, "name/k" for class k.
    """
    rng = np.random.default_rng(0)
    parts = []
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, examples, (count, examples)) + np.arange(count)[:, None] * examples
        weights = np.bincount(drawn.ravel(), minlength=count * examples).reshape(count, examples)
        parts.append(statistics(weights.astype(np.float32)))
    return _percentiles_of(parts)


def weighted_means(values: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The means of M arrays (N,) under each of weights (R, N), as (M, R).

    By one product of matrices: a product with a vector takes numpy's threads a hundred times as long.
    """
    columns = np.stack(values, axis=1).astype(weights.dtype)
    return (weights @ columns).T / weights.sum(axis=1)


def _percentiles_of(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, tuple[float, float]]:
    """Intervals of draws in parts, each name -> (R,) or (R, K)."""
    found = {}
    for name in parts[0]:
        draws = np.concatenate([part[name] for part in parts])
        if draws.ndim == 1:
            found[name] = _percentiles(draws)
        else:
            found |= {f"{name}/{k}": _percentiles(column) for k, column in enumerate(draws.T)}
    return found


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    defined = draws[~np.isnan(draws)]
    if defined.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, _TAILS)
    return float(low), float(high)
