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
    patches,
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
        side = 2 if self.patch == 1 else 1
        self.whitening = Fixed(patch_whitening(pixels, side)) if config.model.whitening else None
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


def patch_whitening(images: jax.Array, side: int) -> jax.Array:
    """Filters that make the patches of images uncorrelated and of equal variance, and their negatives.

    images: float (N, H, W, C), normalized.
    side: of the patches in pixels; 1 for images with a side of one pixel.
    Returns: float32 (side, side, C, 2 * side * side * C), filters of the largest variance first.
    """
    _, height, width, channels = images.shape
    size = min(side, height, width)
    vectors = patches(images, size, size).reshape(-1, size * size * channels)
    variances, axes = jnp.linalg.eigh(vectors.T @ vectors / len(vectors))
    filters = (axes / jnp.sqrt(variances + 5e-4))[:, ::-1].reshape(size, size, channels, -1)
    return jnp.concatenate([filters, -filters], axis=-1)
