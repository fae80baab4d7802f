"""A run, of one model or of a population, as its folder has it: record, history, checkpoints, report, W&B."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import ml_collections
import numpy as np

from mnist_jax.config.population import is_population, members_in
from mnist_jax.config.variants import Member
from mnist_jax.data import Dataset, module_of_data
from mnist_jax.metrics.confusion import evaluate, merit
from mnist_jax.metrics.detailed import evaluate_in_detail
from mnist_jax.metrics.predictions import Predictions, ensemble, save_predictions
from mnist_jax.models import module_of_model
from mnist_jax.reporting.console import Console
from mnist_jax.reporting.diagnosis import diagnose
from mnist_jax.reporting.report import Report
from mnist_jax.reporting.wandb.process import WandbProcess, new_run_id
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.history import MetricsFile, Row, read_metrics
from mnist_jax.storage.provenance import describe_data, params_hash
from mnist_jax.storage.record import TRAINED, RunRecord
from mnist_jax.storage.workdir import locked, previous_run
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import make_folder
from mnist_jax.system.interrupts import Interrupts
from mnist_jax.system.profiling import resources
from mnist_jax.system.terminal import tell, warn
from mnist_jax.training.meter import validation_divergence
from mnist_jax.training.steps import State, States
from mnist_jax.training.trainer import Trainer


class Run:
    """The run of one model; a context manager, left when its numbers are complete or it failed.

    name: of its folder. best: step and validation metrics of the best model so far, None before the first
    validation. diverged: why training it makes no sense, if so. wandb_place: once left, where its W&B run is.
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
        """Opens the run where its checkpoint left it.

        Args:
          config: validated.
          folder: where this process writes all but checkpoints.
          dataset: that of the config.
          trainer: of this model, or of all of a population.
          record: of the folder; its `begin` was called.
          notes: those that the checkpoint has of this run; {} for a new one.
          step: the steps taken so far.
          checkpoints: of the run; None for a member of a population, which is shown when it is done.
        """
        self.config, self.folder, self.record = config, folder, record
        self.name = folder.name
        self.best: dict[str, Any] | None = notes.get("best")
        self.diverged: str | None = notes.get("diverged")
        self.wandb_place: str | None = None
        self._reason = TRAINED
        self._dataset, self._trainer, self._checkpoints = dataset, trainer, checkpoints
        self._console = Console(trainer.plan) if checkpoints else None
        self._history = MetricsFile(folder / "metrics.jsonl", step, notes.get("history_sha256"), warn)
        self._report = Report(folder, record, dataset, self.say)
        self._wandb = WandbProcess(folder, config.wandb, self.say)
        self._validated: tuple[int, Predictions] | None = None  # since the last save
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
        """What a checkpoint keeps of it."""
        return {"best": self.best, "diverged": self.diverged, "history_sha256": self._history.sha256}

    @property
    def score(self) -> float:
        """The metric that chooses, of the best step; higher is better."""
        if self.best is None:
            return -np.inf
        metric = self.config.checkpoint.metric
        return merit(metric, self.best["scores"][metric])

    def say(self, text: str) -> None:
        """Prints a line of text."""
        (self._console.say if self._console else tell)(text)

    def prepare(self) -> None:
        """Does what can be done before there is anything to report."""
        self._report.prepare()

    def log(self, rows: Sequence[Row], diverged: Mapping[int, str]) -> None:
        """Takes the row of each model, if there are any.

        Args:
          rows: see `Meter.fetch`.
          diverged: by index, the models whose loss is not finite: why.

        Raises:
          UserError: no model is left to train.
        """
        if diverged:
            raise UserError(diverged[0])
        for row in rows:
            self._write(row)

    def validated(self, step: int, said: Sequence[Predictions]) -> list[bool]:
        """Takes what the models say of the validation split after a step.

        Returns:
          of each whether it is its best so far; ties go to the later step.

        Raises:
          UserError: no model is left to train.
        """
        better = self._judge(step, said[0])
        if self.diverged:
            raise UserError(self.diverged)
        self._validated = step, said[0]
        return [better]

    def stopped_early(self, step: int) -> str | None:
        """Why the run ends after `step`, before its last; None where it does not.

        It follows from the best step and the plan, so that a run that resumes ends at the same step.
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
        """Starts to save a checkpoint, records how far the run is, and shows its last validation."""
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
        interrupts.check(f"step {step} is saved: the same command goes on there")

    def finish(self, state: States, tested: Sequence[Predictions], progress: Mapping[str, Any]) -> None:
        """Records the results.

        Args:
          state: the last.
          tested: what the best models say of the test split.
          progress: see `Meter.progress`.
        """
        assert self.best
        step = int(state.train[0].step)
        if early := self.stopped_early(step):
            self.say(early)
            self._reason = early
        self._finish(
            tested[0],
            step,
            self.best["step"],
            self.best["scores"],
            resources=resources(*self._trainer.lowered()),
            params_sha256=params_hash(self._trainer.readable(state.train[0].params)),
            **progress,
        )

    def _write(self, row: Row) -> None:
        self._history.log(row)
        if self._console:
            self._console.log(row)
            self._wandb.start()  # now that the first step is done: not to compete with the start-up

    def _judge(self, step: int, predictions: Predictions) -> bool:
        scores = evaluate(predictions).scalars()
        self.diverged = self.diverged or validation_divergence(scores["loss"], step)
        if self.diverged:
            return False
        self._write({"split": "validation", "step": step, "epoch": self._trainer.plan.epoch(step), **scores})
        before, earlier = self.score, self.best
        self.best = {"step": step, "scores": scores}
        if self.score >= before:
            return True
        self.best = earlier
        return False

    def _finish(
        self, tested: Predictions, step: int, chosen: int, validation: Mapping[str, Any], **fields: Any
    ) -> None:
        """Records what the model of the step `chosen` says of test; fields: further keys of run.json."""
        details = evaluate_in_detail(tested)
        save_predictions(self.folder / "predictions.npz", tested, chosen, self._dataset.class_names)
        scores = details.evaluation.scalars()
        self._write({"split": "test", "step": chosen, "epoch": self._trainer.plan.epoch(chosen), **scores})
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

    def _close(self, *, finished: bool) -> None:
        if self._console:
            self._console.close()
        self._history.close()
        self._report.close()
        if self._console is None:
            # The agent of a W&B sweep knows of one run alone, that of the ensemble.
            if not finished or "WANDB_SWEEP_ID" in os.environ:
                return
            self._wandb.start()
        self.wandb_place = self._wandb.close(finished=finished)
        if self.wandb_place and self._console is None:
            self.say(f"W&B of {self.name}  {self.wandb_place}")
        elif self.wandb_place and not finished:
            self.say(f"W&B  {self.wandb_place}")


class Ensemble(Run):
    """The run of a population: that of the mean of its members' probabilities.

    Each member has a folder below, which becomes what a run of it alone would have left. One whose loss is
    not finite fails alone.
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
        checkpoints: Checkpoints,
        workdir: pathlib.Path,
        members: Sequence[tuple[Member, dict[str, Any] | None]],
    ):
        """See `Run`.

        workdir: where all processes write checkpoints. members: each with the record in its folder, if any.
        """
        super().__init__(config, folder, dataset, trainer, record, notes, step=step, checkpoints=checkpoints)
        self._workdir, self._step, self._asked = workdir, step, members
        self._noted = notes.get("members") or [{}] * len(members)
        self._members: list[Run] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Ensemble":
        super().__enter__()
        try:
            for (member, previous), notes in zip(self._asked, self._noted, strict=True):
                self._members.append(self._stack.enter_context(self._open(member, previous, notes)))
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, trace)
        finally:
            super().__exit__(kind, error, trace)

    @property
    def notes(self) -> dict[str, Any]:
        """What a checkpoint keeps of it and of its members."""
        return {**super().notes, "members": [member.notes for member in self._members]}

    def log(self, rows: Sequence[Row], diverged: Mapping[int, str]) -> None:
        """See `Run.log`."""
        for index, message in diverged.items():
            self._members[index].diverged = self._members[index].diverged or message
        trained = self._trained()
        if rows:
            for index in trained:
                self._members[index]._write(rows[index])
            self._write(_mean([rows[index] for index in trained], len(self._members)))

    def validated(self, step: int, said: Sequence[Predictions]) -> list[bool]:
        """See `Run.validated`."""
        better = [member._judge(step, one) for member, one in zip(self._members, said, strict=True)]
        together = ensemble([said[index] for index in self._trained()])
        scores = evaluate(together).scalars()
        self._write({"split": "validation", "step": step, "epoch": self._trainer.plan.epoch(step), **scores})
        self._validated = step, together
        return better

    def finish(self, state: States, tested: Sequence[Predictions], progress: Mapping[str, Any]) -> None:
        """See `Run.finish`."""
        trained, members = self._trained(), self._trainer.members(state)
        step = int(members[0].train.step)
        for index in trained:
            self._finish_member(self._members[index], members[index], tested[index], progress)
        said = self._trainer.predict(self._dataset.validation, state.best)
        validation = evaluate(ensemble([said[index] for index in trained])).scalars()
        chosen = max((self._members[index] for index in trained), key=lambda member: member.score)
        self._finish(
            ensemble([tested[index] for index in trained]),
            step,
            step,
            validation,
            best={"step": step, "metric": self.config.checkpoint.metric, "member": chosen.name},
            population=[_summary(member) for member in self._members],
            resources=resources(*self._trainer.lowered()),
            params_sha256=params_hash(self._trainer.readable(self._trainer.packed(state).train.params)),
            **progress,
        )

    def _open(self, member: Member, previous: dict[str, Any] | None, notes: Mapping[str, Any]) -> Run:
        folder = make_folder(self.folder / member.name)
        self._stack.enter_context(locked(folder))
        record = RunRecord(folder / "run.json", previous)
        record.fields.update({key: of for key, of in self.record.fields.items() if key == "init"})
        parameters = self._trainer.parameters // len(self._asked)
        data, imports = self.record.fields["data"], self.record.fields["imports"]
        record.begin(member.config, data, step=self._step, parameters=parameters, imports=imports)
        return Run(
            member.config, folder, self._dataset, self._trainer, record, notes,
            step=self._step, checkpoints=None,
        )  # fmt: skip

    def _finish_member(
        self, member: Run, state: State, tested: Predictions, progress: Mapping[str, Any]
    ) -> None:
        own, step = _share(progress, len(self._members)), int(state.train.step)
        notes = {"config": member.config.to_dict(), "progress": own, **member.notes}
        folder = self._workdir / member.name / "checkpoints"
        with Checkpoints(folder, self.config.checkpoint.keep) as checkpoints:
            checkpoints.save(step, state, notes=notes)
        params = self._trainer.readable(state.train.params)
        assert member.best
        best, scores = member.best["step"], member.best["scores"]
        member._finish(tested, step, best, scores, params_sha256=params_hash(params), **own)

    def _trained(self) -> list[int]:
        """The indices of the members that did not fail.

        Raises:
          UserError: all failed.
        """
        indices = [index for index, member in enumerate(self._members) if not member.diverged]
        if not indices:
            raise UserError(f"all members failed; {self._members[0].name}: {self._members[0].diverged}")
        return indices


