"""Parts that the models share."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

from mnist_jax.system import cpu, devices, onednn
from mnist_jax.system.errors import UserError

POOLINGS: dict[str, tuple[Callable[..., jax.Array], Callable[..., jax.Array]]] = {
    "average": (jnp.add, jnp.mean),  # of two arrays; along an axis
    "max": (jnp.maximum, jnp.max),
}
ACTIVATIONS: dict[str, Callable[..., jax.Array]] = {"relu": nnx.relu, "gelu": nnx.gelu, "silu": nnx.silu}


def pool(x: jax.Array, name: str) -> jax.Array:
    """Pools 2 x 2 windows of images (B, H, W, C) and drops the last odd row or column.

    A side of one pixel stays as it is. By reshape: on a CPU ten times faster than `reduce_window`, whose
    gradient for the maximum is a scatter. Columns are joined as whole arrays, four times faster than by a
    reduction; rows by a reduction, which XLA computes once, not again for each use of the result.
    """
    join, along = POOLINGS[name]
    batch, height, width, channels = x.shape
    down, right = min(height, 2), min(width, 2)
    x = x[:, : height // down * down, : width // right * right]
    x = x.reshape(batch, height // down, down, width // right, right, channels)
    pooled = along(functools.reduce(join, [x[..., column, :] for column in range(right)]), axis=2)
    return pooled / right if name == "average" else pooled


def space_to_depth(images: jax.Array, side: int) -> jax.Array:
    """Patches of side x side pixels of images (B, H, W, C) as pixels: (B, H / side, W / side, side² C).

    The last rows and columns that do not fill a patch are left out.
    """
    if side == 1:
        return images
    batch, height, width, channels = images.shape
    rows, columns = height // side, width // side
    x = images[:, : rows * side, : columns * side].reshape(batch, rows, side, columns, side, channels)
    return x.swapaxes(2, 3).reshape(batch, rows, columns, side * side * channels)


def patches(x: jax.Array, height: int, width: int) -> jax.Array:
    """All patches of images (B, H, W, C), as (B, H - height + 1, W - width + 1, height * width * C)."""
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    windows = [x[:, y : y + rows, z : z + columns] for y in range(height) for z in range(width)]
    return jnp.concatenate(windows, axis=-1)


def patch_whitening(images: jax.Array, side: int, epsilon: float) -> jax.Array:
    """Filters that make the patches of images uncorrelated and of equal variance.

    Args:
      images: float (N, H, W, C), normalized.
      side: of a patch, in pixels.
      epsilon: is added to each variance.

    Returns:
      float32 (side, side, C, side² C), filters of the largest variance first.
    """
    channels = images.shape[-1]
    vectors = patches(images, side, side).reshape(-1, side * side * channels)
    variances, axes = jnp.linalg.eigh(vectors.T @ vectors / len(vectors))
    filters = (axes / jnp.sqrt(variances + epsilon))[:, ::-1]
    return filters.reshape(side, side, channels, -1)


def convolve_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same as `convolve`, as a matrix product."""
    height, width, _, features = kernel.shape
    before, after = ((height - 1) // 2, (width - 1) // 2), (height // 2, width // 2)
    padded = jnp.pad(x, ((0, 0), *zip(before, after, strict=True), (0, 0)))
    matrix = patches(padded, height, width).reshape(-1, kernel.size // features)
    return (matrix @ kernel.reshape(-1, features)).reshape(*x.shape[:-1], features)


def activation_dtype(config: ml_collections.FrozenConfigDict) -> jnp.dtype:
    """The dtype of activations between convolutions in `config.dtype`; see `cpu.dtype_between`."""
    return cpu.dtype_between(jnp.dtype(config.dtype))


def in_parts(function: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """Applies a function of single images to a batch (B, ...), in as many parts as is fastest."""
    count = cpu.batch_parts(images.shape[0])
    if count == 1:
        return function(images)
    return jnp.concatenate([function(part) for part in jnp.array_split(images, count)])


def create_dense(
    config: ml_collections.FrozenConfigDict, inputs: int, features: int, *, rngs: nnx.Rngs
) -> nnx.Einsum:
    """A dense layer of many inputs.

    The kernel has outputs first, so that the gradient of the input multiplies two matrices in memory order.
    """
    return nnx.Einsum(
        "bi,oi->bo",
        (features, inputs),
        (features,),
        kernel_init=nnx.initializers.he_normal(in_axis=1, out_axis=0),
        dtype=activation_dtype(config),
        rngs=rngs,
    )


class Conv(nnx.Module):
    """A convolution with `config.model.kernel` that keeps the size of images (B, H, W, C)."""

    def __init__(
        self, config: ml_collections.FrozenConfigDict, channels: int, features: int, *, rngs: nnx.Rngs
    ):
        shape = (config.model.kernel, config.model.kernel, channels, features)
        self.kernel = nnx.Param(nnx.initializers.he_normal()(rngs.params(), shape))
        # A norm would subtract the bias again.
        self.bias = nnx.Param(jnp.zeros(features)) if config.model.norm == "none" else None
        self.dtype = jnp.dtype(config.dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = convolution(x, self.kernel.get_value(), self.dtype)
        return x if self.bias is None else biased(x, self.bias.get_value().astype(x.dtype))


def dropout(x: jax.Array, rate: float | jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
    """Dropout, equal to nnx.Dropout with the same key.

    rate: a number (nothing is drawn for 0), or a traced one, which nnx.Dropout does not accept.
    """
    if isinstance(rate, float | int) and rate == 0:
        return x
    assert rngs is not None
    kept = jax.random.bernoulli(rngs.dropout(), 1.0 - rate, x.shape)
    return jnp.where(kept, x / jnp.asarray(1.0 - rate, x.dtype), jnp.zeros_like(x))


def convolution(x: jax.Array, kernel: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Images (B, H, W, C) under a kernel (h, w, C, D) at each pixel, with zeros around: (B, H, W, D).

    dtype: of the products. The result has `cpu.dtype_between(dtype)`; so have the products of few channels
    that are computed from patches.
    """
    between = cpu.dtype_between(dtype)
    if x.shape[-1] <= devices.patch_channels():
        return convolve_patches(x.astype(between), kernel.astype(between))
    if cpu.takes_onednn(x, dtype):
        return onednn.convolve(x, kernel)
    return jax.lax.conv_general_dilated(
        x.astype(dtype),
        kernel.astype(dtype),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=between,
    )


def biased(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x (..., D) + bias (D,)."""
    return cpu.add_bias(x, bias) if cpu.active() else x + bias


def create_norm(
    config: ml_collections.FrozenConfigDict, features: int, size: tuple[int, int], *, rngs: nnx.Rngs
) -> Callable[..., jax.Array]:
    """The layer that `config.model.norm` names; the identity for "none".

    features, size: channels, and height and width, of the images that it normalizes.
    Raises UserError: it would normalize single values, which makes each 0 for every image.
    """
    between, groups = activation_dtype(config), math.gcd(features, 8)
    values = {"batch": config.train.batch_size, "group": features // groups}.get(config.model.norm)
    if values is not None and values * math.prod(size) == 1:
        raise UserError(
            f"config.model.norm must not be {config.model.norm} where it has one value to normalize, as in "
            f"{features} channels of 1 x 1 pixels; shorten config.model.widths, or use "
            "--config.model.norm=none"
        )
    if config.model.norm == "batch":
        return nnx.BatchNorm(features, momentum=0.9, dtype=between, rngs=rngs)
    if config.model.norm == "group":
        return nnx.GroupNorm(features, num_groups=groups, dtype=between, rngs=rngs)
    return nnx.identity


def pooled(size: tuple[int, int]) -> tuple[int, int]:
    """The height and width of images after `pool`."""
    height, width = size
    return max(height // 2, 1), max(width // 2, 1)


def apply_norm(norm: Callable[..., jax.Array], x: jax.Array, *, train: bool) -> jax.Array:
    """Applies a norm from `create_norm`; only batch norm depends on `training`."""
    return norm(x, use_running_average=not train) if isinstance(norm, nnx.BatchNorm) else norm(x)
