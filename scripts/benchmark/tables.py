"""What a measurement found: for a terminal, in one JSON file, and as the Markdown tables of the docs."""

import datetime
import json
import pathlib
import platform
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmark.measures import Timing
from rich.console import Console
from rich.table import Table

from mnist_jax.storage.provenance import describe_environment
from mnist_jax.system.errors import UserError

_LIBRARIES = ("jax", "jaxlib", "flax", "torch", "keras", "tensorflow", "tensorflow_cpu")


class Measured(NamedTuple):
    """figures: to be JSON. header, rows: the same as a table; the first column names the row."""

    figures: dict[str, Any]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def as_json(found: dict[str, Timing]) -> dict[str, dict[str, Any]]:
    return {name: {**one._asdict(), "noisy": one.noisy} for name, one in found.items()}


def shown(timing: Timing, form: str) -> tuple[str, str]:
    """The median and the range, as text."""
    noise = ", noisy" if timing.noisy else ""
    return form.format(timing.median), f"{form.format(timing.low)} to {form.format(timing.high)}{noise}"


def entry(measured: Measured) -> dict[str, Any]:
    """A measurement with where and when it was made, and whether any of its figures is noisy."""
    environment = describe_environment()
    accelerator, packages = environment["accelerator"], environment["packages"]
    return {
        **measured.figures,
        "noisy": any(_noises(measured.figures)),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "cpu": environment["cpu"],
            "cores": environment["cores"],
            "accelerator": accelerator,
            "python": platform.python_version(),
            "versions": {name: packages[name] for name in _LIBRARIES if name in packages},
        },
        "table": [list(measured.header), *map(list, measured.rows)],
    }


def show(title: str, found: dict[str, Any]) -> None:
    """Prints an entry as a table."""
    header, *rows = found["table"]
    table = Table(title=title, caption=_caption(found))
    for column, heading in enumerate(header):
        table.add_column(heading, justify="right" if column else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def save(path: pathlib.Path, command: str, found: dict[str, Any]) -> None:
    """Adds an entry to a file of entries by command; an earlier one of the same command is replaced."""
    entries = read(path) if path.exists() else {}
    path.write_text(json.dumps({**entries, command: found}, indent=1) + "\n")


def read(path: pathlib.Path) -> dict[str, Any]:
    """The entries of a file, by command.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be a file that --save wrote ({error})") from error


def markdown(entries: dict[str, Any]) -> str:
    """The entries as Markdown: for each its command, a table, and machine and versions."""
    return "\n\n".join(_section(command, found) for command, found in entries.items()) + "\n"


def _section(command: str, found: dict[str, Any]) -> str:
    header, *rows = found["table"]
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
    return f"`{command}`\n\n{table}\n\n{_caption(found)}."


def _caption(found: dict[str, Any]) -> str:
    machine = found["machine"]
    accelerator = machine["accelerator"]
    parts = [f"{machine['cpu']} with {machine['cores']} cores"]
    if accelerator["platform"] != "cpu":
        parts.append(f"{accelerator['count']} x {accelerator['kind']}")
    parts += [f"Python {machine['python']}", *(f"{name} {one}" for name, one in machine["versions"].items())]
    return f"{', '.join(parts)}; {found['date']}" + ("; noisy" if found["noisy"] else "")


def _noises(tree: Any) -> Iterator[bool]:
    if isinstance(tree, dict):
        yield tree.get("noisy") is True
        for one in tree.values():
            yield from _noises(one)
