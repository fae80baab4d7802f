"""The run of one model, and its folder: record, history, checkpoints, report, W&B."""

import os
import pathlib
import secrets
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import ml_collections
import numpy as np

from mnist_jax.config.population import is_population, members_in
from mnist_jax.data import Dataset
from mnist_jax.metrics.calibration import fit_temperature, with_temperature
from mnist_jax.metrics.confusion import evaluate, merit
from mnist_jax.metrics.detailed import evaluate_in_detail
from mnist_jax.metrics.predictions import Predictions, save_predictions
from mnist_jax.reporting.console import Console
from mnist_jax.reporting.diagnosis import diagnose
from mnist_jax.reporting.report import Report
from mnist_jax.reporting.tensorboard import EventFile
from mnist_jax.reporting.wandb.process import WandbProcess, new_run_id
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.history import MetricsFile, Row, read_metrics
from mnist_jax.storage.provenance import params_hash
from mnist_jax.storage.record import TRAINED, RunRecord
from mnist_jax.system.errors import UserError
from mnist_jax.system.interrupts import Interrupts
from mnist_jax.system.profiling import resources
from mnist_jax.system.terminal import tell, warn
from mnist_jax.training.meter import validation_divergence
from mnist_jax.training.steps import States
from mnist_jax.training.trainer import Trainer


