"""The default network: a few convolutions, then two dense layers."""

import functools
import math

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from mnist_jax.models.layers import (
    ACTIVATIONS,
    Conv,
    activation_dtype,
    apply_norm,
    create_dense,
    create_norm,
    dropout,
    in_parts,
    pool,
    pooled,
)


class CNN(nnx.Module):
    """Convolutions that each halve the image, then two dense layers.

    examples: training images as the model will see them, for their shape.
    `__call__` takes float images (B, H, W, C), already normalized, and gives float32 logits (B, K).
    """

    def __init__(
        self,
        config: ml_collections.FrozenConfigDict,
        examples: jax.Array,
        num_classes: int,
        *,
        rngs: nnx.Rngs,
    ):
        model = config.model
        height, width, channels = examples.shape[1:]
        size = height, width
        convs, norms = [], []
        for features in model.widths:
            convs.append(Conv(config, channels, features, rngs=rngs))
            norms.append(create_norm(config, features, size, rngs=rngs))
            size, channels = pooled(size), features
        self.convs, self.norms = nnx.List(convs), nnx.List(norms)
        self.dense = create_dense(config, math.prod(size) * channels, model.dense, rngs=rngs)
        self.output = nnx.Linear(model.dense, num_classes, dtype=activation_dtype(config), rngs=rngs)
        self.pooling, self.activation = model.pooling, ACTIVATIONS[model.activation]
        self.across_batch = model.norm == "batch"

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool,
        rate: float | jax.Array = 0.0,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        features = functools.partial(self._features, train=train)
        x = features(images) if train and self.across_batch else in_parts(features, images)
        x = dropout(x, rate, rngs)
        x = self.activation(self.dense(x))
        x = dropout(x, rate, rngs)
        return self.output(x).astype(jnp.float32)

    def _features(self, x: jax.Array, *, train: bool) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = pool(self.activation(apply_norm(norm, conv(x), train=train)), self.pooling)
        return x.reshape(x.shape[0], -1)
