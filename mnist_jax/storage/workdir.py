"""The folder of one run: its lock, and whether a run may start or resume there."""

import contextlib
import errno
import fcntl
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import filelock
import ml_collections

from mnist_jax.config.identity import differences, require_same
from mnist_jax.data import Dataset, load, version_of
from mnist_jax.storage.record import read_record
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import PARTIAL, require_no_link
from mnist_jax.system.names import FOLDERS, is_reserved
from mnist_jax.system.terminal import warn

_LOCK = ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # on some network drives
_SECONDS = 1.0  # to get the lock, which `is_held` may have for a moment
_LINKS_OF_WANDB = ("latest-run", "debug.log", "debug-internal.log")  # W&B's client replaces them


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Creates the folder and locks it until the process ends, or is killed.

    Removes half-written files of a killed process. A command that is refused before it writes anything leaves
    neither the lock nor the folders made for it.

    Raises:
      UserError: the folder cannot be written, has links where a run writes, or another run is using it.
    """
    absent = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    unlocked = not (workdir / _LOCK).exists()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        for path in _written(workdir):
            require_no_link(path)
        lock = filelock.FileLock(workdir / _LOCK)
        lock.acquire(timeout=_SECONDS, poll_interval=_SECONDS / 50)
        for left in workdir.glob(PARTIAL):
            left.unlink()
    except filelock.Timeout as error:
        raise UserError(
            f"--workdir={workdir} is in use by another run; wait for it, or give another --workdir"
        ) from error
    except FileExistsError as error:
        raise UserError(f"--workdir={workdir} must be a folder (got a file); give another") from error
    except OSError as error:
        what = "cannot be locked" if error.errno in _NO_LOCKS else "cannot be written"
        raise UserError(
            f"--workdir={workdir} {what}: {error.strerror or error}; give another --workdir"
        ) from error
    refused = True
    try:
        yield
        refused = False
    finally:
        if refused and unlocked:
            _remove_if_empty(workdir / "checkpoints")
            with contextlib.suppress(OSError):
                if os.listdir(workdir) == [_LOCK]:
                    (workdir / _LOCK).unlink()
        lock.release()
        if refused:
            _remove_if_empty(*absent)


def _remove_if_empty(*folders: pathlib.Path) -> None:
    """Removes folders up to the first that has something in it."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def is_held(workdir: pathlib.Path) -> bool:
    """Whether a process is using a workdir; the check does not keep another from starting there.

    Raises:
      OSError: the lock cannot be read.
    """
    try:
        descriptor = os.open(workdir / _LOCK, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared with others that check
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _written(workdir: pathlib.Path) -> Iterator[pathlib.Path]:
    """The existing paths in a workdir that a run, or a library for it, writes to."""
    for path in workdir.iterdir():
        if is_reserved(path.name):
            yield path
    for name in FOLDERS:
        for folder, below, files in os.walk(workdir / name):
            yield from (pathlib.Path(folder, one) for one in (*below, *files) if one not in _LINKS_OF_WANDB)
            # W&B's logs have links of the client; each process begins a new log.
            below[:] = [one for one in below if not one.startswith("offline-run-")]


def previous_run(
    workdir: pathlib.Path, config: ml_collections.FrozenConfigDict, *, force: bool
) -> dict[str, Any] | None:
    """The run.json of an earlier run of the same config in this folder; None if there is none.

    Args:
      workdir: the folder.
      config: of the new run.
      force: accept another config.

    Raises:
      UserError: the earlier run has another config, or its run.json cannot be read.
    """
    if not (workdir / "run.json").exists():
        return None
    record = read_record(workdir)
    if not force:
        require_same(record["config"], config.to_dict(), workdir)
    return record


def is_finished(record: dict[str, Any], config: ml_collections.FrozenConfigDict) -> bool:
    """Whether a run.json is of a finished run of exactly this config."""
    return record["status"] == "finished" and not differences(record["config"], config.to_dict())


def check_not_past(step: int, total_steps: int, workdir: pathlib.Path) -> None:
    """Raises UserError if the run has taken more steps than the config asks for."""
    if step > total_steps:
        raise UserError(
            f"the steps of the config must be at least those of the run in {workdir}, {step} (got "
            f"{total_steps}); raise config.train.epochs or config.train.steps, or give another --workdir"
        )


def check_same_data(record: dict[str, Any], dataset: Dataset, workdir: pathlib.Path) -> None:
    """Raises UserError if the data set has another fingerprint than that of the run's start."""
    if record and record["data"]["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"the data must be those of the run in {workdir}, {record['data']['name']} with fingerprint "
            f"{record['data']['fingerprint'][:12]} (got {dataset.name} with {dataset.fingerprint[:12]}); "
            "give another --workdir, or --resume=force"
        )


def check_finished_data(
    record: dict[str, Any], config: ml_collections.FrozenConfigDict, workdir: pathlib.Path
) -> None:
    """Raises UserError if a folder or table has other images than the finished run was trained on.

    Versions are compared first, and then the decoded images, which are cached. Other data sets cannot change
    without another version.
    """
    if config.data.name not in ("folder", "table"):
        return
    if "left_out" not in record["data"]:  # written by a version that ordered files otherwise
        return
    try:
        same = version_of(config.data) == record["data"].get("version")
        same = same and load(config.data).fingerprint == record["data"]["fingerprint"]
    except UserError as error:
        warn(f"the current images cannot be compared with those of the finished run: {error}")
        return
    if not same:
        raise UserError(
            f"config.data.dir must hold the images of the finished run in {workdir} (got others in "
            f"{config.data.dir}); to train on these, give another --workdir"
        )
