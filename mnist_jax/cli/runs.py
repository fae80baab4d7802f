"""Lists runs with status, age and results.

    mnist-jax runs runs/

Each folder with a run.json is a line, the newest first, with the fields in which it differs from most runs of
the same data set. The table has the width of the terminal; --json prints everything.
Exit status: 0 done; 1 standard output cannot be written; 2 an error in the command.
"""

import datetime
import json
import pathlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mnist_jax.cli.parsing import Options, Parser, one_of, path
from mnist_jax.system.errors import UserError
from mnist_jax.system.output import printable, require_output

_LONG = 20  # characters of a folder that is not repeated in each line
_ROOM = 24  # characters of the last column, for which others are left out
# Of the config, in the order in which differences are shown.
_GROUPS = ("model", "optimizer", "schedule", "train", "augment", "population", "", "data")
STATUSES = ("running", "finished", "interrupted", "killed", "failed", "damaged")


def add_flags(parser: Parser) -> None:
    parser.add_argument(
        "folders",
        nargs="*",
        type=path,
        default=[pathlib.Path("runs")],
        metavar="FOLDER",
        help="a folder with runs in it or below it; default: runs",
    )
    parser.add_argument(
        "--status",
        type=one_of(*STATUSES),
        metavar="STATUS",
        help=f"list only these runs: {', '.join(STATUSES)}",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object per line, with every field")


def run(options: Options) -> None:
    from mnist_jax.studies.listing import find_runs, read_run

    require_output()
    for folder in options.folders:
        if not folder.is_dir():
            raise UserError(f"{folder} must be a folder with runs in it or below it; name another")
    runs = [read_run(workdir) for workdir in find_runs(options.folders)]
    runs = [run for run in runs if options.status in (None, run.status)]
    runs.sort(key=lambda run: run.started or "", reverse=True)
    if options.json:
        for run in runs:
            print(json.dumps({**run._asdict(), "workdir": str(run.workdir)}))
        return
    folder = options.folders[0] if len(options.folders) == 1 else None
    print_runs(runs, folder if folder and len(str(folder)) > _LONG else None)


def print_runs(runs: Sequence[Any], folder: pathlib.Path | None) -> None:
    """Prints a table of runs in the width of the terminal, without the columns that have no room.

    Args:
        runs: of `read_run`.
        folder: to which their names are relative; None for none.
    """
    width, differing = shutil.get_terminal_size().columns, differences_of(runs)
    columns = {
        "run": [name_of(run.workdir, folder, width // 3) for run in runs],
        "data": [run.data or "" for run in runs],
        "status": [run.status for run in runs],
        "age": [age(run.started) for run in runs],
        "accuracy": ["" if run.accuracy is None else f"{run.accuracy:.4f}" for run in runs],
        "macro F1": ["" if run.macro_f1 is None else f"{run.macro_f1:.4f}" for run in runs],
        "commit": [run.commit or "" for run in runs],
    }
    table = {name: [printable(cell) for cell in (name, *cells)] for name, cells in columns.items()}
    room = min(_ROOM, max((len(" ".join(texts)) for texts in differing), default=0))
    for name in ("commit", "macro F1", "age"):
        if width_of(table) + room > width:
            del table[name]
    left = max(width - width_of(table), _ROOM // 2)
    table["differs in"] = ["differs in" * any(differing), *(fitting(texts, left) for texts in differing)]
    widths = [max(map(len, column)) for column in table.values()]
    for row in zip(*table.values(), strict=True):
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    counts = Counter(run.status for run in runs)
    by_status = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if counts[status])
    where = f" in {printable(str(folder))}" if folder else ""
    print(
        f"\n{len(runs):,} run{'s' if len(runs) != 1 else ''}{where}" + (f": {by_status}" if by_status else "")
    )


def name_of(workdir: pathlib.Path, folder: pathlib.Path | None, most: int) -> str:
    """The path of a run, its end if it is long."""
    name = str(workdir.relative_to(folder)) if folder and folder in workdir.parents else str(workdir)
    return name if len(name) <= most else f"...{name[3 - most :]}"


def width_of(table: Mapping[str, Sequence[str]]) -> int:
    """The characters of a line, with two spaces after each column."""
    return sum(max(map(len, column)) + 2 for column in table.values())


def differences_of(runs: Sequence[Any]) -> list[list[str]]:
    """How each run differs from most runs of its data set: a note, then fields by importance."""
    from mnist_jax.studies.listing import short_names, varying

    found = []
    for run in runs:
        configs = [other.fields for other in runs if other.fields and other.data == run.data]
        fields = sorted(varying(configs), key=importance)
        usual = {field: commonest([one[field] for one in configs if field in one]) for field in fields}
        texts = [
            f"{name}={written(run.fields[field])}"
            for field, name in zip(fields, short_names(fields), strict=True)
            if field in run.fields and run.fields[field] != usual[field]
        ]
        found.append([*([f"({run.note})"] if run.note else []), *texts])
    return found


def importance(field: str) -> int:
    group = field.rpartition(".")[0]
    return _GROUPS.index(group) if group in _GROUPS else len(_GROUPS)


def fitting(texts: Sequence[str], width: int) -> str:
    """As many texts as fit, and the number of the others."""
    for count in range(len(texts), 0, -1):
        more = f" +{len(texts) - count}" if count < len(texts) else ""
        if len(line := printable(" ".join(texts[:count])) + more) <= width:
            return line
    return printable(texts[0])[: width - 3] + "..." if texts else ""


def commonest(values: list[object]) -> object:
    """The most frequent value; ties go to the first."""
    by_text = {repr(value): value for value in values}
    return by_text[Counter(map(repr, values)).most_common(1)[0][0]]


def written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def age(started: str | None) -> str:
    """The time since `started`, in the largest fitting unit."""
    if started is None:
        return ""
    try:
        seconds = (
            datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(started)
        ).total_seconds()
    except (ValueError, TypeError):
        return "unknown"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
