"""Shared by the programs that `scripts/benchmark throughput` compares: the data and the timing.

Each is a process that warms up and prints a line. Then, for each number of steps on its standard input, it
trains so many steps, and prints the images per second and its peak memory.
"""

import json
import pathlib
import re
import resource
import sys
import time
from collections.abc import Callable

import numpy as np


def examples(count: int = 60_000) -> tuple[np.ndarray, np.ndarray]:
    """Random uint8 images (N, 28, 28, 1) and int32 labels (N,); the content does not change the speed."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 28, 28, 1), np.uint8), rng.integers(0, 10, count, np.int32)


def serve(train: Callable[[int], None], batch_size: int) -> None:
    """Serves a program. train: takes a number of steps, and returns when they are done."""
    train(50)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        steps = int(line)
        started = time.perf_counter()
        train(steps)
        seconds = time.perf_counter() - started
        found = {"images_per_second": steps * batch_size / seconds, "peak_memory_bytes": peak_memory_bytes()}
        print(json.dumps(found), flush=True)


def peak_memory_bytes() -> int:
    """The peak host memory of this process."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux's getrusage starts from the memory of the parent when it forked.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return 1024 * int(peak)
