"""What the host and the compiler need for speed, set before the first computation.

README.md ("What makes it fast on a CPU") has what each of them gives, and what was tried beside.
"""

import ctypes
import functools
import os
import pathlib
import platform
from collections.abc import Mapping

import jax
import platformdirs

from mnist_jax.errors import UserError

_COMPILER_OPTIONS: dict[str, dict[str, str | bool]] = {  # by platform
    # Convolutions of jaxlib 0.10 go to a library that uses one core; an empty value gives them back to the
    # threaded path.
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": ""},
    # Otherwise each compilation takes the kernels that were fastest just then, and with them other bits.
    "gpu": {"xla_gpu_deterministic_ops": True},
}

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h


def prepare_host() -> None:
    """Tunes the allocator and turns on the persistent compilation cache; call it before any computation.

    Raises UserError: $JAX_PLATFORMS names an accelerator first that JAX does not start.
    """
    if platform.libc_ver()[0] == "glibc":
        # XLA's scratch memory of more than 32 MB is otherwise mapped and page-faulted anew at every step, and
        # with a heap for each thread its place makes one process a fifth slower than another.
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(user_cache_dir() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # many small ones add up
    _require_named_platform()


def _require_named_platform() -> None:
    """JAX itself goes on on the CPU, or fails with an empty assertion, where its plugin did not load."""
    names = os.environ.get("JAX_PLATFORMS", "")
    try:
        found = jax.default_backend()
    except (RuntimeError, AssertionError):
        found = None
    if found is None or (found == "cpu" and names.split(",")[0] not in ("", "cpu")):
        raise UserError(
            f"JAX_PLATFORMS is {names!r}, but JAX cannot compute on that here; `python -c 'import jax; "
            "jax.devices()'` says more, and JAX_PLATFORMS=cpu goes on on the CPU"
        )


def user_cache_dir() -> pathlib.Path:
    """This program's folder in the user's cache, `$XDG_CACHE_HOME/mnist_jax` on Linux."""
    return pathlib.Path(platformdirs.user_cache_dir("mnist_jax", appauthor=False))


@functools.cache
def compiler_options() -> dict[str, str | bool]:
    """XLA options for this machine; none where the user has set the flag or the compiler does not know it."""
    options = _COMPILER_OPTIONS.get(jax.default_backend(), {})
    if not options or any(option in os.environ.get("XLA_FLAGS", "") for option in options):
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def options_of_what_runs_once() -> Mapping[str, str | bool | int]:
    """XLA options of a program that would take longer to optimize than to run, as drawing parameters does."""
    return {"xla_backend_optimization_level": 1} if on_cpu() else compiler_options()


def steps_per_call(asked: int) -> int:
    """Steps in one dispatch: as asked, or for 0 one on CPU, where loops are slow, and 50 elsewhere."""
    return asked or (1 if on_cpu() else 50)


def on_cpu() -> bool:
    """Whether XLA computes on the CPU, where `layers` goes round what it is slow at."""
    return jax.default_backend() == "cpu"


def on_gpu() -> bool:
    """Whether XLA computes on a GPU."""
    return jax.default_backend() == "gpu"


@functools.cache
def multiplies_tiles() -> bool:
    """Whether oneDNN may multiply tiles of bfloat16 here, by AMX; `onednn` says what for."""
    if not on_cpu() or os.environ.keys() & {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}:
        return False
    try:
        return "amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def batch_parts(size: int) -> int:
    """In how many parts a batch goes through convolutions: on CPU so many that results stay in the caches.

    A size that is not known yet, as in an export, is one part; so is a batch that devices share.
    """
    return max(1, min(4, size // 32)) if on_cpu() and jax.device_count() == 1 and isinstance(size, int) else 1


def fits_on_device(nbytes: int) -> bool:
    """Whether arrays of so many bytes leave three quarters of the device's memory to the model."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        limit = stats["bytes_limit"]
    else:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return nbytes <= limit / 4


def describe() -> dict[str, object]:
    """The accelerator of this run, and what of the host decides its bits, for the record."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.device_count(),
        "processes": jax.process_count(),
        "driver": _driver(),
        "runtime": device.client.platform_version,
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "multiplies_tiles": multiplies_tiles(),
        "compiler_options": compiler_options(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _driver() -> str | None:
    """The kernel's driver of NVIDIA GPUs; None where there is none."""
    try:
        return pathlib.Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
