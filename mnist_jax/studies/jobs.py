"""Training runs as parallel processes, each with its share of the cores and GPUs."""

import concurrent.futures
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections

from mnist_jax.storage.history import Row, read_metrics
from mnist_jax.storage.record import read_record
from mnist_jax.storage.workdir import check_finished_data, is_finished, is_held
from mnist_jax.system import gpu_check
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import make_folder, open_to_append
from mnist_jax.system.installation import child_environment

_TRAIN = ("-P", "-m", "mnist_jax", "train")  # without the current folder on the path
_NAME = "mnist-jax train: "  # the prefix of its errors
_POLL = 0.2  # seconds


class TaskOutcome(NamedTuple):
    """How a task ended.

    Attributes:
        status: finished, failed or stopped.
        reason: of a failure, in a line.
        record: the run.json of a finished task.
        seconds: that it took now; 0 if it was finished before.
    """

    status: str
    reason: str
    record: dict[str, Any] | None
    seconds: float


class Task:
    """A training run to start or resume in a workdir; its output goes to output.log."""

    def __init__(self, workdir: pathlib.Path, config: ml_collections.FrozenConfigDict, flags: Sequence[str]):
        """flags: the flags of `mnist-jax train` for this config."""
        self.workdir, self.config = workdir, config
        self._command = [sys.executable, *_TRAIN, *flags, f"--workdir={workdir}"]
        self._process: subprocess.Popen[bytes] | None = None
        self._stop: int | None = None
        self._changing = threading.Lock()

    def run(self, environment: dict[str, str]) -> TaskOutcome:
        """Runs it to its end, on the cores of the calling thread."""
        started = time.monotonic()
        try:
            make_folder(self.workdir)
            status = None
            while status is None or (
                status == 2 and is_held(self.workdir)
            ):  # another process can take the workdir
                self._wait_for_another()
                if record := self._finished():
                    check_finished_data(record, self.config, self.workdir)
                    return TaskOutcome("finished", "", record, 0.0)
                status = self._run(environment)
            record = self._finished() if status == 0 else None
        except (OSError, UserError) as error:
            return TaskOutcome("failed", str(error), None, time.monotonic() - started)
        seconds = time.monotonic() - started
        if record:
            return TaskOutcome("finished", "", record, seconds)
        if self._stop is not None:
            return TaskOutcome("stopped", "", None, seconds)
        return TaskOutcome("failed", self._reason(status), None, seconds)

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Asks it to save the step in flight and end, or not to begin."""
        with self._changing:
            self._stop = signum
            if self._process is not None:
                self._process.send_signal(signum)

    def rows(self) -> list[Row]:
        """The run's metrics.jsonl so far."""
        return read_metrics(self.workdir / "metrics.jsonl")

    def fraction(self) -> float:
        """The finished fraction of the run, from 0 to 1."""
        rows = [row for row in self.rows() if row["split"] != "test"]
        if not rows:
            return 0.0
        train = self.config.train
        return min(rows[-1]["step"] / train.steps if train.steps else rows[-1]["epoch"] / train.epochs, 1.0)

    def _wait_for_another(self) -> None:
        """Waits for a run that a killed sweep left running; it is resumed afterwards."""
        while self._stop is None and is_held(self.workdir):
            time.sleep(_POLL)

    def _run(self, environment: dict[str, str]) -> int:
        with open_to_append(self.workdir / "output.log") as log:
            with self._changing:
                if self._stop is not None:
                    return 128 + self._stop
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=child_environment({**os.environ, **environment}),
                    process_group=0,  # this process gets Ctrl-C and passes it on
                )
            return self._process.wait()

    def _finished(self) -> dict[str, Any] | None:
        """The record of the finished run of this config; None if there is none."""
        if not (self.workdir / "run.json").exists():
            return None
        record = read_record(self.workdir)
        return record if is_finished(record, self.config) else None

    def _reason(self, status: int) -> str:
        if status < 0:
            name = signal.Signals(-status).name
            return f"killed by {name}" + (", possibly out of memory" if name == "SIGKILL" else "")
        lines = (self.workdir / "output.log").read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), f"exit status {status}")
        return last.strip().removeprefix(_NAME)


class Slots:
    """Runs at most `jobs` tasks at a time; a context manager, which waits at its end for the running ones.

    All slots have the same number of cores, because the bits of a run depend on it. Each has a GPU, which it
    shares if there are fewer GPUs than slots.
    """

    def __init__(self, jobs: int):
        """Raises UserError: there are fewer cores than jobs."""
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if cores and jobs > len(cores):
            raise UserError(
                f"--jobs must be at most {len(cores)}, the number of cores of this process (got {jobs})"
            )
        each = len(cores) // jobs
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(jobs):
            self._free.put(slot)
        self._cores = [set(cores[slot * each :][:each]) for slot in range(jobs)]
        self._environments = [_gpu_environment(slot, jobs) for slot in range(jobs)]
        self._pool = concurrent.futures.ThreadPoolExecutor(jobs, initializer=self._take)
        self._mine = threading.local()

    def __enter__(self) -> "Slots":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, task: Task) -> "concurrent.futures.Future[TaskOutcome]":
        """Runs a task once a slot is free."""
        return self._pool.submit(lambda: task.run(self._environments[self._mine.slot]))

    def _take(self) -> None:
        self._mine.slot = self._free.get()
        if cores := self._cores[self._mine.slot]:
            os.sched_setaffinity(0, cores)  # for this thread and the processes that it starts


def _gpu_environment(slot: int, jobs: int) -> dict[str, str]:
    """The environment variables for the GPU of a slot and its share of memory."""
    gpus = gpu_check.visible_gpus()
    if jobs == 1 or not gpus:
        return {}
    sharing = -(-jobs // len(gpus))
    environment = {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]}
    return environment | ({"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / sharing:.2f}"} if sharing > 1 else {})
