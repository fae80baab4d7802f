"""The Flax NNX models, used functionally: a static graphdef beside pytrees of params and model state."""

import functools
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import nnx

from mnist_jax.data.pixels import normalize, to_float
from mnist_jax.models.airbench import Airbench
from mnist_jax.models.cnn import CNN

PyTree = Any

MODELS = {"cnn": CNN, "airbench": Airbench}


def create_model(
    config: ml_collections.FrozenConfigDict, images: jax.Array, num_classes: int, key: jax.Array
) -> tuple[nnx.GraphDef[Any], PyTree, PyTree]:
    """A freshly initialized model as (graphdef, params, model_state), to be traced.

    images: uint8 (N, H, W, C) of the training split, from which a model may start. `params` and `model_state`
    (running statistics of batch norm, fixed weights) are nested dicts of float32 arrays.
    """
    examples = normalize(to_float(images), config)
    model = MODELS[config.model.name](config, examples, num_classes, rngs=nnx.Rngs(params=key))
    graphdef, params, *rest = nnx.split(model, nnx.Param, ...)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(rest[0])


def abstract_model(
    config: ml_collections.FrozenConfigDict, image_shape: tuple[int, int, int], num_classes: int
) -> tuple[nnx.GraphDef[Any], PyTree, PyTree]:
    """What `create_model` gives of images (H, W, C), with `jax.ShapeDtypeStruct` in the place of arrays."""
    images = jax.ShapeDtypeStruct((1, *image_shape), np.uint8)
    create = functools.partial(create_model, config, num_classes=num_classes)
    return jax.eval_shape(lambda key, images: create(images=images, key=key), jax.random.key(0), images)


def apply_model(
    graphdef: nnx.GraphDef[Any],
    params: PyTree,
    model_state: PyTree,
    images: jax.Array,
    *,
    train: bool,
    dropout: float | jax.Array = 0.0,
    rngs: nnx.Rngs | None = None,
) -> tuple[jax.Array, PyTree]:
    """Logits (B, K) of float images (B, H, W, C), and the model state after them.

    dropout: the rate, with `rngs` to draw from.
    """
    model = nnx.merge(graphdef, params, model_state)
    logits = model(images, train=train, rate=dropout, rngs=rngs)
    return logits, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))
