"""The folder of one run: whose it is, whether it may go on there, and that nobody else writes to it."""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import filelock
import ml_collections

from mnist_jax import SCHEMA
from mnist_jax.config import completed, differences, require_same
from mnist_jax.data import Dataset
from mnist_jax.errors import UserError
from mnist_jax.files import seal_broken
from mnist_jax.plan import Plan

# Of run.json, there from its first writing on, and what each is.
_KEYS = {
    "status": str,
    "started": str,
    "processes": list,
    "config": dict,
    "code": dict,
    "data": dict,
    "environment": dict,
}
_RESULT_KEYS = {"metrics": dict, "best": dict, "params_sha256": str, "steps": int}  # of a finished run


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the folder and holds it for this process; the lock ends with the process, however it ends.

    Raises UserError: it cannot be written, or another run is in it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(workdir / ".lock")
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise UserError(
            f"another run is at work in {workdir}; wait for it, or give another --workdir"
        ) from error
    except OSError as error:
        raise UserError(
            f"--workdir={workdir} cannot be written: {error.strerror or error}; give another"
        ) from error
    try:
        yield
    finally:
        lock.release()


def read_record(workdir: pathlib.Path) -> dict[str, Any]:
    """The run.json of a workdir.

    Raises UserError: there is none, it cannot be read, is damaged or of another version.
    """
    path = workdir / "run.json"
    try:
        content = path.read_bytes()
        record = json.loads(content)
        if record["schema"] != SCHEMA:
            raise UserError(
                f"{path} was written by another version (schema {record['schema']}, not {SCHEMA})"
            )
        keys = _KEYS | (_RESULT_KEYS if record.get("status") == "finished" else {})
        if not all(isinstance(record.get(key), kind) for key, kind in keys.items()):
            raise ValueError("a key is missing, or is not what it should be")
        if not isinstance(record["data"].get("fingerprint"), str):
            raise ValueError("the data has no fingerprint")
        if seal_broken(content):
            raise UserError(
                f"{path} was changed since it was written, by a failing disk or by hand; restore it, or "
                "remove it and start the run again, which goes on from its checkpoints"
            )
        return {**record, "config": completed(record["config"])}
    except FileNotFoundError as error:
        raise UserError(f"{workdir} holds no run: there is no {path}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged; remove it, or give another --workdir") from error


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


def check_not_past(step: int, plan: Plan, workdir: pathlib.Path) -> None:
    """Refuses to go on where more steps were taken than the config asks for.

    Raises UserError: so many were.
    """
    if step > plan.total_steps:
        raise UserError(f"{workdir} is at step {step}, past the {plan.total_steps} that the config asks for")


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
