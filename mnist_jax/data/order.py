"""The order in which training sees the examples: a pure function of seed and step."""

import functools
from collections.abc import Sequence

import numpy as np


def batch_indices(seed: int, start: int, count: int, *, batch_size: int, size: int) -> np.ndarray:
    """The examples of steps `start` to `start + count - 1`, int32 (count, batch_size).

    Training reads an endless stream of epochs, each a fresh permutation of the whole split, and a step
    takes the next `batch_size` of it: so every example is seen once an epoch, a batch may straddle two
    epochs, and the order is a pure function of (seed, step).
    """
    first, last = start * batch_size, (start + count) * batch_size
    epochs = range(first // size, (last - 1) // size + 1)
    stream = np.concatenate([_permutation(seed, epoch, size) for epoch in epochs])
    offset = first - epochs[0] * size
    return stream[offset : offset + last - first].reshape(count, batch_size)


def member_batches(seeds: Sequence[int], start: int, count: int, *, batch_size: int, size: int) -> np.ndarray:
    """The examples of each member's steps, int32 (P, count, batch_size); see `batch_indices`."""
    return np.stack([batch_indices(seed, start, count, batch_size=batch_size, size=size) for seed in seeds])


@functools.lru_cache(maxsize=512)  # of two epochs, where a population has that many seeds
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(np.arange(size, dtype=np.int32))