def open_run(
    config: ml_collections.FrozenConfigDict,
    workdir: pathlib.Path,
    own: pathlib.Path,
    dataset: Dataset,
    trainer: Trainer,
    record: RunRecord,
    checkpoints: Checkpoints,
    notes: Mapping[str, Any],
    *,
    step: int,
    force: bool,
) -> Run:
    """The run of a config after `step` steps; its record begins.

    Args:
      config: validated.
      workdir: of the run.
      own: where this process writes all but checkpoints; the workdir, for the first process.
      dataset, trainer, record, checkpoints: of the run.
      notes: of the checkpoint that it resumes from; {} for a new one.
      step: the steps taken so far.
      force: takes over what other runs left in the folders of members.

    Raises:
      UserError: the folder of a member holds another run.
    """
    members = []
    if is_population(config):
        for member in members_in(config):
            named = _named(member, workdir)
            members.append((named, previous_run(workdir / member.name, named.config, force=force)))
    data, imports = describe_data(dataset), _own_modules(config)
    for warning in record.begin(config, data, step=step, parameters=trainer.parameters, imports=imports):
        warn(warning)
    given = (config, own, dataset, trainer, record, notes)
    if not members:
        return Run(*given, step=step, checkpoints=checkpoints)
    return Ensemble(*given, step=step, checkpoints=checkpoints, workdir=workdir, members=members)


