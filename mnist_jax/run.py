"""A run of one model or of a population, and its folder: record, history, checkpoints, report, W&B."""

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
from mnist_jax.metrics.calibration import fit_temperature, with_temperature
from mnist_jax.metrics.confusion import evaluate, merit
from mnist_jax.metrics.detailed import evaluate_in_detail
from mnist_jax.metrics.predictions import Predictions, ensemble, save_predictions
from mnist_jax.models import module_of_model
from mnist_jax.reporting.console import Console
from mnist_jax.reporting.diagnosis import diagnose
from mnist_jax.reporting.header import header
from mnist_jax.reporting.report import Report
from mnist_jax.reporting.tensorboard import EventFile
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
            self._write(row)

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
        better = self._judge(step, predictions[0])
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
        self._finish(
            with_temperature(tested[0], temperature),
            step,
            self.best["step"],
            self.best["scores"],
            resources=resources(*self._trainer.lowered()),
            params_sha256=params_hash(self._trainer.readable(state.train[0].params)),
            temperature=temperature,
            **progress,
        )

    def _write(self, row: Row) -> None:
        self._history.log(row)
        self._events.log(row)
        if self._console:
            self._console.log(row)
            self._wandb.start(transcript=True)  # after the first step, so as not to slow the start

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
        """Records the test predictions of the model of step `chosen`; fields: further keys of run.json."""
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


class Ensemble(Run):
    """The run of a population: the ensemble, which averages the probabilities of its members.

    Each member has a subfolder with the same files as a run of it alone. A member whose loss is not finite
    fails alone.
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
        """Opens the run; for the other arguments see `Run`.

        Args:
          workdir: the folder that all processes write checkpoints to.
          members: each with the record in its folder, if there is one.
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
        """The notes on it and its members for a checkpoint."""
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

    def validated(self, step: int, predictions: Sequence[Predictions]) -> list[bool]:
        """See `Run.validated`."""
        better = [member._judge(step, one) for member, one in zip(self._members, predictions, strict=True)]
        together = ensemble([predictions[index] for index in self._trained()])
        scores = evaluate(together).scalars()
        self._write({"split": "validation", "step": step, "epoch": self._trainer.plan.epoch(step), **scores})
        self._validated = step, together
        return better

    def finish(self, state: States, tested: Sequence[Predictions], progress: Mapping[str, Any]) -> None:
        """See `Run.finish`."""
        trained, members = self._trained(), self._trainer.members(state)
        step = int(members[0].train.step)
        validated = self._trainer.predict(self._dataset.validation, state.best)
        calibrated = self.config.evaluation.temperature
        temperatures = [fit_temperature(one) if calibrated else None for one in validated]
        tested = [with_temperature(*each) for each in zip(tested, temperatures, strict=True)]
        for index in trained:
            self._finish_member(
                self._members[index], members[index], tested[index], temperatures[index], progress
            )
        validation = evaluate(ensemble([validated[index] for index in trained])).scalars()
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
        self,
        member: Run,
        state: State,
        tested: Predictions,
        temperature: float | None,
        progress: Mapping[str, Any],
    ) -> None:
        own, step = _share(progress, len(self._members)), int(state.train.step)
        notes = {"config": member.config.to_dict(), "progress": own, **member.notes}
        folder = self._workdir / member.name / "checkpoints"
        with Checkpoints(folder, self.config.checkpoint.keep) as checkpoints:
            checkpoints.save(step, state, notes=notes)
        params = self._trainer.readable(state.train.params)
        assert member.best
        member._finish(
            tested,
            step,
            member.best["step"],
            member.best["scores"],
            params_sha256=params_hash(params),
            temperature=temperature,
            **own,
        )

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
    """Opens the run of a config after `step` steps, begins its record, and prints its header.

    Args:
      config: validated.
      workdir: of the run.
      own: the folder that this process writes to, except for checkpoints; the workdir, for the first process.
      dataset, trainer, record, checkpoints: of the run.
      notes: of the checkpoint that it resumes from; {} for a new run.
      step: the steps taken so far.
      force: resume other runs in the folders of members.

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
    run = (
        Ensemble(*given, step=step, checkpoints=checkpoints, workdir=workdir, members=members)
        if members
        else Run(*given, step=step, checkpoints=checkpoints)
    )
    for line in header(config, record.fields, trainer.plan, workdir, step=step, wandb_mode=run._wandb.mode):
        run.say(line)
    return run


def _own_modules(config: ml_collections.FrozenConfigDict) -> list[str]:
    """The user's own modules that define the model and the data set."""
    modules = {module_of_model(config.model.name), module_of_data(config.data.name)}
    return sorted(module for module in modules if module)


def _named(member: Member, workdir: pathlib.Path) -> Member:
    """The member with its name and group in W&B."""
    config = ml_collections.ConfigDict(member.config.to_dict())
    config.wandb.group, config.wandb.name = config.wandb.group or workdir.name, member.name
    return member._replace(config=ml_collections.FrozenConfigDict(config))


def _mean(rows: Sequence[Row], models: int) -> Row:
    """The mean of the members' rows; the speed is that of all models."""
    speed = rows[0]["images_per_second"]
    means = {
        key: float(np.mean([row[key] for row in rows])) if isinstance(value, float) else value
        for key, value in rows[0].items()
    }
    return {**means, "images_per_second": speed and speed * models}


def _share(progress: Mapping[str, Any], models: int) -> dict[str, Any]:
    """The progress of one model: the time of all models, and its own images."""
    speed = progress["images_per_second"]
    own = {"images": progress["images"] // models, "images_per_second": speed and speed / models}
    return {**progress, **own}


def _summary(member: Run) -> dict[str, Any]:
    """A member's entry in the record of a population."""
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
