"""The folder of one run: whose it is, whether it may go on there, and that nobody else writes to it."""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import filelock
import ml_collections
import msgspec

from mnist_jax import SCHEMA
from mnist_jax.config.fields import completed, differences, require_same
from mnist_jax.data import Dataset
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import read_regular, seal_broken


class _Code(msgspec.Struct):
    commit: str | None
    dirty: bool | None
    patch_sha256: str | None = None


class _Split(msgspec.Struct):
    expression: str
    examples: int
    class_counts: list[int]


class _Data(msgspec.Struct):
    name: str
    fingerprint: str
    classes: list[str]
    image_shape: list[int]
    splits: dict[str, _Split]


class _Environment(msgspec.Struct):
    python: str
    os: str
    cpu: str
    cores: int | None
    memory_bytes: int
    accelerator: dict[str, Any]
    packages: dict[str, str]


class _Process(msgspec.Struct):
    started: str
    from_step: int
    code: dict[str, Any]
    accelerator: dict[str, Any]
    packages_sha256: str


class _Record(msgspec.Struct):
    """Of run.json what programs read and is there from its first writing on; what else it has is let be."""

    status: str
    started: str
    command: list[str]
    config: dict[str, Any]
    code: _Code
    data: _Data
    environment: _Environment
    processes: list[_Process]
    parameters: int


class _Metrics(msgspec.Struct):
    test: dict[str, Any]
    validation: dict[str, Any]


class _Finished(_Record):
    metrics: _Metrics
    best: dict[str, Any]
    params_sha256: str
    steps: int


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
        content = read_regular(path)
        record = json.loads(content)
        if record["schema"] != SCHEMA:
            raise UserError(
                f"{path} was written by another version (schema {record['schema']}, not {SCHEMA})"
            )
        msgspec.convert(record, _Finished if record.get("status") == "finished" else _Record)
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
    except msgspec.ValidationError as error:
        raise UserError(f"{path} is damaged ({error}); remove it, or give another --workdir") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
