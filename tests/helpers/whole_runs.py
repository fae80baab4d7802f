"""What tests of whole runs share."""

import os
import time

from mnist_jax.storage.history import read_metrics


def with_devices(count):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {**os.environ, "XLA_FLAGS": flags.strip()}


def wait_for_step(process, workdir, step):
    """Waits until the history of a run has passed a step."""
    while process.poll() is None:
        rows = read_metrics(workdir / "metrics.jsonl")
        if rows and rows[-1]["step"] >= step:
            return
        time.sleep(0.005)
    raise AssertionError(f"the run ended with status {process.returncode} before step {step}")
