"""What a measurement found: as an entry of the file of results, and as a table in a terminal."""

import datetime
import pathlib
import platform
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmark.measures import Timing
from benchmark.pages import caption
from benchmark.results import Entry
from rich.console import Console
from rich.table import Table

from mnist_jax.storage.git import GitError, find_checkout
from mnist_jax.storage.provenance import describe_environment, stamped_commit
from mnist_jax.system import cpu
from mnist_jax.system.installation import ROOT

_LIBRARIES = ("jax", "jaxlib", "flax", "torch", "keras", "tensorflow", "tensorflow_cpu")
_PAGES = ("docs/", "README.md")  # which measuring changes
# That decide which program is fastest, by their names in /proc/cpuinfo.
_INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX512_BF16", "amx_bf16": "AMX"}


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


def entry(measured: Measured, command: str, commit: str | None) -> Entry:
    """A measurement with how, where and when it was made, and whether any of its figures is noisy."""
    environment = describe_environment()
    accelerator, packages = environment["accelerator"], environment["packages"]
    return {
        "command": command,
        "commit": commit,
        **measured.figures,
        "noisy": any(_noises(measured.figures)),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "cpu": environment["cpu"] + instructions(pathlib.Path("/proc/cpuinfo")),
            "cores": environment["cores"],
            "accelerator": accelerator,
            "python": platform.python_version(),
            "versions": {name: packages[name] for name in _LIBRARIES if name in packages},
        },
        "table": [list(measured.header), *map(list, measured.rows)],
    }


def show(title: str, found: Entry) -> None:
    """Prints an entry as a table."""
    header, *rows = found["table"]
    table = Table(title=title, caption=caption(found))
    for column, heading in enumerate(header):
        table.add_column(heading, justify="right" if column else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def commit() -> str | None:
    """The short hash of this checkout's commit, or the stamp of a build without a checkout; None: unknown.

    It ends in "-dirty" if the code differs; pages and results may.
    """
    try:
        checkout = find_checkout(ROOT)
        if not checkout:
            return stamped_commit() or None
        with checkout.fresh_index() as index:
            dirty = any(not change.name.startswith(_PAGES) for change in checkout.changes(index))
        return checkout.commit()[:7] + ("-dirty" if dirty else "")
    except GitError:
        return None


def instructions(cpuinfo: pathlib.Path) -> str:
    """Such as " (AVX2, AVX-512)"; "" if the file has none or cannot be read."""
    flags = cpu.flags(cpuinfo)
    found = [name for flag, name in _INSTRUCTIONS.items() if flag in flags]
    return f" ({', '.join(found)})" if found else ""


def _noises(tree: Any) -> Iterator[bool]:
    if isinstance(tree, dict):
        yield tree.get("noisy") is True
        for one in tree.values():
            yield from _noises(one)
