"""The order of training examples: a pure function of seed and step."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

Order = Callable[..., np.ndarray]  # (seed, start, count, *, batch_size) -> int32 (count, batch_size)


def batch_indices(seed: int, start: int, count: int, *, batch_size: int, size: int) -> np.ndarray:
    """The examples of steps `start` to `start + count - 1`, int32 (count, batch_size).

    Training reads an endless stream of epochs, each a fresh permutation of the whole split, and each step
    takes the next `batch_size` examples. So every example is seen once per epoch, and a batch may span two
    epochs.
    """
    epoch = functools.partial(_permutation, seed, size=size)
    stream = _stretch(epoch, size, start * batch_size, (start + count) * batch_size)
    return stream.reshape(count, batch_size)


class BalancedOrder:
    """An order in which each class comes equally often, whatever its number of examples.

    Training reads an endless stream of rounds. In each round every class comes once, in random order. Each
    class yields its examples in endless passes, each a fresh permutation. An epoch has as many examples as
    the split; it repeats examples of rare classes and skips some of common ones.
    """

    def __init__(self, labels: np.ndarray):
        """Takes the labels of the training split, integers (N,)."""
        self._classes = [np.flatnonzero(labels == label).astype(np.int32) for label in np.unique(labels)]
        self._rounds = -(-len(labels) // len(self._classes))  # per block, which is made at once
        self._block = functools.lru_cache(maxsize=512)(self._make_block)

    def batches(self, seed: int, start: int, count: int, *, batch_size: int) -> np.ndarray:
        """The examples of steps `start` to `start + count - 1`, int32 (count, batch_size)."""
        block = functools.partial(self._block, seed)
        first, last = start * batch_size, (start + count) * batch_size
        return _stretch(block, self._rounds * len(self._classes), first, last).reshape(count, batch_size)

    def _make_block(self, seed: int, block: int) -> np.ndarray:
        rounds, classes = self._rounds, len(self._classes)
        turns = np.tile(np.arange(classes), (rounds, 1))
        turns = np.random.default_rng((seed, 0, block)).permuted(turns, axis=1)
        first = block * rounds
        examples = [self._of_class(seed, label, first, first + rounds) for label in range(classes)]
        return np.take_along_axis(np.stack(examples, axis=1), turns, axis=1).ravel()

    def _of_class(self, seed: int, label: int, first: int, last: int) -> np.ndarray:
        """Entries of the endless passes through one class; the passes of a block share one generator."""
        own = self._classes[label]
        passes = np.tile(own, (max(1, self._rounds // len(own)), 1))

        def part(number: int) -> np.ndarray:
            return np.random.default_rng((seed, 1 + label, number)).permuted(passes, axis=1).ravel()

        return _stretch(part, passes.size, first, last)


def member_batches(
    order: Order, seeds: Sequence[int], start: int, count: int, *, batch_size: int
) -> np.ndarray:
    """The examples of each member's steps in an order, int32 (P, count, batch_size)."""
    return np.stack([order(seed, start, count, batch_size=batch_size) for seed in seeds])


def _stretch(part: Callable[[int], np.ndarray], length: int, first: int, last: int) -> np.ndarray:
    """Entries `first` to `last - 1` of an endless stream that consists of parts of one length."""
    numbers = range(first // length, (last - 1) // length + 1)
    offset = first - numbers[0] * length
    return np.concatenate([part(number) for number in numbers])[offset : offset + last - first]


@functools.lru_cache(maxsize=512)  # of two epochs, if a population has that many seeds
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(np.arange(size, dtype=np.int32))
