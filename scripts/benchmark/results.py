"""The file of results: a JSON list with one entry for each command, machine and version of jaxlib."""

import json
import pathlib
import shlex
from typing import Any

from mnist_jax.system.errors import UserError

Entry = dict[str, Any]


def read(path: pathlib.Path) -> list[Entry]:
    """The entries of a file.

    Raises:
        UserError: It cannot be read.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be a file that --save wrote ({error})") from error
    if not isinstance(entries, list):
        raise UserError(
            f"{path} must be a list of results (got a {type(entries).__name__}); use another file"
        )
    return entries


def save(path: pathlib.Path, entry: Entry) -> None:
    """Adds an entry to a file, or replaces the one of the same command, machine and jaxlib."""
    entries = read(path) if path.exists() else []
    same = [index for index, earlier in enumerate(entries) if _identity(earlier) == _identity(entry)]
    if same:
        entries[same[0]] = entry
    else:
        entries.append(entry)
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def kind(entry: Entry) -> str:
    """What was measured, such as "accuracy"."""
    return shlex.split(entry["command"])[2]


def config_of(entry: Entry) -> tuple[str, list[str]]:
    """The name of the config, and the fields that the command changes, such as "train.epochs=1"."""
    words = shlex.split(entry["command"])
    files = [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    fields = [word.removeprefix("--config.") for word in words if word.startswith("--config.")]
    return pathlib.PurePath(files[-1] if files else "digits").stem, fields


def _identity(entry: Entry) -> tuple[object, ...]:
    machine = entry["machine"]
    accelerator = machine["accelerator"]
    return (
        entry["command"],
        machine["cpu"],
        machine["cores"],
        accelerator["kind"],
        accelerator["count"],
        machine["versions"].get("jaxlib"),
    )
