"""The predictions of a whole split, on the devices of a mesh."""

from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from mnist_jax.data.cache import Arrays
from mnist_jax.data.feeding import Rows, make_feed
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.models import Graph, abstract_model
from mnist_jax.system import cpu
from mnist_jax.system.mesh import place, replicated
from mnist_jax.training.steps import Model, make_predict


def model_template(
    config: ml_collections.FrozenConfigDict, image_shape: tuple[int, int, int], classes: int, mesh: Mesh
) -> tuple[Graph, Model]:
    """The graph of a model of images (H, W, C), and its arrays as `jax.ShapeDtypeStruct`, replicated on each
    device.
    """
    graph, *arrays = abstract_model(config, image_shape, classes)

    def shaped(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh))

    step: Any = jax.ShapeDtypeStruct((), np.int32)
    return graph, jax.tree.map(shaped, Model(step, *arrays))


class Predictor:
    """From a split and a model to the predictions of every example, in order, each once.

    The confusion matrix stays on the device, and nothing waits until the last batch is dispatched. The last
    batch is padded with the last example, so that all have one shape that the devices can share; the padding
    does not count.
    """

    def __init__(
        self, config: ml_collections.FrozenConfigDict, graph: Graph, classes: int, mesh: Mesh
    ) -> None:
        self._predict = make_predict(config, graph, mesh)
        self._mesh, self._classes, self._batch_size = mesh, classes, config.evaluation.batch_size
        # On a CPU rows cost nothing to send, and one program then serves splits of every size.
        self._placement = "host" if cpu.active() else config.data.placement

    def __call__(self, split: Arrays, model: Model) -> Predictions:
        confusion, batches = self._no_predictions(), []
        for rows, counted in self._batches(split):
            confusion, log_probabilities = self._predict(
                model.params, model.model_state, confusion, rows, counted
            )
            batches.append(log_probabilities)
        fetched = np.concatenate(jax.device_get(batches))[: len(split.labels)]
        return Predictions(np.asarray(split.labels), fetched, np.asarray(confusion, np.int64))

    def compile(self, split: Arrays, like: Model) -> None:
        """Compiles what a call needs. like: the model's arrays, as `jax.ShapeDtypeStruct`."""
        rows, counted = next(self._batches(split))
        self._predict.lower(like.params, like.model_state, self._no_predictions(), rows, counted).compile()

    def _batches(self, split: Arrays) -> Iterator[tuple[Rows, np.ndarray]]:
        """Batches of one size, and bool (B,), which of their examples count."""
        feed, size = make_feed(split, self._placement, self._mesh), len(split.labels)
        batch_size = -(-min(self._batch_size, size) // self._mesh.size) * self._mesh.size
        for start in range(0, size, batch_size):
            indices = np.arange(start, start + batch_size, dtype=np.int32)
            yield feed(np.minimum(indices, size - 1)), indices < size

    def _no_predictions(self) -> jax.Array:
        return place(np.zeros((self._classes, self._classes), np.int32), replicated(self._mesh))
