"""Parts that the models share."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

POOLINGS: dict[str, Callable] = {"average": jnp.mean, "max": jnp.max}
ACTIVATIONS: dict[str, Callable] = {"relu": nnx.relu, "gelu": nnx.gelu, "silu": nnx.silu}


def pool(x: jax.Array, name: str) -> jax.Array:
    """Pools 2 x 2 windows of images (B, H, W, C), the last odd row or column left out.

    By reshape: on CPU ten times faster than `reduce_window`, whose gradient for the maximum is a scatter.
    A side of one pixel stays.
    """
    batch, height, width, channels = x.shape
    down, right = min(height, 2), min(width, 2)
    x = x[:, : height // down * down, : width // right * right]
    x = x.reshape(batch, height // down, down, width // right, right, channels)
    return POOLINGS[name](x, axis=(2, 4))


def create_conv(
    config: ml_collections.FrozenConfigDict, channels: int, features: int, *, rngs: nnx.Rngs
) -> nnx.Conv:
    """A convolution with `config.model.kernel` that keeps the size of the image."""
    return nnx.Conv(
        channels,
        features,
        (config.model.kernel, config.model.kernel),
        # A convolution's bias before a norm would be subtracted again.
        use_bias=config.model.norm == "none",
        kernel_init=nnx.initializers.he_normal(),
        dtype=jnp.dtype(config.dtype),
        rngs=rngs,
    )


def create_norm(config: ml_collections.FrozenConfigDict, features: int, *, rngs: nnx.Rngs) -> Callable:
    """The layer that `config.model.norm` names; one that changes nothing for "none"."""
    dtype = jnp.dtype(config.dtype)
    if config.model.norm == "batch":
        return nnx.BatchNorm(features, momentum=0.9, dtype=dtype, rngs=rngs)
    if config.model.norm == "group":
        return nnx.GroupNorm(features, num_groups=math.gcd(features, 8), dtype=dtype, rngs=rngs)
    return nnx.identity


def apply_norm(norm: Callable, x: jax.Array, *, train: bool) -> jax.Array:
    """A norm from `create_norm`, which only for batch norm depends on whether this is training."""
    return norm(x, use_running_average=not train) if isinstance(norm, nnx.BatchNorm) else norm(x)
