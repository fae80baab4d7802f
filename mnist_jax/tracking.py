"""Where a run's numbers go as it runs: metrics.jsonl, and the terminal."""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mnist_jax.plan import Plan

Row = dict[str, Any]


class Trackers:
    """All places where the numbers of one run go; a context manager."""

    def __init__(self, workdir: pathlib.Path, plan: Plan, step: int):
        """step: steps taken before, where the run goes on."""
        self._metrics_file, self._console = MetricsFile(workdir / "metrics.jsonl", step), Console(plan)
        self.say = self._console.say

    def __enter__(self) -> "Trackers":
        self._console.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._console.close()
        self._metrics_file.close()

    def log(self, row: Row | None) -> None:
        """Takes a row: `split` ("train", "validation" or "test"), `step`, `epoch` and numbers."""
        if row is not None:
            self._metrics_file.log(row)
            self._console.log(row)


class MetricsFile:
    """metrics.jsonl: a JSON object a line, each written by one system call, so that a kill cuts none."""

    def __init__(self, path: pathlib.Path, step: int):
        """Opens the file for a run that goes on after `step` steps; what comes later is written anew."""
        kept = [line for line in _whole_rows(path) if _is_before(json.loads(line), step)]
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(b"".join(kept))
        os.replace(partial, path)
        self._file = path.open("ab", buffering=0)

    def log(self, row: Row) -> None:
        finite = {key: None if _undefined(value) else value for key, value in row.items()}
        self._file.write(json.dumps(finite, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


def read_metrics(path: pathlib.Path) -> list[Row]:
    """The rows of a metrics.jsonl; a last line that a failing disk cut short is left out."""
    return [json.loads(line) for line in _whole_rows(path)]


def _is_before(row: Row, step: int) -> bool:
    return row["step"] <= step and row["split"] != "test"


def _whole_rows(path: pathlib.Path) -> list[bytes]:
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = []
    for line in lines:
        try:
            if line.endswith(b"\n") and "step" in json.loads(line):
                whole.append(line)
        except (ValueError, TypeError):
            continue
    return whole


class Console:
    """Progress on the terminal: a bar where there is one, else a plain line for each evaluation."""

    def __init__(self, plan: Plan):
        self._out = RichConsole(highlight=False, soft_wrap=True)
        self._total_epochs = plan.epoch(plan.total_steps)
        self._training: Row = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(compact=True),
            console=self._out,
            transient=True,
            disable=not self._out.is_terminal,
        )
        self._task = self._bar.add_task("first step", total=plan.total_steps)

    def start(self) -> None:
        self._bar.start()

    def close(self) -> None:
        self._bar.stop()

    def log(self, row: Row) -> None:
        if row["split"] == "train":
            self._training = row
            self._bar.update(
                self._task,
                completed=row["step"],
                description=f"epoch {self._epoch(row)}  {_scores(row)}{_speed(row)}",
            )
        elif row["split"] == "validation":
            trained = f"train {_scores(self._training)}  " if self._training else ""
            self.say(f"epoch {self._epoch(row)}  {trained}validation {_scores(row)}{_speed(self._training)}")

    def _epoch(self, row: Row) -> str:
        return f"{row['epoch']:.1f}/{self._total_epochs:.1f}"

    def say(self, text: str) -> None:
        """A line of text, above the bar where there is one."""
        self._out.print(text, markup=False)


def print_result(record: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """The test metrics of a finished run's run.json as a table, and where things are."""
    test = record["metrics"]["test"]
    table = Table(title=f"{record['data']['name']} {record['data']['splits']['test']['expression']}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, key in (
        ("accuracy", "accuracy"),
        ("macro precision", "macro_precision"),
        ("macro recall", "macro_recall"),
        ("macro F1", "macro_f1"),
        ("loss", "loss"),
        ("examples", "examples"),
    ):
        value = test[key]
        table.add_row(
            name, "undefined" if value is None else f"{value:,}" if key == "examples" else f"{value:.4f}"
        )
    out = RichConsole(highlight=False, soft_wrap=True)
    out.print(table)
    out.print(
        f"best step {record['best']['step']} of {record['steps']}, "
        f"{record['train_seconds']:.1f} s of training, {record['wall_seconds']:.1f} s in all, "
        f"{record['images_per_second']:,.0f} images/s\n"
        f"record {workdir / 'run.json'}, history {workdir / 'metrics.jsonl'}, "
        f"checkpoints {workdir / 'checkpoints'}",
        markup=False,
    )


def _scores(row: Row) -> str:
    return f"loss {row['loss']:.4f} accuracy {row['accuracy']:.4f}"


def _speed(row: Row) -> str:
    speed = row.get("images_per_second")
    return f"  {speed:,.0f} images/s" if speed else ""


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
