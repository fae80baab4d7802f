"""Whether the NVIDIA driver shows a GPU, asked without JAX, which goes on on the CPU where it does not.

    python -m mnist_jax.system.gpu_check      exit status 0, or 1 and a line on what is missing

The driver's own interface is asked: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__INITIALIZE.html
"""

import ctypes
import os
import sys

_NEEDED = 13  # the major version of CUDA in the wheels of jax[cuda13]
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def missing_gpu() -> str | None:
    """What keeps this process from using an NVIDIA GPU, in a line; None where nothing does."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return (
            "no NVIDIA driver is visible here: the host needs one, and the container --gpus=all (Docker), "
            "--device=nvidia.com/gpu=all (Podman) or --nv (Apptainer)"
        )
    version, count = ctypes.c_int(), ctypes.c_int()
    error = driver.cuDriverGetVersion(ctypes.byref(version))
    major, minor = version.value // 1000, version.value % 1000 // 10
    if not error and major < _NEEDED:
        return f"the NVIDIA driver is of CUDA {major}.{minor}, not {_NEEDED}: install version 580 or later"
    error = error or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if error == _NO_DEVICE or (not error and count.value == 0):
        return "the NVIDIA driver shows no GPU: see --gpus, $NVIDIA_VISIBLE_DEVICES and $CUDA_VISIBLE_DEVICES"
    return f"the NVIDIA driver fails with error {error}: see what nvidia-smi says" if error else None


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as $CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name]
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return [] if failed else [str(index) for index in range(count.value)]


if __name__ == "__main__":
    if missing := missing_gpu():
        print(missing)
        sys.exit(1)
