"""One member of a population: what a run of it alone would have in its folder."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Any

import ml_collections
import numpy as np

from mnist_jax.config.variants import Member
from mnist_jax.data import Dataset
from mnist_jax.metrics.confusion import evaluate, merit
from mnist_jax.metrics.detailed import Detailed, evaluate_in_detail
from mnist_jax.metrics.predictions import Predictions, save_predictions
from mnist_jax.reporting.report import Results, write_report
from mnist_jax.reporting.wandb.process import WandbProcess, effective_mode, wandb_environment
from mnist_jax.storage import provenance
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.history import MetricsFile, Row
from mnist_jax.storage.workdir import locked, previous_run
from mnist_jax.system.errors import UserError
from mnist_jax.system.terminal import warn
from mnist_jax.training.meter import validation_divergence
from mnist_jax.training.steps import TrainState


class MemberRun:
    """One member: the lock, record and history of its folder, and how good it was; a context manager.

    diverged: why it failed, if it did.
    """

    def __init__(
        self,
        member: Member,
        workdir: pathlib.Path,
        dataset: Dataset,
        step: int,
        parameters: int,
        notes: dict[str, Any],
        *,
        force: bool,
    ):
        """notes: those of the population's checkpoint that it goes on from; {} at its beginning.

        Raises UserError: its folder holds another run, which `force` takes over.
        """
        self.name, self.workdir = member.name, workdir / member.name
        config = ml_collections.ConfigDict(member.config.to_dict())
        config.wandb.group, config.wandb.name = config.wandb.group or workdir.name, member.name
        self.config = ml_collections.FrozenConfigDict(config)
        self._dataset, self._step, self._parameters = dataset, step, parameters
        self._recorded = notes.get("history_sha256")
        self._best: dict[str, Any] | None = notes.get("best")
        self.diverged: str | None = notes.get("diverged")
        self._ended = False
        self._previous = previous_run(self.workdir, self.config, force=force)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "MemberRun":
        self._stack.enter_context(locked(self.workdir))
        self.record = provenance.RunRecord(self.workdir / "run.json", self._previous)
        self.record.begin(self.config, self._dataset, step=self._step, parameters=self._parameters)
        self._history = MetricsFile(self.workdir / "metrics.jsonl", self._step, self._recorded, warn)
        self._stack.callback(self._history.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.end(error)
        self._stack.close()

    def end(self, error: BaseException | None = None) -> None:
        """Records how it ended: failed where it diverged, else by an error or finished."""
        self.record.end(UserError(self.diverged) if self.diverged else error)
        self._ended = True

    @property
    def notes(self) -> dict[str, Any]:
        """What the population's checkpoint keeps of it."""
        return {
            "best": self._best,
            "diverged": self.diverged,
            "history_sha256": self._history.sha256,
        }

    @property
    def score(self) -> float:
        """The metric that chooses, of the best step; higher is better."""
        if self._best is None:
            return -np.inf
        metric = self.config.checkpoint.metric
        return merit(metric, self._best["scores"][metric])

    @property
    def summary(self) -> dict[str, Any]:
        """What the population's record says of it."""
        fields = self.record.fields
        metrics = fields.get("metrics") or {}
        test = {
            name: value for name, value in metrics.get("test", {}).items() if isinstance(value, int | float)
        }
        return {
            "member": self.name,
            "status": fields["status"],
            "exit_reason": fields["exit_reason"],
            "best": fields.get("best"),
            "validation": metrics.get("validation"),
            "test": test or None,
        }

    def log(self, row: Row) -> None:
        """Takes a row of metrics.jsonl, unless the member failed."""
        if not self.diverged:
            self._history.log(row)

    def evaluated(self, step: int, epoch: float, predictions: Predictions) -> bool:
        """Takes what it says of validation after a step; returns whether that is its best so far.

        Of equals the latest is the best.
        """
        scores = evaluate(predictions).scalars()
        self.diverged = self.diverged or validation_divergence(scores["loss"], step)
        if self.diverged:
            return False
        self.log({"split": "validation", "step": step, "epoch": epoch, **scores})
        before, earlier = self.score, self._best
        self._best = {"step": step, "scores": scores}
        if self.score >= before:
            return True
        self._best = earlier
        return False

    def finish(
        self,
        best: TrainState,
        last: TrainState,
        predictions: Predictions,
        epoch: float,
        progress: dict[str, Any],
    ) -> None:
        """Writes what a run of this member alone would have in its folder.

        best, last: its states. predictions: of the test split by the best. epoch, progress: at the end.
        """
        assert self._best
        step, scores = self._best["step"], self._best["scores"]
        details = evaluate_in_detail(predictions)
        save_predictions(self.workdir / "predictions.npz", predictions, step)
        self.log({"split": "test", "step": step, "epoch": epoch, **details.evaluation.scalars()})
        notes = {"config": self.config.to_dict(), "progress": progress}
        with Checkpoints(self.workdir / "checkpoints", self.config.checkpoint) as checkpoints:
            checkpoints.save(step, best, notes=notes, metrics=scores)
            if int(last.step) != step:
                checkpoints.save(int(last.step), last, notes=notes, metrics=None)
        if effective_mode(self.config.wandb, wandb_environment()) != "disabled":
            self.record.update(wandb_id=self.record.fields.get("wandb_id") or secrets.token_hex(4))
        self.record.update(
            steps=int(last.step),
            best={"step": step, "metric": self.config.checkpoint.metric},
            metrics={"validation": scores, "test": details.as_dict(self._dataset.class_names)},
            params_sha256=provenance.params_hash(last.params),
            history_sha256=self._history.sha256,
            **progress,
        )
        self.end()
        self._report(step, predictions, details)

    def publish(self, say: Callable[[str], None]) -> None:
        """Logs a finished member to W&B, where that is on.

        Not in a W&B sweep, whose agent knows of one run alone: that of the ensemble.
        """
        if self.record.fields["status"] == "finished" and "WANDB_SWEEP_ID" not in os.environ:
            process = WandbProcess(self.workdir, self.config.wandb, say)
            process.start()
            if place := process.close(finished=True):
                say(f"W&B of {self.name}  {place}")

    def _report(self, step: int, predictions: Predictions, details: Detailed) -> None:
        try:
            results = Results("test", step, predictions, details, self._dataset.test)
            write_report(self.workdir, "report.html", self.record.fields, results)
        except OSError as error:  # it must not end the others
            warn(f"the report of {self.name} cannot be written: {error}")
