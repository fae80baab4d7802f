"""The default network: a few convolutions, then two dense layers."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from mnist_jax.layers import ACTIVATIONS, apply_norm, create_conv, create_norm, pool


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
        model, dtype = config.model, jnp.dtype(config.dtype)
        height, width, channels = examples.shape[1:]
        convs, norms = [], []
        for features in model.widths:
            convs.append(create_conv(config, channels, features, rngs=rngs))
            norms.append(create_norm(config, features, rngs=rngs))
            height, width, channels = max(height // 2, 1), max(width // 2, 1), features
        self.convs, self.norms = nnx.List(convs), nnx.List(norms)
        self.dense = nnx.Linear(
            height * width * channels,
            model.dense,
            kernel_init=nnx.initializers.he_normal(),
            dtype=dtype,
            rngs=rngs,
        )
        self.output = nnx.Linear(model.dense, num_classes, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(model.dropout)
        self.pooling, self.activation = model.pooling, ACTIVATIONS[model.activation]

    def __call__(self, images: jax.Array, *, train: bool, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = images
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = pool(self.activation(apply_norm(norm, conv(x), train=train)), self.pooling)
        x = x.reshape(x.shape[0], -1)
        x = self.dropout(x, deterministic=not train, rngs=rngs)
        x = self.activation(self.dense(x))
        x = self.dropout(x, deterministic=not train, rngs=rngs)
        return self.output(x).astype(jnp.float32)
