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
    patch_whitening,
    pool,
    pooled,
    space_to_depth,
)

_EXAMPLES = 1000  # of the training images, that whiten
_EPSILON, _SCALE = 0.1, 0.5  # chosen on MNIST's validation split


class CNN(nnx.Module):
    """Convolutions that each halve the image, then two dense layers.

    `config.model.stem`: side of the patches that are pixels to the first convolution.
    `config.model.whitening_init`: it starts with filters that whiten the images.

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
        self.patch = min(model.stem, *examples.shape[1:3])
        height, width, channels = examples.shape[1:]
        size, channels = (height // self.patch, width // self.patch), self.patch**2 * channels
        convs, norms = [], []
        for features in model.widths:
            convs.append(Conv(config, channels, features, rngs=rngs))
            norms.append(create_norm(config, features, size, rngs=rngs))
            size, channels = pooled(size), features
        if model.whitening_init:
            pixels = space_to_depth(examples[:_EXAMPLES], self.patch)
            convs[0].kernel.set_value(_whitening(pixels, convs[0].kernel.get_value()))
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
        x = space_to_depth(x, self.patch)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = pool(self.activation(apply_norm(norm, conv(x), train=train)), self.pooling)
        return x.reshape(x.shape[0], -1)


def _whitening(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A kernel (h, h, C, D) half of whose filters whiten patches of images and half are their negatives.

    As the first layer of https://arxiv.org/abs/2404.00498, but trained. Where that gives fewer filters than
    the kernel has, the others stay as they are.
    """
    side, _, _, features = kernel.shape
    if side > min(images.shape[1:3]):
        return kernel
    filters = _SCALE * patch_whitening(images, side, _EPSILON)[..., : features // 2]
    both = jnp.concatenate([filters, -filters], axis=-1)
    return kernel.at[..., : both.shape[-1]].set(both)
