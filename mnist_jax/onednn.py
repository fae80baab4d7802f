"""Convolutions of bfloat16 by oneDNN: on CPUs that multiply tiles of it (AMX) several times as fast as XLA's.

jaxlib carries oneDNN, but its compiler never calls it, and turns bfloat16 into float32 on a CPU. Its runtime
calls oneDNN all the same where a program says so. That is no interface of JAX's: a jaxlib that reads these
calls differently would end the process, so only versions are served that the tests have run with.
"""

import functools
import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jaxlib

from mnist_jax import devices

TARGET = "__onednn$convolution"
_VERSIONS = ("0.10.2",)  # of jaxlib

Padding = Sequence[tuple[int, int]]  # zeros before and after, for each dimension of an image


@functools.cache
def available() -> bool:
    """Whether this CPU and this jaxlib can do it; several devices are not served."""
    return (
        devices.multiplies_tiles()
        and jax.device_count() == 1
        and jaxlib.__version__ in _VERSIONS
        and _is_part_of_jaxlib()
    )


def _is_part_of_jaxlib() -> bool:
    """Not every build of a version has it."""
    try:
        jax.jit(convolve).lower(jnp.ones((1, 1, 1, 1)), jnp.ones((1, 1, 1, 1))).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def serves(x: jax.Array, dtype: jnp.dtype) -> bool:
    """Whether images (B, H, W, C) are convolved in `dtype` by oneDNN; an open B, as in an export, is not."""
    return dtype == jnp.bfloat16 and isinstance(x.shape[0], int) and available()


def dtype_between(dtype: jnp.dtype) -> jnp.dtype:
    """What results of convolutions in `dtype` are kept in: float32 where oneDNN gives that for bfloat16.

    XLA would turn bfloat16 into float32 and back around each operation on a CPU.
    """
    return jnp.dtype(jnp.float32) if dtype == jnp.bfloat16 and available() else dtype


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Images (B, H, W, C) under a kernel (h, w, C, D) at each pixel, with zeros around: float32 (B, H, W, D).

    x and kernel: float32, as are the gradients. What is multiplied is rounded to bfloat16, here and for them;
    it is summed in float32.
    """
    return _forward(x, kernel)[0]


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return _call(x, kernel, "HWIO", _padding(kernel)), (x, kernel)


def _backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    (x, kernel), gradient = residuals, gradient.astype(jnp.bfloat16)
    padding = _padding(kernel)
    mirrored = kernel[::-1, ::-1].swapaxes(2, 3)
    of_x = _call(gradient, mirrored, "HWIO", [(after, before) for before, after in padding])
    # The kernel's gradient is a convolution, too: of one image, whose channels are the examples, under a
    # kernel as large as itself. C is a third side of it, along which that kernel does not reach; oneDNN is
    # fast where a side is long, not where there are many images of 3 x 3 pixels.
    image = x.transpose(1, 2, 3, 0)[None]
    of_kernel = _call(image, jnp.expand_dims(gradient, 3), "IHWCO", [*padding, (0, 0)])
    return of_x, of_kernel[0]


convolve.defvjp(_forward, _backward)


def _padding(kernel: jax.Array) -> Padding:
    return [((size - 1) // 2, size // 2) for size in kernel.shape[:2]]


def _call(x: jax.Array, kernel: jax.Array, axes: str, padding: Padding) -> jax.Array:
    """oneDNN's convolution of bfloat16 images (N, ..., C): float32 (N, ..., O).

    axes: a letter for each of the kernel's: I and O, and in order others for the dimensions of an image.
    """
    _keep_out_of_cache()
    of_image = [axis for axis, letter in enumerate(axes) if letter not in "IO"]
    sizes = [kernel.shape[axis] for axis in of_image]
    sides = [
        side + sum(zeros) - size + 1 for side, zeros, size in zip(x.shape[1:-1], padding, sizes, strict=True)
    ]
    channels_last = {
        "data": {
            "batch_dim": "0",
            "feature_dim": str(x.ndim - 1),
            "spatial_dims": [str(axis) for axis in range(1, x.ndim - 1)],
        }
    }
    config = {  # OneDnnConvolutionConfig of XLA's onednn_config.proto
        "dims": str(x.ndim),
        "input": channels_last,
        "kernel": {
            "filter": {
                "input_feature_dim": str(axes.index("I")),
                "output_feature_dim": str(axes.index("O")),
                "spatial_dims": [str(axis) for axis in of_image],
            }
        },
        "output": channels_last,
        "window": {
            "size": [str(size) for size in sizes],
            "pad_left": [str(before) for before, _ in padding],
            "pad_right": [str(after) for _, after in padding],
            "strides": ["1"] * len(sizes),
            "window_dilations": ["1"] * len(sizes),
        },
        "feature_groups": "1",
    }
    result = jax.ShapeDtypeStruct((x.shape[0], *sides, kernel.shape[axes.index("O")]), jnp.float32)
    call = jax.ffi.ffi_call(
        TARGET,
        result,
        vmap_method="sequential",
        custom_call_api_version=2,
        legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    )
    return call(x, kernel)


def _keep_out_of_cache() -> None:
    """XLA fails in writing programs with these calls to the compilation cache.

    So nothing is written that this process compiles from here on; each start compiles it anew.
    """
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float("inf"))
