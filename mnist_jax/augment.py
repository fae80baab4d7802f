"""Light augmentation of image batches on the device, jitted with the training step."""

import jax
import jax.numpy as jnp
import ml_collections
from jax.scipy.ndimage import map_coordinates


def augment(key: jax.Array, images: jax.Array, config: ml_collections.FrozenConfigDict) -> jax.Array:
    """Randomly moves, turns, scales, mirrors and cuts each image, as `config.augment` says.

    images: float (B, H, W, C) in [0, 1]; what comes in from outside the image is 0.
    Returns: the same shape and dtype; the same images where every strength is 0.
    """
    warp_key, flip_key, cutout_key = jax.random.split(key, 3)
    if config.shift or config.rotation or config.scale:
        images = _warp(warp_key, images, config.shift, config.rotation, config.scale)
    if config.flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(images.shape[0], 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if config.cutout:
        images = _cutout(cutout_key, images, config.cutout)
    return images


def _warp(key: jax.Array, images: jax.Array, shift: float, rotation: float, scale: float) -> jax.Array:
    """One bilinear resampling of each image under a random similarity about its centre."""
    batch, height, width, _ = images.shape
    shift_key, angle_key, scale_key = jax.random.split(key, 3)
    shifts = jax.random.uniform(shift_key, (batch, 2), minval=-shift, maxval=shift)
    angles = jnp.radians(jax.random.uniform(angle_key, (batch,), minval=-rotation, maxval=rotation))
    factors = 1 / jax.random.uniform(scale_key, (batch,), minval=1 - scale, maxval=1 + scale)

    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y, x = jnp.meshgrid(jnp.arange(height) - centre_y, jnp.arange(width) - centre_x, indexing="ij")

    def warp_one(image, offset, angle, factor):
        cos, sin = factor * jnp.cos(angle), factor * jnp.sin(angle)
        source = (cos * y - sin * x + offset[0] + centre_y, sin * y + cos * x + offset[1] + centre_x)
        return jax.vmap(lambda channel: map_coordinates(channel, source, order=1), -1, -1)(image)

    return jax.vmap(warp_one)(images, shifts, angles, factors).astype(images.dtype)


def _cutout(key: jax.Array, images: jax.Array, side: int) -> jax.Array:
    """Blacks out a square centred on a random pixel of each image (https://arxiv.org/abs/1708.04552)."""
    batch, height, width, _ = images.shape
    row_key, column_key = jax.random.split(key)
    top = jax.random.randint(row_key, (batch, 1, 1, 1), 0, height) - side // 2
    left = jax.random.randint(column_key, (batch, 1, 1, 1), 0, width) - side // 2
    rows, columns = jnp.arange(height)[:, None, None], jnp.arange(width)[:, None]
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return jnp.where(inside, 0, images)
