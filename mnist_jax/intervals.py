"""95% confidence intervals of metrics over examples drawn at random."""

from collections.abc import Callable, Mapping

import numpy as np

_RESAMPLES = 1000
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
    total, shape = confusion.sum(), confusion.shape
    cells = np.random.default_rng(0).multinomial(total, (confusion / total).ravel(), size=_RESAMPLES)
    found = {}
    for name, values in scores(cells.reshape(-1, *shape)).items():
        if name in ("accuracy", "precision", "recall"):
            continue
        if values.ndim == 1:
            found[name] = _percentiles(values)
        else:
            found |= {f"{name}/{k}": _percentiles(column) for k, column in enumerate(values.T)}
    return found


def of_means(values: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile intervals of the means of values (N,), one an example."""
    found = {}
    for name, column in values.items():
        rng = np.random.default_rng(0)
        draws = [column[rng.integers(0, len(column), len(column))].mean() for _ in range(_RESAMPLES)]
        found[name] = _percentiles(np.array(draws))
    return found


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    defined = draws[~np.isnan(draws)]
    if defined.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, _TAILS)
    return float(low), float(high)
