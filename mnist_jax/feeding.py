"""Brings examples to the device: a whole split at once, or batch after batch from the host."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from mnist_jax import devices
from mnist_jax.cache import Arrays
from mnist_jax.predictions import Predictions

_AHEAD = 2  # chunks on their way to the device while one is computed


class Rows(NamedTuple):
    """What a step gathers its examples from.

    images: uint8 (N, H, W, C). labels: int32 (N,). indices: int32, rows of both, in any shape.
    """

    images: jax.Array
    labels: jax.Array
    indices: np.ndarray


def make_feed(arrays: Arrays, placement: str) -> Callable[[np.ndarray], Rows]:
    """A function from indices of any shape to `Rows`.

    placement: "device" keeps the whole split there as uint8; "host" sends the rows asked for, so that the
    device computes the same from both; "auto" takes the device where the split fits.
    """
    if placement == "auto":
        placement = "device" if devices.fits_on_device(arrays.images.nbytes) else "host"
    if placement == "host":
        return lambda indices: _gather(arrays, indices)
    images, labels = jax.device_put(arrays)
    return lambda indices: Rows(images, labels, indices)


def training_rows(
    feed: Callable[[np.ndarray], Rows],
    chunks: Iterable[tuple[int, int]],
    order: Callable[[int, int], np.ndarray],
) -> Iterator[Rows]:
    """Rows for each chunk (first step, S), made two chunks ahead in a thread.

    order: the indices of a chunk, (S, B) or, with an order for each of P models, (P, S, B); see
    `data.batch_indices`.
    """

    def rows(chunk: tuple[int, int]) -> Rows:
        return feed(order(*chunk))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead: collections.deque = collections.deque()
        for chunk in chunks:
            ahead.append(pool.submit(rows, chunk))
            if len(ahead) > _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def predict_split(
    predict: Callable[[jax.Array, Rows, np.ndarray], tuple[jax.Array, jax.Array]],
    arrays: Arrays,
    classes: int,
    placement: str,
    batch_size: int,
) -> Predictions:
    """The predictions of every example of a split, in order, each once.

    predict: `(confusion, rows, counted) -> (confusion, log-probabilities)`, see `steps.make_predict`. The
    matrix stays on the device, and nothing waits, until the last batch is on its way.
    The last batch is filled up with the last example, so that all have one shape; the filling is left out.
    """
    feed, size = make_feed(arrays, placement), len(arrays.labels)
    batch_size = min(batch_size, size)
    confusion, batches = jax.numpy.zeros((classes, classes), jax.numpy.int32), []
    for start in range(0, size, batch_size):
        places = np.arange(start, start + batch_size, dtype=np.int32)
        confusion, log_probabilities = predict(confusion, feed(np.minimum(places, size - 1)), places < size)
        batches.append(log_probabilities)
    fetched = np.concatenate(jax.device_get(batches))[:size]
    return Predictions(np.asarray(arrays.labels), fetched, np.asarray(confusion, np.int64))


def _gather(arrays: Arrays, indices: np.ndarray) -> Rows:
    rows = indices.ravel()
    images, labels = jax.device_put((arrays.images[rows], arrays.labels[rows]))
    return Rows(images, labels, np.arange(rows.size, dtype=np.int32).reshape(indices.shape))
