"""The predictions of a whole split, on the devices of a mesh."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from mnist_jax.data.cache import Arrays
from mnist_jax.data.feeding import Rows, make_feed
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.system.mesh import place, replicated


def predict_split(
    predict: Callable[[jax.Array, Rows, np.ndarray], tuple[jax.Array, jax.Array]],
    arrays: Arrays,
    classes: int,
    placement: str,
    batch_size: int,
    mesh: Mesh,
) -> Predictions:
    """The predictions of every example of a split, in order, each once.

    predict: `(confusion, rows, counted) -> (confusion, log-probabilities)`, see `steps.make_predict`. The
    matrix stays on the device, and nothing waits, until the last batch is on its way.
    The last batch is filled up with the last example, so that all have one shape that the devices can share;
    the filling is left out.
    """
    feed, size = make_feed(arrays, placement, mesh), len(arrays.labels)
    batch_size = -(-min(batch_size, size) // mesh.size) * mesh.size
    confusion, batches = place(np.zeros((classes, classes), np.int32), replicated(mesh)), []
    for start in range(0, size, batch_size):
        places = np.arange(start, start + batch_size, dtype=np.int32)
        confusion, log_probabilities = predict(confusion, feed(np.minimum(places, size - 1)), places < size)
        batches.append(log_probabilities)
    fetched = np.concatenate(jax.device_get(batches))[:size]
    return Predictions(np.asarray(arrays.labels), fetched, np.asarray(confusion, np.int64))
