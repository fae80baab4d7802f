"""The default network: a few convolutions, then two dense layers."""

import math

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from mnist_jax.models.layers import ACTIVATIONS, Conv, apply_norm, create_norm, dropout, pool, pooled
from mnist_jax.system import cpu


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
        model, between = config.model, cpu.dtype_between(jnp.dtype(config.dtype))
        height, width, channels = examples.shape[1:]
        size = height, width
        convs, norms = [], []
        for features in model.widths:
            convs.append(Conv(config, channels, features, rngs=rngs))
            norms.append(create_norm(config, features, size, rngs=rngs))
            size, channels = pooled(size), features
        self.convs, self.norms = nnx.List(convs), nnx.List(norms)
        # Outputs first: the gradient of its input is then a product of two matrices as they lie in memory.
        self.dense = nnx.Einsum(
            "bi,oi->bo",
            (model.dense, math.prod(size) * channels),
            (model.dense,),
            kernel_init=nnx.initializers.he_normal(in_axis=1, out_axis=0),
            dtype=between,
            rngs=rngs,
        )
        self.output = nnx.Linear(model.dense, num_classes, dtype=between, rngs=rngs)
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
        count = 1 if train and self.across_batch else cpu.batch_parts(images.shape[0])
        parts = jnp.array_split(images, count) if count > 1 else [images]
        x = jnp.concatenate([self._features(part, train=train) for part in parts])
        x = dropout(x, rate, rngs)
        x = self.activation(self.dense(x))
        x = dropout(x, rate, rngs)
        return self.output(x).astype(jnp.float32)

    def _features(self, x: jax.Array, *, train: bool) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = pool(self.activation(apply_norm(norm, conv(x), train=train)), self.pooling)
        return x.reshape(x.shape[0], -1)