def _own_modules(config: ml_collections.FrozenConfigDict) -> list[str]:
    """The modules that define the model and the data set, where these are the user's own."""
    modules = {module_of_model(config.model.name), module_of_data(config.data.name)}
    return sorted(module for module in modules if module)


def _named(member: Member, workdir: pathlib.Path) -> Member:
    """The member under its name in W&B."""
    config = ml_collections.ConfigDict(member.config.to_dict())
    config.wandb.group, config.wandb.name = config.wandb.group or workdir.name, member.name
    return member._replace(config=ml_collections.FrozenConfigDict(config))


def _mean(rows: Sequence[Row], models: int) -> Row:
    """The rows of members averaged; the speed is that of all models."""
    speed = rows[0]["images_per_second"]
    means = {
        key: float(np.mean([row[key] for row in rows])) if isinstance(value, float) else value
        for key, value in rows[0].items()
    }
    return {**means, "images_per_second": speed and speed * models}


def _share(progress: Mapping[str, Any], models: int) -> dict[str, Any]:
    """The progress of one of the models: the time of all, its own images."""
    speed = progress["images_per_second"]
    own = {"images": progress["images"] // models, "images_per_second": speed and speed / models}
    return {**progress, **own}


def _summary(member: Run) -> dict[str, Any]:
    """What the record of a population has of a member."""
    metrics = member.record.fields.get("metrics") or {}
    test = {name: value for name, value in metrics.get("test", {}).items() if isinstance(value, int | float)}
    return {
        "member": member.name,
        "status": "failed" if member.diverged else "finished",
        "exit_reason": member.diverged or TRAINED,
        "best": member.record.fields.get("best"),
        "validation": metrics.get("validation"),
        "test": test or None,
    }
