"""Images sampled at other points than their pixels."""

import jax
from jax.scipy.ndimage import map_coordinates


def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear samples of images (B, H, W, C) at points of their own, (B, H, W); 0 outside the image."""

    def sample(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
        return jax.vmap(lambda channel: map_coordinates(channel, (rows, columns), order=1), -1, -1)(image)

    return jax.vmap(sample)(images, rows, columns).astype(images.dtype)
