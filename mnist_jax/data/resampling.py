"""Images sampled at other points than their pixels."""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates


def offsets(height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """How far each pixel is below and to the right of the centre of the image, (H, W) each."""
    centre_y, centre_x = _centre(height, width)
    y, x = jnp.meshgrid(jnp.arange(height) - centre_y, jnp.arange(width) - centre_x, indexing="ij")
    return y, x


def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear samples of images (B, H, W, C); 0 outside the image.

    rows, columns: the sampled points, from the centre of the image, (B, H, W) or (H, W).
    """
    centre_y, centre_x = _centre(*images.shape[1:3])
    rows, columns = (
        jnp.broadcast_to(each, images.shape[:3]) for each in (rows + centre_y, columns + centre_x)
    )

    def sample(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
        return jax.vmap(lambda channel: map_coordinates(channel, (rows, columns), order=1), -1, -1)(image)

    return jax.vmap(sample)(images, rows, columns).astype(images.dtype)


def _centre(height: int, width: int) -> tuple[float, float]:
    return (height - 1) / 2, (width - 1) / 2
