"""Progress and results of a run on the terminal, in lines of at most 80 characters."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from mnist_jax.reporting.time_left import TimeLeft, duration
from mnist_jax.storage.history import Row
from mnist_jax.system.terminal import Terminal, TextTable, tell, warn
from mnist_jax.training.plan import Plan

_WIDE = 100  # columns of a terminal whose bar has room for the speed
_COLUMNS = ("epoch", "step", "train loss", "accuracy", "validation loss", "accuracy", "images/s")
_WIDTHS = (6, 7, 10, 8, 15, 8, 9)


class Console:
    """A line for each evaluation, under one line of column names; on a terminal also a bar."""

    def __init__(self, plan: Plan, images_per_step: int):
        """Makes the bar.

        Args:
            plan: of the run.
            images_per_step: of all models.
        """
        self._out, self._plan = Terminal(), plan
        self._left, self._epochs = TimeLeft(plan, images_per_step), f"{plan.epoch(plan.total_steps):.1f}"
        self._training: list[Row] = []  # rows since the last evaluation
        self._named = False  # whether the column names are printed
        self._bar = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=None),
            TextColumn("{task.description}"),
            _TimeLeftColumn(self._left),
            console=self._out,
            transient=True,
            expand=True,
            disable=not self._out.is_terminal,
        )
        self._task = self._bar.add_task(self._padded("compiling the first step"), total=plan.total_steps)

    def start(self) -> None:
        self._bar.start()

    def close(self) -> None:
        self._bar.stop()

    def log(self, row: Row) -> None:
        self._left.log(row)
        if row["split"] == "train":
            self._training.append(row)
            self._bar.update(self._task, completed=row["step"], description=self._description(row))
        elif row["split"] == "validation":
            self._print(row, _average(self._training))
            self._training = []
            if row["step"] == self._plan.total_steps:
                self._bar.update(self._task, description=self._padded("evaluating on the test split"))

    def say(self, text: str) -> None:
        """Prints a line of text, above the bar if there is one."""
        self._out.say(text)

    def _print(self, row: Row, trained: Row) -> None:
        if not self._named:
            self._named = True
            self.say(_aligned(_COLUMNS))
        cells = (
            f"{row['epoch']:.1f}",
            str(row["step"]),
            *(decimal(trained[key]) if trained else "" for key in ("loss", "accuracy")),
            *(decimal(row[key]) for key in ("loss", "accuracy")),
            f"{speed:,.0f}" if (speed := trained.get("images_per_second")) else "",
        )
        self.say(_aligned(cells))

    def _description(self, row: Row) -> str:
        text = f"epoch {row['epoch']:{len(self._epochs)}.1f}/{self._epochs}"
        text += f"  loss {decimal(row['loss']):7}  accuracy {row['accuracy']:.4f}"
        return self._padded(text + (f"{_speed(row):>20}" if self._out.width >= _WIDE else ""))

    def _padded(self, text: str) -> str:
        """One width for all that stands beside the bar, so that the bar keeps its own."""
        return text.ljust(2 * len(self._epochs) + (58 if self._out.width >= _WIDE else 38))


class _TimeLeftColumn(ProgressColumn):
    """The remaining time, which passes between two updates too."""

    def __init__(self, left: TimeLeft):
        super().__init__()
        self._left = left

    def render(self, task: Task) -> Text:
        seconds = None if task.finished else self._left.seconds()
        return Text(f"{'' if seconds is None else duration(seconds) + ' left':>13}")


def decimal(value: float) -> str:
    """A number with four decimals, or in scientific notation where these are all zero."""
    text = f"{value + 0.0:.4f}"  # + 0.0: no sign of zero
    return text if float(text) or not value else f"{value:.1e}"


def print_scores(title: str, scores: Mapping[str, Any]) -> None:
    """Prints the metrics of a split as a table, with their 95% intervals if there are any."""
    table = TextTable(title)
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95% interval")
    for name, key in (
        ("accuracy", "accuracy"),
        ("macro precision", "macro_precision"),
        ("macro recall", "macro_recall"),
        ("macro F1", "macro_f1"),
        ("macro ROC-AUC", "macro_roc_auc"),
        ("loss", "loss"),
    ):
        low, high = scores["intervals"].get(key, (None, None))
        interval = "" if low is None else f"{decimal(low)} to {decimal(high)}"
        table.add_row(name, "undefined" if scores[key] is None else decimal(scores[key]), interval)
    table.add_row("examples", f"{scores['examples']:,}", "")
    Terminal().print(table)


def print_result(record: Mapping[str, Any], workdir: pathlib.Path, wandb_place: str | None) -> None:
    """Prints the test metrics of a finished run's run.json as a table, and the paths of its files."""
    title = f"{record['data']['name']} {record['data']['splits']['test']['expression']}"
    if members := record.get("population"):
        _print_members(members, record["best"])
        title = f"ensemble of {sum(member['status'] == 'finished' for member in members)}: {title}"
    print_scores(title, record["metrics"]["test"])
    if diagnosis := record.get("diagnosis"):
        warn(diagnosis)
    tell(
        f"best step {record['best']['step']} of {record['steps']}, "
        f"{record['train_seconds']:.1f} s of training, {record['wall_seconds']:.1f} s in all"
        f"{_speed(record)}"
    )
    tell(f"report       {workdir / 'report.html'}")
    tell(f"record       {workdir / 'run.json'}")
    tell(f"history      {workdir / 'metrics.jsonl'}")
    tell(f"checkpoints  {workdir / 'checkpoints'}")
    if wandb_place:
        tell(f"W&B          {wandb_place}")


def _print_members(members: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> None:
    """Prints the members of a population as a table, each at its best step by validation."""
    table = TextTable("members")
    longest = max(len(member["member"]) for member in members)
    table.add_column("member", overflow="fold", min_width=min(longest, 31))
    for name in (f"validation\n{best['metric']}", "test\naccuracy", "test\nmacro F1", "best\nstep"):
        table.add_column(name, justify="right")
    for member in members:
        if member["status"] == "finished":
            numbers = (
                member["validation"][best["metric"]],
                *(member["test"][k] for k in ("accuracy", "macro_f1")),
            )
            row = [*map(decimal, numbers), str(member["best"]["step"])]
        else:
            row = [member["status"]]
        table.add_row(member["member"], *row, style="bold" if member["member"] == best["member"] else None)
    Terminal().print(table)
    for member in members:
        if member["status"] == "failed":
            warn(f"{member['member']} failed: {member['exit_reason']}")


def _average(rows: list[Row]) -> Row:
    """Loss, accuracy and speed over several intervals of training; {} without any."""
    steps = sum(row["steps"] for row in rows)
    if not steps:
        return {}
    average = {key: sum(row[key] * row["steps"] for row in rows) / steps for key in ("loss", "accuracy")}
    timed = [row for row in rows if row["images_per_second"]]
    seconds = sum(row["steps"] / row["images_per_second"] for row in timed)
    return {**average, "images_per_second": sum(row["steps"] for row in timed) / seconds if timed else None}


def _aligned(cells: Sequence[str]) -> str:
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _speed(row: Mapping[str, Any]) -> str:
    speed = row.get("images_per_second")
    return f"  {speed:,.0f} images/s" if speed else ""
