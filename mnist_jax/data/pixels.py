"""From stored uint8 pixels to the floats that a model sees."""

import jax
import jax.numpy as jnp
import ml_collections


def to_float(images: jax.Array) -> jax.Array:
    """uint8 images as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


def normalize(images: jax.Array, config: ml_collections.FrozenConfigDict) -> jax.Array:
    """Float images in [0, 1] minus the config's mean, divided by its standard deviation, per channel."""
    return (images - jnp.asarray(config.data.mean)) / jnp.asarray(config.data.std)
