"""A residual network with norm and activation before each convolution: https://arxiv.org/abs/1603.05027.

Different from the paper: each stage but the first begins with average pooling of 2 x 2 pixels instead of a
strided convolution, and the first layer may use patches instead of a convolution.
"""

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from mnist_jax.models.layers import (
    ACTIVATIONS,
    Conv,
    activation_dtype,
    apply_norm,
    create_norm,
    dropout,
    pool,
    pooled,
    space_to_depth,
)


class ResNet(nnx.Module):
    """Stages of `config.model.depth` residual blocks, one for each of `config.model.widths`.

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
        model, channels = config.model, examples.shape[-1]
        self.patch = min(model.stem, *examples.shape[1:3])
        features = model.widths[0]
        self.stem: Conv | nnx.Linear = Conv(config, channels, features, rngs=rngs)
        if self.patch > 1:
            dtype = activation_dtype(config)
            self.stem = nnx.Linear(self.patch**2 * channels, features, dtype=dtype, rngs=rngs)
        height, width = examples.shape[1] // self.patch, examples.shape[2] // self.patch
        size, blocks, channels = (height, width), [], features
        for stage, features in enumerate(model.widths):
            size = pooled(size) if stage else size
            for _ in range(model.depth):
                blocks.append(ResidualBlock(config, channels, features, size, rngs=rngs))
                channels = features
        self.blocks, self.depth = nnx.List(blocks), model.depth
        self.norm = create_norm(config, channels, size, rngs=rngs)
        self.activation = ACTIVATIONS[model.activation]
        self.output = nnx.Linear(channels, num_classes, dtype=activation_dtype(config), rngs=rngs)

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool,
        rate: float | jax.Array = 0.0,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        x = self.stem(space_to_depth(images, self.patch))
        for number, block in enumerate(self.blocks):
            if number and number % self.depth == 0:
                x = pool(x, "average")
            x = block(x, train=train)
        x = self.activation(apply_norm(self.norm, x, train=train)).mean(axis=(1, 2))
        return self.output(dropout(x, rate, rngs)).astype(jnp.float32)


class ResidualBlock(nnx.Module):
    """Adds twice norm, activation and convolution to its input; initially it is the identity.

    If the number of channels changes, the input passes through a dense layer for each pixel.
    """

    def __init__(
        self,
        config: ml_collections.FrozenConfigDict,
        channels: int,
        features: int,
        size: tuple[int, int],
        *,
        rngs: nnx.Rngs,
    ):
        widths = (channels, features)
        self.norms = nnx.List(create_norm(config, width, size, rngs=rngs) for width in widths)
        self.convs = nnx.List(Conv(config, width, features, rngs=rngs) for width in widths)
        last = self.convs[1].kernel
        last.set_value(jnp.zeros_like(last.get_value()))
        dtype, wider = activation_dtype(config), channels != features
        self.shortcut = (
            nnx.Linear(channels, features, use_bias=False, dtype=dtype, rngs=rngs) if wider else nnx.identity
        )
        self.activation = ACTIVATIONS[config.model.activation]

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        out = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            out = conv(self.activation(apply_norm(norm, out, train=train)))
        return out + self.shortcut(x)
