"""The run of a population, and how a run of either kind is opened."""

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import ml_collections
import numpy as np

from mnist_jax.config.population import is_population, members_in
from mnist_jax.config.variants import Member
from mnist_jax.data import Dataset, module_of_data
from mnist_jax.metrics.calibration import fit_temperature, with_temperature
from mnist_jax.metrics.confusion import evaluate
from mnist_jax.metrics.predictions import Predictions, ensemble
from mnist_jax.models import module_of_model
from mnist_jax.reporting.header import header
from mnist_jax.run import Run
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.history import Row
from mnist_jax.storage.provenance import describe_data, params_hash
from mnist_jax.storage.record import TRAINED, RunRecord
from mnist_jax.storage.workdir import locked, previous_run
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import make_folder
from mnist_jax.system.profiling import resources
from mnist_jax.system.terminal import warn
from mnist_jax.training.steps import State, States
from mnist_jax.training.trainer import Trainer


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
                self._members[index].write(rows[index])
            self.write(_mean([rows[index] for index in trained], len(self._members)))

    def validated(self, step: int, predictions: Sequence[Predictions]) -> list[bool]:
        """See `Run.validated`."""
        better = [member.judge(step, one) for member, one in zip(self._members, predictions, strict=True)]
        together = ensemble([predictions[index] for index in self._trained()])
        scores = evaluate(together).scalars()
        self.write_scores("validation", step, scores)
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
        self.conclude(
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
        member.conclude(
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
    for line in header(config, record.fields, trainer.plan, workdir, step=step, wandb_mode=run.wandb_mode):
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
