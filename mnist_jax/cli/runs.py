"""Lists runs with status, age and results.

    mnist-jax runs runs/

Each folder below with a run.json is a line, the newest first, with the fields in which they differ.
Exit status: 0 done; 1 standard output cannot be written; 2 an error in the command.
"""

import datetime
import json
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mnist_jax.cli.parsing import Options, Parser, one_of, path
from mnist_jax.system.errors import UserError
from mnist_jax.system.output import printable, require_output

STATUSES = ("running", "finished", "interrupted", "killed", "failed", "damaged")


def add_flags(parser: Parser) -> None:
    parser.add_argument(
        "folders",
        nargs="*",
        type=path,
        default=[pathlib.Path("runs")],
        metavar="FOLDER",
        help="with runs in it or below it; default: runs",
    )
    parser.add_argument(
        "--status", type=one_of(*STATUSES), metavar="STATUS", help=f"only these runs: {', '.join(STATUSES)}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line, with every field")


def run(options: Options) -> None:
    from mnist_jax.studies.listing import find_runs, read_run

    require_output()
    for folder in options.folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; name one that has runs in it or below it")
    runs = [read_run(workdir) for workdir in find_runs(options.folders)]
    runs = [run for run in runs if options.status in (None, run.status)]
    runs.sort(key=lambda run: run.started or "", reverse=True)
    if options.json:
        for run in runs:
            print(json.dumps({**run._asdict(), "workdir": str(run.workdir)}))
        return
    print_runs(runs)


def print_runs(runs: Sequence[Any]) -> None:
    from mnist_jax.studies.listing import short_names, varying

    fields = varying([run.fields for run in runs if run.fields])
    names = dict(zip(fields, short_names(fields), strict=True))
    usual = {field: commonest([run.fields[field] for run in runs if field in run.fields]) for field in fields}
    table = [("run", "status", "age", "accuracy", "macro F1", "commit", "differs in")]
    for run in runs:
        different = [
            f"{names[field]}={written(run.fields[field])}"
            for field in fields
            if field in run.fields and run.fields[field] != usual[field]
        ]
        scores = ["" if score is None else f"{score:.4f}" for score in (run.accuracy, run.macro_f1)]
        what = " ".join([*different, *([f"({run.note})"] if run.note else [])])
        table.append((str(run.workdir), run.status, age(run.started), *scores, run.commit or "", what))
    rows = [[printable(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    counts = Counter(run.status for run in runs)
    told = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if counts[status])
    print(f"\n{len(runs):,} run{'s' if len(runs) != 1 else ''}" + (f": {told}" if told else ""))


def commonest(values: list[object]) -> object:
    """The value that most have, of equals the first."""
    by_text = {repr(value): value for value in values}
    return by_text[Counter(map(repr, values)).most_common(1)[0][0]]


def written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def age(started: str | None) -> str:
    """How long ago, in the unit that fits."""
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
