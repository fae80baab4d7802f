"""The folder of one run: whose it is, whether it may go on there, and that nobody else writes to it."""

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
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # of some network drives
_SECONDS = 1.0  # that a start tries, because `is_held` has the lock for a moment
_LINKS_OF_WANDB = ("latest-run", "debug.log", "debug-internal.log")  # which its client replaces


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the folder and holds it for this process; the lock ends with the process, however it ends.

    What a kill left half-written is removed. So are the lock and the folders made for it where nothing else
    was written, as by a command that is refused.

    Raises UserError: it cannot be written, has links where a run writes, or another run is in it.
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
            f"another run is at work in {workdir}; wait for it, or give another --workdir"
        ) from error
    except FileExistsError as error:
        raise UserError(f"--workdir={workdir} must be a folder (got a file); give another") from error
    except OSError as error:
        what = "cannot be locked" if error.errno in _NO_LOCKS else "cannot be written"
        raise UserError(f"--workdir={workdir} {what}: {error.strerror or error}; give another") from error
    try:
        yield
    finally:
        if unlocked:
            _remove_if_empty(workdir / "checkpoints")
            if os.listdir(workdir) == [_LOCK]:
                (workdir / _LOCK).unlink()
        lock.release()
        _remove_if_empty(*absent)


def _remove_if_empty(*folders: pathlib.Path) -> None:
    """Removes folders up to the first that has something in it."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def is_held(workdir: pathlib.Path) -> bool:
    """Whether a process is at work in a workdir; it never hinders one that is about to start there.

    Raises OSError: that cannot be found out.
    """
    try:
        descriptor = os.open(workdir / _LOCK, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # which others that ask can have, too
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _written(workdir: pathlib.Path) -> Iterator[pathlib.Path]:
    """What is in a workdir where a run writes, or a library for it."""
    for path in workdir.iterdir():
        if is_reserved(path.name):
            yield path
    for name in FOLDERS:
        for folder, below, files in os.walk(workdir / name):
            yield from (pathlib.Path(folder, one) for one in (*below, *files) if one not in _LINKS_OF_WANDB)
            # A log of W&B's has links of the client, which begins a new one in each process.
            below[:] = [one for one in below if not one.startswith("offline-run-")]


def previous_run(
    workdir: pathlib.Path, config: ml_collections.FrozenConfigDict, *, force: bool
) -> dict[str, Any] | None:
    """The run.json of a run of the same config in this folder; None in a new folder.

    force: goes on with another config where otherwise it would be refused.
    Raises UserError: the run there had another config, or its run.json cannot be read.
    """
    if not (workdir / "run.json").exists():
        return None
    record = read_record(workdir)
    if not force:
        require_same(record["config"], config.to_dict(), workdir)
    return record


def is_finished(record: dict[str, Any], config: ml_collections.FrozenConfigDict) -> bool:
    """Whether a run.json is of a run of this very config that came to its end."""
    return record["status"] == "finished" and not differences(record["config"], config.to_dict())


def check_not_past(step: int, total_steps: int, workdir: pathlib.Path) -> None:
    """Refuses to go on where more steps were taken than the config asks for.

    Raises UserError: so many were.
    """
    if step > total_steps:
        raise UserError(f"{workdir} is at step {step}, past the {total_steps} that the config asks for")


def check_same_data(record: dict[str, Any], dataset: Dataset, workdir: pathlib.Path) -> None:
    """Refuses to go on with other data than the run began with.

    Raises UserError: the fingerprints differ.
    """
    if record and record["data"]["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"{workdir} holds a run on other data: {record['data']['name']} with fingerprint "
            f"{record['data']['fingerprint'][:12]}, now {dataset.name} with {dataset.fingerprint[:12]}; "
            "give another --workdir or --resume=force"
        )


def check_finished_data(
    record: dict[str, Any], config: ml_collections.FrozenConfigDict, workdir: pathlib.Path
) -> None:
    """Refuses to answer for a folder or table of images with a finished run on what was in it before.

    Versions are compared first, then what is decoded, which is cached. Other sets do not change under
    their version.

    Raises:
        UserError: The images are no longer those of the run.
    """
    if config.data.name not in ("folder", "table"):
        return
    if "left_out" not in record["data"]:  # of a version with other orders
        return
    try:
        same = version_of(config.data) == record["data"].get("version")
        same = same and load(config.data).fingerprint == record["data"]["fingerprint"]
    except UserError as error:
        warn(f"the images of the finished run cannot be compared with those of today: {error}")
        return
    if not same:
        raise UserError(
            f"config.data.dir must hold the images of the finished run in {workdir} (got others in "
            f"{config.data.dir}); to train on these, give another --workdir"
        )
