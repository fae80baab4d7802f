"""Where a run's numbers go as it runs: metrics.jsonl, the terminal, the report, and Weights & Biases."""

import os
import pathlib

import ml_collections

from mnist_jax.data import Dataset
from mnist_jax.metrics.detailed import Detailed
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.reporting.console import Console
from mnist_jax.reporting.report import Report
from mnist_jax.reporting.wandb.process import WandbProcess, new_run_id
from mnist_jax.storage.history import MetricsFile, Row
from mnist_jax.storage.provenance import RunRecord
from mnist_jax.system.terminal import warn
from mnist_jax.training.plan import Plan


class Trackers:
    """All places where the numbers of one run go; a context manager, left when run.json tells the end."""

    def __init__(
        self,
        workdir: pathlib.Path,
        config: ml_collections.FrozenConfigDict,
        plan: Plan,
        record: RunRecord,
        dataset: Dataset,
        *,
        step: int,
        history: str | None,
    ):
        """step: steps taken before, where the run goes on. history: `history_sha256` at that step."""
        self._console = Console(plan)
        self._metrics_file = MetricsFile(workdir / "metrics.jsonl", step, history, warn)
        self._report = Report(workdir, record, dataset, self.say)
        self._wandb = WandbProcess(workdir, config.wandb, self.say)
        self.wandb_place: str | None = None  # once left: where its W&B run is
        if self._wandb.mode != "disabled":
            record.update(wandb_id=record.fields.get("wandb_id") or new_run_id(os.environ))

    def __enter__(self) -> "Trackers":
        self._console.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._console.close()
        self._metrics_file.close()
        self._report.close()
        self.wandb_place = self._wandb.close(finished=kind is None)
        if kind is not None and self.wandb_place:
            self.say(f"W&B  {self.wandb_place}")

    @property
    def history_sha256(self) -> str:
        """Of the rows of metrics.jsonl so far."""
        return self._metrics_file.sha256

    def say(self, text: str) -> None:
        """A line of text for the person at the terminal."""
        self._console.say(text)

    def log(self, row: Row | None) -> None:
        """Takes a row: `split` ("train", "validation" or "test"), `step`, `epoch` and numbers."""
        if row is not None:
            self._metrics_file.log(row)
            self._console.log(row)
            self._wandb.start()  # now that the first step is done: not to compete with the start-up

    def evaluated(
        self, split: str, step: int, predictions: Predictions, details: Detailed | None = None
    ) -> None:
        """Takes what the checkpoint of a step says of "validation" or "test"."""
        self._report.evaluated(split, step, predictions, details)
