"""95% confidence intervals of metrics over examples drawn at random."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

_RESAMPLES = 1000
_CHUNK = 50  # resamples at a time, so that their weights stay in the processor's cache
_TAILS = (0.025, 0.975)
_Z = 1.959963984540054  # the normal distribution's 97.5% quantile


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval of a rate; NaN for none (https://doi.org/10.1080/01621459.1927.10502953)."""
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
    confusion: np.ndarray, scores: Callable[[np.ndarray], Mapping[str, np.ndarray]]
) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals of metrics that follow from the confusion matrix (K, K).

    To draw the cells from a multinomial distribution is to draw the examples with replacement.
    scores: from matrices (R, K, K) to name -> (R,) or, one a class, (R, K), which comes back as "name/k".
    Rates have Wilson's interval instead.
    """
    rng, total = np.random.default_rng(0), confusion.sum()
    parts = []
    for _ in range(0, _RESAMPLES, _CHUNK):
        cells = rng.multinomial(total, (confusion / total).ravel(), size=_CHUNK)
        parts.append(scores(cells.reshape(-1, *confusion.shape)))
    found = _percentiles_of(parts)
    rates = ("accuracy", "precision", "recall")
    return {name: interval for name, interval in found.items() if name.split("/")[0] not in rates}


def of_examples(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]], examples: int, resamples: int = _RESAMPLES
) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals of statistics over weighted examples.

    statistics: from weights float32 (R, N), how often each example was drawn, to name -> (R,) or, one a
    class, (R, K), which comes back as "name/k".
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
    """Intervals of name -> (R,) or (R, K) draws, which come in parts."""
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
