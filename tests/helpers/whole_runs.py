"""Shared by tests of whole runs."""

import os
import signal
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


def pause_at_step(process, workdir, step, until):
    """Pauses a run after a step until a condition is true for the processes that serve it.

    step: of a second row or later; W&B starts after the first.

    The run stays paused: `process.send_signal(signal.SIGCONT)` resumes it.
    """
    wait_for_step(process, workdir, step)
    process.send_signal(signal.SIGSTOP)
    for _ in range(1200):
        if until():
            return
        time.sleep(0.05)
    raise AssertionError("the condition is not true after a minute")
