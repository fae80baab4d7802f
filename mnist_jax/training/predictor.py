"""The predictions of a whole split, on the devices of a mesh."""

from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from mnist_jax.data.cache import Arrays
from mnist_jax.data.feeding import make_feed
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.models import Graph, abstract_model
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


def make_predictor(
    config: ml_collections.FrozenConfigDict, graph: Graph, classes: int, mesh: Mesh
) -> Callable[[Arrays, Model], Predictions]:
    """A function from a split and a model to the predictions of every example, in order, each once.

    The confusion matrix stays on the device, and nothing waits until the last batch is dispatched. The last
    batch is padded with the last example, so that all have one shape that the devices can share; the padding
    does not count.
    """
    predict = make_predict(config, graph, mesh)

    def predict_split(split: Arrays, model: Model) -> Predictions:
        feed, size = make_feed(split, config.data.placement, mesh), len(split.labels)
        batch_size = -(-min(config.evaluation.batch_size, size) // mesh.size) * mesh.size
        confusion, batches = place(np.zeros((classes, classes), np.int32), replicated(mesh)), []
        for start in range(0, size, batch_size):
            indices = np.arange(start, start + batch_size, dtype=np.int32)
            rows, counted = feed(np.minimum(indices, size - 1)), indices < size
            confusion, log_probabilities = predict(model.params, model.model_state, confusion, rows, counted)
            batches.append(log_probabilities)
        fetched = np.concatenate(jax.device_get(batches))[:size]
        return Predictions(np.asarray(split.labels), fetched, np.asarray(confusion, np.int64))

    return predict_split
