"""Every special case for CPUs: host memory, compiler options, and operations that XLA computes slowly.

"Costs x 1.06 without it" is the CPU time of a step of the network of `scripts/benchmark throughput` (float32,
batch 128) without the special case, relative to a step with all of them: the median of nine interleaved pairs
on two cores of a busy AMD EPYC (Zen 4). The settings, in order: jaxlib 0.10.2 with AVX-512; with AVX2 alone
(--xla_cpu_max_isa=AVX2); jaxlib 0.12.0.1 with AVX-512; with AVX2 alone. Without all of them a step costs
x 1.17; 1.17; 1.30; 1.33. Other devices use no special case.
docs/lab-notes/cpu.md has earlier measurements.
"""

import ctypes
import functools
import os
import pathlib
import platform

import jax
import jax.numpy as jnp
import jaxlib

from mnist_jax.system import onednn

# jaxlib 0.10 sends convolutions to a library that uses one core; an empty value restores the threaded path.
# Costs x 1.04; 1.06; 1.07; 1.06 without it.
COMPILER_OPTIONS: dict[str, str | bool] = {"xla_cpu_experimental_ynn_fusion_type": ""}
# A convolution of at most so many channels is a product of patches. Costs
# x 1.10; 1.12; 1.14; 1.10 without it; for four channels, in `mnist_fast`, x 1.06 on the first setting.
PATCH_CHANNELS = 4

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h


def active() -> bool:
    """Whether XLA computes on the CPU."""
    return jax.default_backend() == "cpu"


def tune_allocator() -> None:
    """Makes glibc keep large blocks, in one heap.

    Otherwise XLA's scratch memory of more than 32 MB is mapped and page-faulted again at every step, and with
    a heap for each thread its address can make a process a fifth slower.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def batch_parts(size: int) -> int:
    """The number of parts of a batch in convolutions, such that results stay in the CPU's caches.

    Costs x 1.08; 1.09; 1.09; 1.09 in one part, x 1.02; 1.02; 1.04; 1.02 in two. It is 1 for an
    unknown size, as in an export, and for a batch that devices share.
    """
    return max(1, min(4, size // 32)) if active() and jax.device_count() == 1 and isinstance(size, int) else 1


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x (..., D) + bias (D,), as a product with ones.

    The gradient of the bias is then a matrix product too: XLA takes six times as long for a sum over pixels.
    A step costs x 1.06; 1.13; 1.12; 1.11 without it.
    """
    ones = jnp.ones((x.size // bias.size, 1), x.dtype)
    return x + (ones @ bias[None]).reshape(x.shape)


def dtype_between(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype of activations between convolutions in `dtype`: float32 if oneDNN computes bfloat16.

    On a CPU, XLA would convert bfloat16 to float32 and back around each operation.
    """
    return jnp.dtype(jnp.float32) if dtype == jnp.bfloat16 and why_no_onednn() is None else dtype


def takes_onednn(x: jax.Array, dtype: jnp.dtype) -> bool:
    """Whether oneDNN convolves images (B, H, W, C) in `dtype`; not with an open B, as in an export."""
    return dtype == jnp.bfloat16 and isinstance(x.shape[0], int) and why_no_onednn() is None


@functools.cache
def why_no_onednn() -> str | None:
    """The reason why XLA, not oneDNN, convolves bfloat16 here; None if oneDNN does."""
    if not active():
        return "not on a CPU"
    if os.environ.keys() & {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}:
        return "oneDNN's instruction set is limited by the environment"
    if not _multiplies_bfloat16():
        return "this CPU has neither AMX nor AVX512_BF16"
    if jax.device_count() > 1:
        return "several devices share each batch"
    version = jaxlib.__version__  # type: ignore[attr-defined]
    return None if onednn.works() else f"jaxlib {version} does not compute it correctly"


def counts_all(lowered: jax.stages.Lowered) -> bool:
    """Whether XLA's count of a program's operations is complete; it omits those of oneDNN."""
    return not (active() and _multiplies_bfloat16() and onednn.TARGET in lowered.as_text())


def convolves_bfloat16_by(dtype: str) -> str | None:
    """For the record: the library that convolves bfloat16, because the bits depend on it."""
    if dtype != "bfloat16":
        return None
    return "oneDNN" if why_no_onednn() is None else f"XLA: {why_no_onednn()}"


def notice(dtype: str) -> str | None:
    """A line for the user if `config.dtype` makes the run slower on this CPU, else None."""
    if dtype != "bfloat16" or not active() or why_no_onednn() is None:
        return None
    return (
        f"config.dtype is bfloat16, which is slow on this CPU ({why_no_onednn()}); "
        "--config.dtype=float32 is faster"
    )


def flags(cpuinfo: pathlib.Path = pathlib.Path("/proc/cpuinfo")) -> frozenset[str]:
    """The words of a file in which Linux names a CPU's instructions, such as "avx2"; none without it."""
    try:
        return frozenset(cpuinfo.read_text().split())
    except OSError:
        return frozenset()


def _multiplies_bfloat16() -> bool:
    return not flags().isdisjoint({"amx_bf16", "avx512_bf16"})