class Run:
    """The run of one model; a context manager, which ends when the results are complete or the run failed.

    Attributes:
      name: of its folder.
      best: step and validation metrics of the best model so far; None before the first validation.
      diverged: the reason why it cannot be trained further, if there is one.
      wandb_place: the location of its W&B run, set at the end.
    """

    def __init__(
        self,
        config: ml_collections.FrozenConfigDict,
        folder: pathlib.Path,
        dataset: Dataset,
        trainer: Trainer,
        record: RunRecord,
        notes: Mapping[str, Any],
        *,
        step: int,
        checkpoints: Checkpoints | None,
    ):
        """Opens the run at the state of its checkpoint.

        Args:
          config: validated.
          folder: the folder that this process writes to, except for checkpoints.
          dataset: of the config.
          trainer: of this model, or of all models of a population.
          record: of the folder, begun.
          notes: of this run in the checkpoint; {} for a new run.
          step: the steps taken so far.
          checkpoints: of the run; None for a member of a population, which prints nothing until it ends.
        """
        self.config, self.folder, self.record = config, folder, record
        self.name = folder.name
        self.best: dict[str, Any] | None = notes.get("best")
        self.diverged: str | None = notes.get("diverged")
        self.wandb_place: str | None = None
        self._reason = TRAINED
        self._dataset, self._trainer, self._checkpoints = dataset, trainer, checkpoints
        models = len(members_in(config)) if is_population(config) else 1
        self._console = Console(trainer.plan, models * config.train.batch_size) if checkpoints else None
        self._history = MetricsFile(folder / "metrics.jsonl", step, notes.get("history_sha256"), warn)
        self._report = Report(folder, record, dataset, self.say)
        self._wandb = WandbProcess(folder, config.wandb, self.say)
        events = folder / "tensorboard" if checkpoints else folder.parent / "tensorboard" / folder.name
        self._events = EventFile(events, config, self.say, step=step)
        self._validated: tuple[int, Predictions] | None = None  # since the last checkpoint
        if self._wandb.mode != "disabled":
            fresh = new_run_id(os.environ) if checkpoints else secrets.token_hex(4)
            record.update(wandb_id=record.fields.get("wandb_id") or fresh, wandb_mode=self._wandb.mode)

    def __enter__(self) -> "Run":
        if self._console:
            self._console.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.diverged:
            error = UserError(self.diverged)
        try:
            self.record.end(error, self._reason)
        except BaseException as failed:
            error = failed
            raise
        finally:
            self._close(finished=error is None)

    @property
    def notes(self) -> dict[str, Any]:
        """The notes on it for a checkpoint."""
        return {"best": self.best, "diverged": self.diverged, "history_sha256": self._history.sha256}

    @property
    def score(self) -> float:
        """The choosing metric at the best step; higher is better."""
        if self.best is None:
            return -np.inf
        metric = self.config.checkpoint.metric
        return merit(metric, self.best["scores"][metric])

    @property
    def wandb_mode(self) -> str:
        """online, offline or disabled."""
        return self._wandb.mode

    def say(self, text: str) -> None:
        """Prints a line of text."""
        (self._console.say if self._console else tell)(text)

    def prepare(self) -> None:
        """Does what can be done before there is anything to report."""
        self._report.prepare()

    def log(self, rows: Sequence[Row], diverged: Mapping[int, str]) -> None:
        """Writes the training metrics to the history, and shows them.

        Args:
          rows: of each model, or none; see `Meter.fetch`.
          diverged: index -> reason, for models whose loss is not finite.

        Raises:
          UserError: no model can be trained further.
        """
        if diverged:
            raise UserError(diverged[0])
        for row in rows:
            self.write(row)

    def validated(self, step: int, predictions: Sequence[Predictions]) -> list[bool]:
        """Evaluates predictions on the validation split after a step.

        Args:
          step: the steps taken.
          predictions: of each model.

        Returns:
          for each model, whether it is its best so far; ties go to the later step.

        Raises:
          UserError: no model can be trained further.
        """
        better = self.judge(step, predictions[0])
        if self.diverged:
            raise UserError(self.diverged)
        self._validated = step, predictions[0]
        return [better]

    def stopped_early(self, step: int) -> str | None:
        """The reason to end the run after `step`, before its last; None without one.

        It depends only on the best step and the plan, so a resumed run ends at the same step.
        """
        patience, plan = self.config.train.patience, self._trainer.plan
        if not patience or self.best is None or step >= plan.total_steps:
            return None
        if plan.evaluations_between(self.best["step"], step) < patience:
            return None
        return (
            f"stopped early at step {step} of {plan.total_steps}: no better validation "
            f"{self.config.checkpoint.metric} in {patience} evaluations after step {self.best['step']}"
        )

    def save(self, step: int, state: States, progress: Mapping[str, Any]) -> None:
        """Starts to save a checkpoint, records the progress, and adds the last validation to the report."""
        assert self._checkpoints
        notes = {"config": self.config.to_dict(), "progress": progress, **self.notes}
        self._checkpoints.save(step, self._trainer.packed(state), notes=notes)
        self.record.update(steps=step, **progress)
        if self._validated:
            last = step == self._trainer.plan.total_steps  # the report of test follows
            self._report.evaluated("validation", *self._validated, None, wait=last)
            self._validated = None

    def stop(self, step: int, interrupts: Interrupts) -> None:
        """Ends the run when its checkpoint is on disk; raises Interrupted."""
        assert self._checkpoints
        self._checkpoints.wait()
        interrupts.check(f"step {step} is saved: the same command resumes there")

    def finish(self, state: States, tested: Sequence[Predictions], progress: Mapping[str, Any]) -> None:
        """Records the results.

        Args:
          state: the last.
          tested: the predictions of the best models on the test split.
          progress: see `Meter.progress`.
        """
        assert self.best
        step = int(state.train[0].step)
        if early := self.stopped_early(step):
            self.say(early)
            self._reason = early
        temperature = None
        if self.config.evaluation.temperature:
            (validated,) = self._trainer.predict(self._dataset.validation, state.best)
            temperature = fit_temperature(validated)
        self.conclude(
            with_temperature(tested[0], temperature),
            step,
            self.best["step"],
            self.best["scores"],
            resources=resources(*self._trainer.lowered()),
            params_sha256=params_hash(self._trainer.readable(state.train[0].params)),
            temperature=temperature,
            **progress,
        )

    def write(self, row: Row) -> None:
        """Adds a row to the history and shows it."""
        self._history.log(row)
        self._events.log(row)
        if self._console:
            self._console.log(row)
            self._wandb.start(transcript=True)  # after the first step, so as not to slow the start

    def write_scores(self, split: str, step: int, scores: Mapping[str, float]) -> None:
        """Adds the metrics of the model of a step on a split."""
        self.write({"split": split, "step": step, "epoch": self._trainer.plan.epoch(step), **scores})

    def judge(self, step: int, predictions: Predictions) -> bool:
        """Evaluates predictions on the validation split: whether the model is its best so far."""
        scores = evaluate(predictions).scalars()
        self.diverged = self.diverged or validation_divergence(scores["loss"], step)
        if self.diverged:
            return False
        self.write_scores("validation", step, scores)
        before, earlier = self.score, self.best
        self.best = {"step": step, "scores": scores}
        if self.score >= before:
            return True
        self.best = earlier
        return False

    def conclude(
        self, tested: Predictions, step: int, chosen: int, validation: Mapping[str, Any], **fields: Any
    ) -> None:
        """Records the results.

        Args:
          tested: the predictions on the test split.
          step: the last.
          chosen: the step of the model that was tested.
          validation: its metrics on the validation split.
          fields: further keys of run.json.
        """
        details = evaluate_in_detail(tested)
        save_predictions(self.folder / "predictions.npz", tested, chosen, self._dataset.class_names)
        scores = details.evaluation.scalars()
        self.write_scores("test", chosen, scores)
        rows = read_metrics(self.folder / "metrics.jsonl")
        diagnosis = diagnose(self.config, rows, self._dataset.train.labels, tested)
        best = {"step": chosen, "metric": self.config.checkpoint.metric}
        self.record.update(
            steps=step,
            metrics={"validation": validation, "test": details.as_dict(self._dataset.class_names)},
            history_sha256=self._history.sha256,
            diagnosis=diagnosis,
            **({"best": best} | fields),
        )
        self._report.evaluated("test", chosen, tested, details)
        self._events.log_results(chosen, tested, self._dataset.test, self._dataset.class_names)

    def _close(self, *, finished: bool) -> None:
        if self._console:
            self._console.close()
        self._history.close()
        self._events.close()
        self._report.close()
        if self._console is None:
            # The agent of a W&B sweep has a single run, that of the ensemble.
            if not finished or "WANDB_SWEEP_ID" in os.environ:
                return
            self._wandb.start(transcript=False)
        self.wandb_place = self._wandb.close(finished=finished)
        if self.wandb_place and self._console is None:
            self.say(f"W&B of {self.name}  {self.wandb_place}")
        elif self.wandb_place and not finished:
            self.say(f"W&B  {self.wandb_place}")
