"""Light augmentation of image batches on the device, jitted with the training step."""

import math

import jax
import jax.numpy as jnp
import ml_collections

from mnist_jax.data.resampling import offsets, resample
from mnist_jax.data.tones import enhance
from mnist_jax.data.trivial_augment import trivial_augment

_RESIZED_CROP, _COLOUR, _TRIVIAL = 4, 5, 6  # folded into the key of `augment`, whose split uses 0 to 3


def augment(key: jax.Array, images: jax.Array, config: ml_collections.FrozenConfigDict) -> jax.Array:
    """Randomly moves, warps, crops, colours, mirrors and cuts each image, as `config.augment` says.

    images: float (B, H, W, C) in [0, 1]; pixels from outside the image are 0, except with crop.
    Returns: the same shape and dtype; the same images where every strength is 0.
    """
    warp_key, crop_key, flip_key, cutout_key = jax.random.split(key, 4)
    if config.shift or config.rotation or config.scale or config.shear or config.elastic:
        images = _warp(warp_key, images, config)
    if config.resized_crop:
        images = _resized_crop(jax.random.fold_in(key, _RESIZED_CROP), images, config.resized_crop)
    if config.brightness or config.contrast or config.saturation:
        images = _colour(jax.random.fold_in(key, _COLOUR), images, config)
    if config.trivial:
        images = trivial_augment(jax.random.fold_in(key, _TRIVIAL), images)
    if config.crop:
        images = _crop(crop_key, images, config.crop)
    if config.flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(images.shape[0], 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if config.cutout:
        images = _cutout(cutout_key, images, config.cutout)
    return images


def views(images: jax.Array, config: ml_collections.FrozenConfigDict) -> list[jax.Array]:
    """The views of images that `config.evaluation` averages: moved, and each also mirrored.

    images: float (B, H, W, C) in [0, 1]; pixels from outside the image are 0. The first view is not moved.
    """
    _, height, width, _ = images.shape
    side = config.shift
    moves = [(0, 0), *((y, x) for y in (-side, 0, side) for x in (-side, 0, side) if (y, x) != (0, 0))]
    padded = jnp.pad(images, ((0, 0), (side, side), (side, side), (0, 0)))
    moved = [padded[:, side + y : side + y + height, side + x : side + x + width] for y, x in moves]
    return [*moved, *(image[:, :, ::-1] for image in moved if config.flip)]


def _warp(key: jax.Array, images: jax.Array, config: ml_collections.FrozenConfigDict) -> jax.Array:
    """One bilinear resampling of each image under a random affine map about its centre, and a smooth field.

    The displacements are normal on a grid of 4 x 4 points, interpolated by cubics as in
    https://arxiv.org/abs/1505.04597; elastic distortions of digits: https://doi.org/10.1109/ICDAR.2003.1227801.
    """
    batch, height, width, _ = images.shape
    keys = iter(jax.random.split(key, 5))

    def uniform(limit: float, shape: tuple[int, ...] = (batch,)) -> jax.Array:
        return jax.random.uniform(next(keys), shape, minval=-limit, maxval=limit)

    shifts = uniform(config.shift, (batch, 2))
    angles, factors = jnp.radians(uniform(config.rotation)), 1 / (1 + uniform(config.scale))
    shears = uniform(config.shear)
    if config.elastic:
        coarse = config.elastic * jax.random.normal(next(keys), (batch, 4, 4, 2))
        field = jax.image.resize(coarse, (batch, height, width, 2), "cubic")
    else:
        field = jnp.zeros((batch, 1, 1, 2))

    y, x = offsets(height, width)
    angles, factors, shears = angles[:, None, None], factors[:, None, None], shears[:, None, None]
    cos, sin, slanted = factors * jnp.cos(angles), factors * jnp.sin(angles), x + shears * y
    rows = cos * y - sin * slanted + shifts[:, 0, None, None] + field[..., 0]
    columns = sin * y + cos * slanted + shifts[:, 1, None, None] + field[..., 1]
    return resample(images, rows, columns)


def _resized_crop(key: jax.Array, images: jax.Array, least: float) -> jax.Array:
    """Enlarges a random part of each image to the whole, bilinearly (https://arxiv.org/abs/1409.4842).

    The part has `least` to 1 times the image's area and 3/4 to 4/3 times its aspect ratio. No side is longer
    than the image's.
    """
    batch, height, width, _ = images.shape
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    area = jax.random.uniform(area_key, (batch, 1), minval=least)
    ratio = jnp.exp(jax.random.uniform(ratio_key, (batch,), minval=-1, maxval=1) * math.log(4 / 3))
    sides = jnp.minimum(jnp.sqrt(area * jnp.stack([1 / ratio, ratio], axis=-1)), 1)
    corners = jax.random.uniform(place_key, (batch, 2)) * (1 - sides)

    def enlarge(image: jax.Array, side: jax.Array, corner: jax.Array) -> jax.Array:
        moved = -corner * jnp.array([height, width]) / side
        return jax.image.scale_and_translate(image, image.shape, (0, 1), 1 / side, moved, "linear")

    return jax.vmap(enlarge)(images, sides, corners).astype(images.dtype)


def _colour(key: jax.Array, images: jax.Array, config: ml_collections.FrozenConfigDict) -> jax.Array:
    """Changes brightness, contrast and saturation at random, as Pillow's ImageEnhance defines them."""
    limits = config.brightness, config.contrast, config.saturation
    factors = (
        jax.random.uniform(own, (len(images), 1, 1, 1), minval=1 - limit, maxval=1 + limit)
        for own, limit in zip(jax.random.split(key, 3), limits, strict=True)
    )
    return enhance(images, *factors)


def _crop(key: jax.Array, images: jax.Array, most: int) -> jax.Array:
    """Moves each image by whole pixels and fills the border by reflection."""
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), "reflect")
    corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * most + 1)

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (*corner, 0), images.shape[1:])

    return jax.vmap(cut)(padded, corners)


def _cutout(key: jax.Array, images: jax.Array, side: int) -> jax.Array:
    """Blacks out a square centred on a random pixel of each image (https://arxiv.org/abs/1708.04552)."""
    batch, height, width, _ = images.shape
    row_key, column_key = jax.random.split(key)
    top = jax.random.randint(row_key, (batch, 1, 1, 1), 0, height) - side // 2
    left = jax.random.randint(column_key, (batch, 1, 1, 1), 0, width) - side // 2
    rows, columns = jnp.arange(height)[:, None, None], jnp.arange(width)[:, None]
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return jnp.where(inside, 0, images)
