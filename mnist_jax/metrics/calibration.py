"""How far the confidence of predictions is from their accuracy: https://arxiv.org/abs/1706.04599."""

import numpy as np

from mnist_jax.metrics.confusion import ratio

BINS = 15


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    # Bins are open to the left and closed to the right.
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    count, confident, correct = (
        np.bincount(bins, weights, BINS) for weights in (np.ones(len(bins)), confidence, right)
    )
    return np.stack([count, ratio(confident, count), ratio(correct, count)], axis=1)
