"""Colours of images (B, H, W, C) in [0, 1] changed, as Pillow's ImageEnhance and ImageOps define it.

Strengths have the shape (B, 1, 1, 1) or one that broadcasts to it.
"""

import jax
import jax.numpy as jnp

_LUMA = 0.299, 0.587, 0.114  # of red, green and blue, ITU-R BT.601
_LEVELS = 256

Strength = jax.Array | float


def enhance(images: jax.Array, brightness: Strength, contrast: Strength, saturation: Strength) -> jax.Array:
    """Brightness, contrast and saturation multiplied by factors, in this order."""
    images = jnp.clip(brightness * images, 0, 1)
    mean = _grey(images).mean((1, 2, 3), keepdims=True)
    images = jnp.clip(mean + contrast * (images - mean), 0, 1)
    grey = _grey(images)
    return jnp.clip(grey + saturation * (images - grey), 0, 1)


def sharpen(images: jax.Array, factor: Strength) -> jax.Array:
    """Less sharp below a factor of 1, sharper above; pixels at the border stay."""
    _, height, width, _ = images.shape
    if min(height, width) < 3:
        return images
    windows = [images[:, y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3)]
    inner = windows[4]
    smooth = (jnp.stack(windows).sum(0) + 4 * inner) / 13
    return images.at[:, 1:-1, 1:-1].set(jnp.clip(smooth + factor * (inner - smooth), 0, 1))


def posterize(images: jax.Array, bits: Strength) -> jax.Array:
    """The highest bits of each value's eight; the others are 0."""
    step = 2.0 ** (8 - bits)
    return jnp.floor(_levels(images) / step) * step / (_LEVELS - 1)


def solarize(images: jax.Array, threshold: Strength) -> jax.Array:
    """Values of at least the threshold become their negatives."""
    return jnp.where(images >= threshold, 1 - images, images)


def autocontrast(images: jax.Array) -> jax.Array:
    """Each channel stretched to the range from 0 to 1; one of a single value stays."""
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    return jnp.where(high > low, (images - low) / jnp.where(high > low, high - low, 1), images)


def equalize(images: jax.Array) -> jax.Array:
    """Each channel's values spread so that all levels are about equally frequent."""
    levels = _levels(images).astype(jnp.int32)

    def spread(levels: jax.Array) -> jax.Array:
        counts = jnp.bincount(levels.ravel(), length=_LEVELS)
        highest = counts[jnp.max(levels)]
        step = (levels.size - highest) // (_LEVELS - 1)
        before = jnp.cumsum(counts) - counts
        table = jnp.minimum((before + step // 2) // jnp.maximum(step, 1), _LEVELS - 1)
        return jnp.where(step > 0, table[levels], levels)

    spread_out = jax.vmap(jax.vmap(spread, -1, -1))(levels)
    return (spread_out / (_LEVELS - 1)).astype(images.dtype)


def _levels(images: jax.Array) -> jax.Array:
    """Values from 0 to 255, whole numbers."""
    return jnp.round(images * (_LEVELS - 1))


def _grey(images: jax.Array) -> jax.Array:
    """One channel (B, H, W, 1): the luma of three, else the mean."""
    if images.shape[-1] != 3:
        return images.mean(-1, keepdims=True)
    return (images * jnp.array(_LUMA, images.dtype)).sum(-1, keepdims=True)
