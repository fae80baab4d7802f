"""Calibration: how far confidence is from accuracy, and temperature scaling.

After Guo et al. 2017, https://arxiv.org/abs/1706.04599.
"""

import numpy as np

from mnist_jax.metrics.confusion import ratio
from mnist_jax.metrics.predictions import Predictions, predictions_of

BINS = 15
_RANGE = (0.05, 20.0)  # of temperatures
_LEAST = -1e4  # log-probability, for models that mask a class by an infinite one


def fit_temperature(predictions: Predictions) -> float:
    """The temperature from 0.05 to 20 that minimizes the loss of predictions, such as those on validation.

    The loss is convex in 1 / temperature, so its minimum is the zero of its derivative. Labels are smoothed
    by 1 / (N + 2), as in Platt 1999: else N predictions that are all right would get the lowest temperature.
    """
    from scipy.optimize import brentq

    scores = np.maximum(predictions.log_probabilities.astype(np.float64), _LEAST)
    smoothing = 1 / (len(scores) + 2)
    of_label = (1 - smoothing) * scores[np.arange(len(scores)), predictions.labels]
    of_label += smoothing * scores.mean(axis=1)

    def slope(inverse: float) -> float:
        """The derivative of the loss by 1 / temperature."""
        return float(np.mean((np.exp(_softened(scores, 1 / inverse)) * scores).sum(axis=1) - of_label))

    low, high = (1 / temperature for temperature in reversed(_RANGE))
    if slope(low) >= 0:
        return 1 / low
    if slope(high) <= 0:
        return 1 / high
    return float(1 / brentq(slope, low, high))


def with_temperature(predictions: Predictions, temperature: float | None = None) -> Predictions:
    """The predictions with their logits divided by a temperature, if any; predicted classes
    stay the same, but for ties by rounding."""
    if temperature is None:
        return predictions
    scores = predictions.log_probabilities.astype(np.float64)
    scaled = _softened(scores, temperature).astype(np.float32)
    return predictions_of(scaled, predictions.labels)._replace(confusion=predictions.confusion)


def _softened(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Log-probabilities (N, K) of logits (N, K) divided by a temperature."""
    divided = scores / temperature
    divided = divided - divided.max(axis=1, keepdims=True)
    return divided - np.log(np.exp(divided).sum(axis=1, keepdims=True))


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Examples, mean confidence and accuracy in 15 bins of confidence, float64 (15, 3); NaN if empty."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    # Bins are open to the left and closed to the right.
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    count, confident, correct = (
        np.bincount(bins, weights, BINS) for weights in (np.ones(len(bins)), confidence, right)
    )
    return np.stack([count, ratio(confident, count), ratio(correct, count)], axis=1)
