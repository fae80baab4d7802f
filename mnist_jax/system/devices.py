"""Settings of host and compiler for speed, made before the first computation; `cpu` has those for CPUs."""

import functools
import os
import pathlib
from typing import Any

import jax

from mnist_jax.system import cpu
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_cache_dir

_COMPILER_OPTIONS: dict[str, dict[str, str | bool]] = {  # by platform
    "cpu": cpu.COMPILER_OPTIONS,
    # Otherwise each compilation picks the fastest kernels of the moment, which can change the bits.
    "gpu": {"xla_gpu_deterministic_ops": True},
}

_GPU_PATCH_CHANNELS = 3  # measured for one channel; see `patch_channels`

# JAX's own options that change the numbers, such as $JAX_DEFAULT_PRNG_IMPL, and their defaults.
_DECIDING: dict[str, object] = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_default_matmul_precision": None,
    "jax_random_seed_offset": 0,
    "jax_disable_jit": False,
}


def prepare_host() -> None:
    """Tunes the allocator and turns on the persistent compilation cache; call it before any computation.

    Raises UserError: JAX does not start the first accelerator of $JAX_PLATFORMS, or $JAX_ENABLE_X64 is on.
    """
    if jax.config.values["jax_enable_x64"]:
        raise UserError(
            "JAX_ENABLE_X64 must be off (got on), because parameters are float32; unset it, or turn "
            "jax_enable_x64 off"
        )
    cpu.tune_allocator()
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(user_cache_dir() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # many small ones add up
    _require_named_platform()


def _require_named_platform() -> None:
    """Without this check JAX uses the CPU, or fails with an empty assertion, if its plugin did not load."""
    names = os.environ.get("JAX_PLATFORMS", "")
    try:
        found = jax.default_backend()
    except (RuntimeError, AssertionError):
        found = None
    if found is None or (found == "cpu" and names.split(",")[0] not in ("", "cpu")):
        raise UserError(
            f"JAX_PLATFORMS must name a platform that JAX can use here (got {names!r}); `python -c 'import "
            "jax; jax.devices()'` prints the reason, and JAX_PLATFORMS=cpu uses the CPU"
        )


@functools.cache
def compiler_options() -> dict[str, str | bool]:
    """XLA options for this machine; none if the user set the flag or the compiler does not know it."""
    options = _COMPILER_OPTIONS.get(jax.default_backend(), {})
    if not options or any(option in os.environ.get("XLA_FLAGS", "") for option in options):
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def options_of_what_runs_once() -> dict[str, Any]:
    """XLA options of a program that takes longer to optimize than to run, such as initialization."""
    return {"xla_backend_optimization_level": 1} if cpu.active() else compiler_options()


def patch_channels() -> int:
    """The most channels of a convolution that is a product of patches."""
    return {"cpu": cpu.PATCH_CHANNELS, "gpu": _GPU_PATCH_CHANNELS}.get(jax.default_backend(), 0)


def steps_per_call(asked: int) -> int:
    """Steps in one dispatch: as asked, or for 0 one on CPU, which is slow at loops, and 50 elsewhere."""
    return asked or (1 if cpu.active() else 50)


def on_gpu() -> bool:
    """Whether XLA computes on a GPU."""
    return jax.default_backend() == "gpu"


def fits_on_device(nbytes: int) -> bool:
    """Whether arrays of `nbytes` bytes leave three quarters of the device's memory to the model."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        limit = stats["bytes_limit"]
    else:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return nbytes <= limit / 4


def describe_devices(dtype: str = "float32") -> dict[str, object]:
    """The accelerator of a run in `dtype`, and the facts of the host that decide its bits."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.device_count(),
        "processes": jax.process_count(),
        "driver": _driver(),
        "runtime": device.client.platform_version,
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "bfloat16_convolutions": cpu.convolves_bfloat16_by(dtype),
        "compiler_options": compiler_options(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        **({"jax_options": options} if (options := _unusual_options()) else {}),
    }


def _unusual_options() -> dict[str, object]:
    """JAX's options that change the numbers and differ from their defaults."""
    return {name: value for name, usual in _DECIDING.items() if (value := jax.config.values[name]) != usual}


def _driver() -> str | None:
    """The kernel's driver of NVIDIA GPUs; None without one."""
    try:
        return pathlib.Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
