"""What the programs compared by `scripts/benchmark throughput` share: the data, and how they are timed.

Each is a process that warms up, prints a line, and then, for each line with a number of steps on its standard
input, trains so many and prints the images it took a second and the most memory it held.
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
    """Random uint8 images (N, 28, 28, 1) and int32 labels (N,): what they show does not change the speed."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 28, 28, 1), np.uint8), rng.integers(0, 10, count, np.int32)


def serve(train: Callable[[int], None], batch_size: int) -> None:
    """train: takes steps and returns when they are done."""
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
    """The most memory of the host that this process held."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux's getrusage starts from what the parent held when it forked.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return 1024 * int(peak)
