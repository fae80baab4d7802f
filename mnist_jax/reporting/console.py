"""What a person sees of a run on the terminal."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mnist_jax.storage.history import Row
from mnist_jax.system.terminal import Terminal, TextTable, tell, warn
from mnist_jax.training.plan import Plan


class Console:
    """Progress on the terminal: a bar where there is one, else a plain line for each evaluation."""

    def __init__(self, plan: Plan):
        self._out = Terminal()
        self._total_epochs = plan.epoch(plan.total_steps)
        self._training: list[Row] = []  # rows since the last evaluation
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
            self._training.append(row)
            self._bar.update(
                self._task,
                completed=row["step"],
                description=f"epoch {self._epoch(row)}  {_scores(row)}{_speed(row)}",
            )
        elif row["split"] == "validation":
            trained = _average(self._training)
            train = f"train {_scores(trained)}  " if trained else ""
            self.say(f"epoch {self._epoch(row)}  {train}validation {_scores(row)}{_speed(trained)}")
            self._training = []

    def _epoch(self, row: Row) -> str:
        return f"{row['epoch']:.1f}/{self._total_epochs:.1f}"

    def say(self, text: str) -> None:
        """A line of text, above the bar where there is one."""
        self._out.say(text)


def print_scores(title: str, scores: Mapping[str, Any]) -> None:
    """The metrics of a split as a table, with 95% intervals where there are any."""
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
        interval = "" if low is None else f"{low:.4f} to {high:.4f}"
        table.add_row(name, "undefined" if scores[key] is None else f"{scores[key]:.4f}", interval)
    table.add_row("examples", f"{scores['examples']:,}", "")
    Terminal().print(table)


def print_result(record: Mapping[str, Any], workdir: pathlib.Path, wandb_place: str | None) -> None:
    """The test metrics of a finished run's run.json as a table, and where things are."""
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
    """The members of a population as a table, each at its best step by validation."""
    table = TextTable("members")
    for name in ("member", f"validation {best['metric']}", "test accuracy", "test macro F1", "best step"):
        table.add_column(name, justify="left" if name == "member" else "right")
    for member in members:
        if member["status"] == "finished":
            numbers = (
                member["validation"][best["metric"]],
                *(member["test"][k] for k in ("accuracy", "macro_f1")),
            )
            row = [*(f"{number:.4f}" for number in numbers), str(member["best"]["step"])]
        else:
            row = [member["status"]]
        table.add_row(member["member"], *row, style="bold" if member["member"] == best["member"] else None)
    Terminal().print(table)
    for member in members:
        if member["status"] == "failed":
            warn(f"{member['member']} failed: {member['exit_reason']}")


def _average(rows: list[Row]) -> Row:
    """Loss, accuracy and speed over several intervals of training; {} where there is none."""
    steps = sum(row["steps"] for row in rows)
    if not steps:
        return {}
    average = {key: sum(row[key] * row["steps"] for row in rows) / steps for key in ("loss", "accuracy")}
    timed = [row for row in rows if row["images_per_second"]]
    seconds = sum(row["steps"] / row["images_per_second"] for row in timed)
    return {**average, "images_per_second": sum(row["steps"] for row in timed) / seconds if timed else None}


def _scores(row: Row) -> str:
    return f"loss {row['loss']:.4f} accuracy {row['accuracy']:.4f}"


def _speed(row: Mapping[str, Any]) -> str:
    speed = row.get("images_per_second")
    return f"  {speed:,.0f} images/s" if speed else ""
