"""TrivialAugment: one random change of each image, of a random strength (https://arxiv.org/abs/2103.10158)."""

import jax
import jax.numpy as jnp

from mnist_jax.data import tones
from mnist_jax.data.resampling import offsets, resample
from mnist_jax.system import cpu

_STRENGTHS = 31  # from none to the most
_SHEAR, _TRANSLATION, _ROTATION, _ENHANCEMENT, _LOST_BITS = 0.99, 32, 135, 0.99, 6  # the paper's wide space


def trivial_augment(key: jax.Array, images: jax.Array) -> jax.Array:
    """Changes each image in one way, drawn with its strength from the paper's wide search space.

    A translation is at most half the image, which the paper's 32 pixels exceed in small images.

    images: float (B, H, W, C) in [0, 1]; what comes in from outside the image is 0.
    """
    keys = jax.random.split(key, len(images))
    if cpu.active():  # one after another computes only the changes that are drawn; together, all of them
        return jax.lax.map(lambda each: _change(*each), (keys, images))
    return jax.vmap(_change)(keys, images)


def _change(key: jax.Array, image: jax.Array) -> jax.Array:
    """One image (H, W, C) changed."""
    change_key, strength_key, sign_key = jax.random.split(key, 3)
    strength = jax.random.randint(strength_key, (), 0, _STRENGTHS) / (_STRENGTHS - 1)
    signed = strength * jax.random.rademacher(sign_key, ())
    height, width, _ = image.shape
    down, right = min(_TRANSLATION, height / 2), min(_TRANSLATION, width / 2)
    factor, same = 1 + _ENHANCEMENT * signed, 1.0
    changes = (
        lambda x: x,
        lambda x: _moved(x, shear_x=_SHEAR * signed),
        lambda x: _moved(x, shear_y=_SHEAR * signed),
        lambda x: _moved(x, right=right * signed),
        lambda x: _moved(x, down=down * signed),
        lambda x: _moved(x, angle=jnp.radians(_ROTATION * signed)),
        lambda x: tones.enhance(x, factor, same, same),
        lambda x: tones.enhance(x, same, factor, same),
        lambda x: tones.enhance(x, same, same, factor),
        lambda x: tones.sharpen(x, factor),
        lambda x: tones.posterize(x, 8 - jnp.round(_LOST_BITS * strength)),
        lambda x: tones.solarize(x, 1 - strength),
        tones.autocontrast,
        tones.equalize,
    )
    return jax.lax.switch(jax.random.randint(change_key, (), 0, len(changes)), changes, image[None])[0]


def _moved(
    images: jax.Array,
    *,
    angle: tones.Strength = 0.0,
    shear_x: tones.Strength = 0.0,
    shear_y: tones.Strength = 0.0,
    right: tones.Strength = 0.0,
    down: tones.Strength = 0.0,
) -> jax.Array:
    """Images (B, H, W, C) rotated and sheared about their centre, in radians and pixels per pixel."""
    y, x = offsets(*images.shape[1:3])
    rows = jnp.cos(angle) * y - jnp.sin(angle) * x + shear_y * x + down
    columns = jnp.sin(angle) * y + jnp.cos(angle) * x + shear_x * y + right
    return resample(images, rows, columns)
