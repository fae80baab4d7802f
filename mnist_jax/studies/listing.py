"""Finds runs below a folder and reads their run.json for a list, thousands in a second."""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mnist_jax.config.fields import flatten
from mnist_jax.config.identity import identity
from mnist_jax.storage.record import read_record
from mnist_jax.storage.workdir import is_held
from mnist_jax.system.errors import UserError
from mnist_jax.system.names import FOLDERS


class ListedRun(NamedTuple):
    """A run in a list.

    Attributes:
        workdir: its folder.
        status: as in run.json, "killed", or "damaged".
        note: the reason of its status, or "".
        started: ISO 8601.
        data: name and version of the data set.
        commit: its first letters, with a star for uncommitted changes.
        accuracy, macro_f1, loss: on test.
        fields: of the config, by dotted name.
    """

    workdir: pathlib.Path
    status: str
    note: str
    started: str | None = None
    data: str | None = None
    commit: str | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    loss: float | None = None
    fields: Mapping[str, Any] = {}


def find_runs(folders: Iterable[pathlib.Path]) -> Iterator[pathlib.Path]:
    """The folders with a run.json among and below these, each once, in the order of names.

    A folder that cannot be read is left out.
    """
    seen: set[str] = set()
    for folder in folders:
        for path, below, files in os.walk(folder, followlinks=False):
            below[:] = sorted(name for name in below if name not in FOLDERS)
            if "run.json" in files and (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                yield pathlib.Path(path)


def read_run(workdir: pathlib.Path) -> ListedRun:
    """A run for a list; if its run.json cannot be read, it is "damaged"."""
    try:
        record = read_record(workdir)
    except UserError as error:
        return ListedRun(workdir, "damaged", str(error).removeprefix(f"{workdir}{os.sep}"))
    status = record["status"]
    if status == "running":
        with contextlib.suppress(OSError):  # then the status in run.json counts
            status = "running" if is_held(workdir) else "killed"
    test = (record.get("metrics") or {}).get("test", {})
    code = record["code"]
    return ListedRun(
        workdir,
        status,
        (record.get("exit_reason") or "") if status in ("failed", "interrupted") else "",
        record["started"],
        record["data"]["name"],
        code["commit"][:8] + ("*" if code["dirty"] else "") if code["commit"] else None,
        test.get("accuracy"),
        test.get("macro_f1"),
        test.get("loss"),
        dict(flatten(record["config"])),
    )


def varying(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The identifying fields that differ between configs, in their order; a field that some lack differs.

    Args:
        configs: fields by dotted name.
    """
    names = dict.fromkeys(name for config in configs for name in config)
    return [
        name
        for name in identity(names)
        if any(config.get(name) != configs[0].get(name) for config in configs[1:])
    ]


def short_names(fields: Sequence[str]) -> list[str]:
    """The fields without their groups, if they stay different."""
    last = [field.rsplit(".", 1)[-1] for field in fields]
    return [name if last.count(name) == 1 else field for name, field in zip(last, fields, strict=True)]
