"""Lists runs: what they are, how they stand, and how good they came out.

    python scripts/runs.py runs/

Every folder below with a run.json is a line, the newest first, with the fields in which they differ. Exit
status: 0; 2 for a mistake in the command.
"""

import argparse
import datetime
import json
import pathlib
import sys
from collections import Counter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mnist_jax.cli import command_line
from mnist_jax.system.errors import UserError

STATUSES = ("running", "finished", "interrupted", "killed", "failed", "damaged")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=pathlib.Path, default=[pathlib.Path("runs")])
    parser.add_argument("--status", choices=STATUSES, help="those alone that are so")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, with every field")
    arguments = parser.parse_args()
    return command_line.run(lambda: list_runs(arguments))


def list_runs(arguments: argparse.Namespace) -> None:
    from mnist_jax.studies.listing import find_runs, read_run

    for folder in arguments.folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; name one that has runs in it or below it")
    runs = [read_run(workdir) for workdir in find_runs(arguments.folders)]
    runs = [run for run in runs if arguments.status in (None, run.status)]
    runs.sort(key=lambda run: run.started or "", reverse=True)
    if arguments.json:
        for run in runs:
            print(json.dumps({**run._asdict(), "workdir": str(run.workdir)}))
        return
    print_runs(runs)


def print_runs(runs) -> None:
    from mnist_jax.studies.listing import short_names, varying

    fields = varying([run.fields for run in runs if run.fields])
    names = dict(zip(fields, short_names(fields), strict=True))
    usual = {field: commonest([run.fields[field] for run in runs if field in run.fields]) for field in fields}
    rows = [("run", "status", "age", "accuracy", "macro F1", "commit", "differs in")]
    for run in runs:
        different = [
            f"{names[field]}={written(run.fields[field])}"
            for field in fields
            if field in run.fields and run.fields[field] != usual[field]
        ]
        scores = ["" if score is None else f"{score:.4f}" for score in (run.accuracy, run.macro_f1)]
        what = " ".join([*different, *([f"({run.note})"] if run.note else [])])
        rows.append((str(run.workdir), run.status, age(run.started), *scores, run.commit or "", what))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    counts = Counter(run.status for run in runs)
    told = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if counts[status])
    print(f"\n{len(runs):,} run{'s' if len(runs) != 1 else ''}" + (f": {told}" if told else ""))


def commonest(values: list) -> object:
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


if __name__ == "__main__":
    sys.exit(main())
