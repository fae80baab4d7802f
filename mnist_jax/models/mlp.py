"""A multilayer perceptron: dense layers on the pixels."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import nnx

from mnist_jax.models.layers import (
    ACTIVATIONS,
    activation_dtype,
    apply_norm,
    create_dense,
    create_norm,
    dropout,
)


class MLP(nnx.Module):
    """Hidden layers of `config.model.widths`, each a dense layer, norm and activation.

    examples: training images as the model sees them, for their shape.
    `__call__` takes float images (B, H, W, C), already normalized, and returns float32 logits (B, K).
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
        inputs, layers, norms = int(np.prod(examples.shape[1:])), [], []
        for features in model.widths:
            layers.append(create_dense(config, inputs, features, rngs=rngs))
            norms.append(create_norm(config, features, (1, 1), rngs=rngs))
            inputs = features
        self.layers, self.norms = nnx.List(layers), nnx.List(norms)
        self.output = nnx.Linear(inputs, num_classes, dtype=activation_dtype(config), rngs=rngs)
        self.activation = ACTIVATIONS[model.activation]

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool,
        rate: float | jax.Array = 0.0,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        x = images.reshape(images.shape[0], -1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(apply_norm(norm, layer(dropout(x, rate, rngs)), train=train))
        return self.output(dropout(x, rate, rngs)).astype(jnp.float32)
