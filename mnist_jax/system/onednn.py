"""Convolutions of bfloat16 by oneDNN: on CPUs that multiply it (AMX, AVX512_BF16) twice as fast as by XLA.

jaxlib carries oneDNN, but its compiler never calls it, and turns bfloat16 into float32 on a CPU. Its runtime
calls oneDNN all the same where a program says so. That is no interface of JAX's: a jaxlib that reads these
calls differently may end the process. So each jaxlib is tried in a process of its own first; see `works`.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jaxlib

from mnist_jax.system.files import user_cache_dir, write_whole
from mnist_jax.system.installation import child_environment

TARGET = "__onednn$convolution"
_PROBE = "from mnist_jax.system import onednn; onednn.check()"
_PROBE_SECONDS = 120

Padding = Sequence[tuple[int, int]]  # zeros before and after, for each dimension of an image


def works() -> bool:
    """Whether oneDNN of this jaxlib passes `check` on this CPU, in a process of its own.

    The answer is kept in the user's cache folder, for each jaxlib and CPU; the first takes some seconds.
    """
    path = user_cache_dir() / f"onednn-{_machine()}"
    try:
        return path.read_text() == "works"
    except OSError:
        pass
    environment = child_environment({**os.environ, "JAX_PLATFORMS": "cpu"})
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environment, capture_output=True, timeout=_PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):  # which may not be so the next time
        return False
    answer = done.returncode == 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, b"works" if answer else b"fails")
    except OSError:
        pass  # the next run finds out again
    return answer


def check() -> None:
    """Compares values and gradients with XLA's of the same rounded numbers.

    Raises AssertionError: they differ by more than the rounding of sums in float32. JaxRuntimeError: this
    jaxlib has no such call.
    """
    for shape in ((4, 7, 7, 32, 64), (3, 5, 6, 1, 3)):
        batch, height, width, channels, features = shape
        keys = jax.random.split(jax.random.key(0), 3)
        x = jax.random.normal(keys[0], (batch, height, width, channels))
        kernel = jax.random.normal(keys[1], (3, 3, channels, features))
        gradient = jax.random.normal(keys[2], (batch, height, width, features))
        found, backward = jax.vjp(convolve, x, kernel)
        expected, backward_of_plain = jax.vjp(_plain, _rounded(x), _rounded(kernel))
        pairs = [(found, expected)]
        pairs += zip(backward(gradient), backward_of_plain(_rounded(gradient)), strict=True)
        for one, other in pairs:
            assert one.dtype == jnp.float32
            assert jnp.abs(one - other).max() <= 1e-5 * jnp.maximum(1.0, jnp.abs(other).max())


def _plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )


def _rounded(x: jax.Array) -> jax.Array:
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


def _machine() -> str:
    """What the answer of `works` depends on, as a hash."""
    try:
        cpu = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:  # not on Linux
        cpu = ""
    lines = [line for line in cpu.splitlines() if line.startswith(("model", "vendor", "flags", "stepping"))]
    version = jaxlib.__version__  # type: ignore[attr-defined]
    facts = [version, jax.__version__, *lines, pathlib.Path(__file__).read_text()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


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
