"""Stratified orders and folds of examples: functions of labels and a seed."""

import numpy as np


def interleaved(labels: np.ndarray) -> np.ndarray:
    """The order of a split's rows in which every slice is stratified, such as `train[90%:]`.

    Within a class the order is random; a row added at the end keeps the others in order.

    Args:
        labels: integers from 0 (N,).

    Returns:
        Indices of rows (N,).
    """
    counts = np.bincount(labels)
    by_class = np.lexsort((_ranks(len(labels), 0), labels))
    within = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.empty(len(labels))
    place[by_class] = (within + 0.5) / np.repeat(counts, counts)
    return np.lexsort((labels, place))


def fold_of(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each example, int64 (N,) from 0 to `folds` - 1.

    Two folds differ by at most one example, in total and in each class.
    """
    fold = np.empty(len(labels), np.int64)
    fold[np.lexsort((_ranks(len(labels), seed), labels))] = np.arange(len(labels)) % folds
    return fold


def _ranks(count: int, seed: int) -> np.ndarray:
    """Random numbers whose stream no version of NumPy changes; a longer stream begins with a shorter one."""
    return np.random.Philox(key=seed).random_raw(count)
