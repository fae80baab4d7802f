"""A deep convolutional network that learns fast: https://arxiv.org/abs/2404.00498.

As in the paper: whitening of small patches first, blocks of convolutions with pooling after the first, and
the maximum of each channel before the output. Different: any number of convolutions per block, plain
initialization, scales in the norms, and no separate learning rate for biases.
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
    biased,
    convolution,
    create_norm,
    dropout,
    patch_whitening,
    pool,
    pooled,
    space_to_depth,
)


class Fixed(nnx.Variable[jax.Array]):
    """Weights that are computed once and not trained."""


class Airbench(nnx.Module):
    """Whitens patches of 2 x 2 pixels with `config.model.whitening`; then blocks that each halve the image.

    examples: training images as the model sees them, for the whitening.
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
        self.patch = min(config.model.stem, *examples.shape[1:3])
        pixels = space_to_depth(examples, self.patch)
        self.whitening = Fixed(self._filters(pixels)) if config.model.whitening else None
        height, width, channels = pixels.shape[1:]
        size = height, width
        if self.whitening is not None:
            channels = self.whitening.shape[-1]
            self.shift = nnx.Param(jnp.zeros(channels))
        blocks = []
        for features in config.model.widths:
            size = pooled(size)
            blocks.append(Block(config, channels, features, size, rngs=rngs))
            channels = features
        self.blocks = nnx.List(blocks)
        self.activation, self.dtype = ACTIVATIONS[config.model.activation], jnp.dtype(config.dtype)
        self.output = nnx.Linear(channels, num_classes, dtype=activation_dtype(config), rngs=rngs)

    def _filters(self, pixels: jax.Array) -> jax.Array:
        """All that whiten patches, and their negatives: (side, side, C, 2 side² C)."""
        side = min(2 if self.patch == 1 else 1, *pixels.shape[1:3])
        filters = patch_whitening(pixels, side, 5e-4)
        return jnp.concatenate([filters, -filters], axis=-1)

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool,
        rate: float | jax.Array = 0.0,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:
        x = space_to_depth(images, self.patch)
        if self.whitening is not None:
            x = convolution(x, self.whitening.get_value(), self.dtype)
            x = self.activation(biased(x, self.shift.get_value().astype(x.dtype)))
        for block in self.blocks:
            x = block(x, train=train)
        return self.output(dropout(x.max(axis=(1, 2)), rate, rngs)).astype(jnp.float32)


class Block(nnx.Module):
    """Convolutions, each followed by norm and activation; the image is halved after the first.

    With `config.model.residual`, the output of the first is added to the output of the last.
    size: height and width of the halved images.
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
        model = config.model
        self.convs = nnx.List(
            Conv(config, features if number else channels, features, rngs=rngs)
            for number in range(model.depth)
        )
        self.norms = nnx.List(create_norm(config, features, size, rngs=rngs) for _ in range(model.depth))
        self.pooling, self.activation = model.pooling, ACTIVATIONS[model.activation]
        self.residual = model.residual

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        first = x = self._layer(0, x, train=train)
        for number in range(1, len(self.convs)):
            x = self._layer(number, x, train=train)
        return x + first if self.residual else x

    def _layer(self, number: int, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.convs[number](x)
        if number == 0:
            x = pool(x, self.pooling)
        return self.activation(apply_norm(self.norms[number], x, train=train))
