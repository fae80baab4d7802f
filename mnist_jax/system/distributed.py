"""Several processes that train one model together: how they find each other, and which of them tells.

Each does the same; process 0 alone holds the workdir, and what the others would tell or write, but for
checkpoints, goes nowhere. https://docs.jax.dev/en/latest/multi_process.html
"""

# JAX is imported where it is needed, so that a command without others starts as fast as without this module.

import contextlib
import ctypes
import importlib.util
import os
import pathlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

from mnist_jax.system import output
from mnist_jax.system.errors import PeerLost, UserError

_SILENT_SECONDS = 60  # after which a process that does not answer is taken for dead
_COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")  # of processes, as launchers tell it
_SIGNS_OF_LOSS = ("Gloo", "NCCL", "UNAVAILABLE", "ABORTED", "coordination service")
_HOSTS = "TPU_WORKER_HOSTNAMES"  # on Cloud TPU and GKE, with a comma between


_ABORT = b"JAX distributed service detected fatal errors"  # in what its client prints
_GRACE_SECONDS = 3  # in which the program may have met the loss itself, and records it

_count, _index = 1, 0


def start(
    coordinator: str | None, num_processes: int | None, process_id: int | None, *, program: str
) -> None:
    """Joins the other processes of the job, where there are any; call it before any computation.

    Without arguments, Slurm, Open MPI and GKE are asked, and on a TPU its cloud; a process of its own is left
    alone.

    program: whose name is before the line of a process that loses another.
    Raises UserError: some but not all of the arguments. PeerLost: the others cannot be reached.
    """
    given = (coordinator, num_processes, process_id)
    if any(one is not None for one in given) and any(one is None for one in given):
        raise UserError("--coordinator, --num_processes and --process_id belong together; give all, or none")
    expected = coordinator is not None or _launched_with_others()
    if not expected and not _has_tpu():
        return
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # `Interrupts` listens
    _abort_in_one_line(program)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=_SILENT_SECONDS,
            shutdown_timeout_seconds=_SILENT_SECONDS,
        )
    except (RuntimeError, ValueError, OSError) as error:
        if not expected and not isinstance(error, RuntimeError):
            return  # a TPU of one host, in Colab say, where no cloud tells JAX of others
        text = " ".join(str(error).split())
        raise PeerLost(f"the other processes of this job cannot be reached: {text}") from error
    global _count, _index
    _count, _index = jax.process_count(), jax.process_index()
    if not is_first():
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def is_first() -> bool:
    """Whether this process is the one that tells and writes."""
    return _index == 0


def count() -> int:
    """How many processes there are."""
    return _count


@contextlib.contextmanager
def own_workdir(workdir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where this process writes: the workdir for the first, for the others a folder that goes away."""
    if is_first():
        yield workdir
        return
    with tempfile.TemporaryDirectory() as folder:
        yield pathlib.Path(folder)


def of_all(value: int) -> list[int]:
    """What each process has; all have to ask."""
    if count() == 1:
        return [value]
    import numpy as np
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.int32(value)).tolist()


def require_together(workdir: pathlib.Path, step: int) -> None:
    """Waits for all processes to be here.

    Raises UserError: they do not see the same workdir, or are at different steps.
    """
    steps, seen = of_all(step), of_all((workdir / ".lock").exists())
    if count() > 1 and (len(set(steps)) > 1 or not all(seen)):
        raise UserError(f"--workdir={workdir} has to be on a file system that all processes of the job share")


@contextlib.contextmanager
def told_of_losses() -> Iterator[None]:
    """Raises PeerLost in place of what JAX raises in the midst of things when another process is gone."""
    import jax

    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # JAX takes either
        if count() == 1 or not any(sign in str(error) for sign in _SIGNS_OF_LOSS):
            raise
        raise PeerLost(_loss()) from error


def _loss() -> str:
    if count() == 1:  # they have not met
        return "the other processes of this job cannot be reached; start all, with the same --coordinator"
    return (
        f"process {_index} of {count()}: another process of this job ended or cannot be reached; start the "
        "job again, and it goes on from its last checkpoint"
    )


def _abort_in_one_line(program: str) -> None:
    """Where JAX's client takes another process for dead, this process ends with one line and status 1.

    The client prints a C++ stack and aborts, in a thread of its own; its callback for Python fails on its
    argument in jaxlib 0.10. So what C++ prints goes through a pipe, whose reader ends the process, while the
    signal's handler, `sleep`, holds the abort for as many seconds as the number of SIGABRT, 6.
    """
    own = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    sys.stderr = output.stream(own, sys.stderr)  # type: ignore[arg-type]  # it is Python's own
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))
    threading.Thread(target=_pass_on, args=(reading, own, program), daemon=True).start()


def _pass_on(reading: int, own: int, program: str) -> None:
    while printed := os.read(reading, 1 << 16):
        if _ABORT in printed:
            time.sleep(_GRACE_SECONDS)
            print(f"{program}: {_loss()}", file=sys.stderr, flush=True)
            os._exit(1)
        with contextlib.suppress(OSError):
            os.write(own, printed)


def _has_tpu() -> bool:
    """Whether this host has TPU chips that JAX can use; of a slice of several hosts the cloud alone knows."""
    chips = (*pathlib.Path("/dev").glob("accel[0-9]*"), *pathlib.Path("/dev/vfio").glob("[0-9]*"))
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def _launched_with_others() -> bool:
    counts = [int(os.environ[name]) for name in _COUNTS if os.environ.get(name, "").isdigit()]
    return max([1, *counts, len(os.environ.get(_HOSTS, "").split(","))]) > 1
