"""The loop: trains the models of a run, chooses the best on validation, and evaluates that on test."""

import concurrent.futures
import pathlib
from typing import Any

import ml_collections
import numpy as np

from mnist_jax import data
from mnist_jax.config.population import is_population, members_in
from mnist_jax.config.validation import validate
from mnist_jax.ensemble import open_run
from mnist_jax.models import require_model
from mnist_jax.reporting.console import print_result
from mnist_jax.reporting.wandb.mode import check_mode, start_asking
from mnist_jax.run import Run
from mnist_jax.serving.classifier import load_trained
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.provenance import params_hash
from mnist_jax.storage.record import RunRecord, require_current
from mnist_jax.storage.workdir import (
    check_finished_data,
    check_not_past,
    check_same_data,
    is_finished,
    locked,
    previous_run,
)
from mnist_jax.system import devices, distributed
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_path
from mnist_jax.system.interrupts import Interrupts
from mnist_jax.system.profiling import traced
from mnist_jax.system.terminal import start_transcript, tell, warn
from mnist_jax.training.meter import Meter
from mnist_jax.training.trainer import Trainer
from mnist_jax.training.transfer import Taken, fitting


def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: str | pathlib.Path, *, resume: str = "auto"
) -> dict[str, Any]:
    """Trains one model or a population, evaluates the best on test, and records the run in a folder.

    Called again with the same workdir, it resumes the run and gives the same bits.

    Args:
      config: as `configs/default.py` gives it, changed.
      workdir: the folder of the run.
      resume: "auto", or "force" to resume although the config or the data changed.

    Returns:
      the content of run.json.

    Raises:
      UserError: one line with the error and its remedy.
      Interrupted: after a signal; the step in flight is saved.
    """
    config, workdir, force = validate(config), user_path(workdir), resume == "force"
    require_model(config.model.name)
    start_asking(config.wandb)
    start_transcript()
    configs = [member.config for member in members_in(config)] if is_population(config) else [config]
    with distributed.own_workdir(workdir) as own, locked(own), Interrupts() as interrupts:
        previous = previous_run(workdir, config, force=force)
        record, wandb_place = RunRecord(own / "run.json", previous), None
        if previous and is_finished(previous, config):
            check_finished_data(previous, config, workdir)
            tell(f"{workdir} holds the finished run of this config; for a new run give another --workdir")
        else:
            if previous:
                require_current(previous, workdir)
            wandb_place = _train(config, configs, workdir, own, record, interrupts, force=force)
        print_result(record.fields, workdir, wandb_place)
        return record.fields


def _train(
    config: ml_collections.FrozenConfigDict,
    configs: list[ml_collections.FrozenConfigDict],
    workdir: pathlib.Path,
    own: pathlib.Path,
    record: RunRecord,
    interrupts: Interrupts,
    *,
    force: bool,
) -> str | None:
    """Runs the loop.

    Args:
      config: of the run.
      configs: of each model.
      workdir: of the run.
      own: the folder that this process writes to, except for checkpoints.
      record: of the run.
      interrupts: the signals that ask to stop.
      force: see `train_and_evaluate`.

    Returns:
      the location of the W&B run.
    """
    devices.prepare_host()
    check_mode(config.wandb, warn)  # a missing key is an error before training
    dataset = data.load(config.data)
    if not force:
        check_same_data(record.fields, dataset, workdir)
    trainer = Trainer(configs, dataset)
    plan = trainer.plan
    with Checkpoints(workdir / "checkpoints", config.checkpoint.keep) as checkpoints:
        packed, notes = checkpoints.restore_latest(trainer.template, config, warn, force=force)
        state = trainer.unpacked(packed) if notes else trainer.initial(_taken(config, trainer, record))
        start = int(np.max(state.train[0].step))
        check_not_past(start, plan.total_steps, workdir)
        distributed.require_together(workdir, start)
        run = open_run(
            config, workdir, own, dataset, trainer, record, checkpoints, notes, step=start, force=force
        )
        meter = Meter(
            plan,
            config.train.batch_size,
            notes.get("progress", {}),
            models=len(configs),
            skipped=config.optimizer.skip_nonfinite,
        )
        with run, distributed.losses_reported(), concurrent.futures.ThreadPoolExecutor(1) as pool:
            interrupts.check()
            interrupts.deferred = True
            preparing = None
            batches = iter(()) if run.stopped_early(start) else trainer.batches(start)
            for step, rows in traced(batches, own / "profile", config.profile, run.say):
                state, metrics = trainer.step(state, rows)
                preparing = preparing or pool.submit(_prepare, trainer, checkpoints, run)
                if preparing.done():
                    preparing.result()
                run.log(meter.fetch(), meter.diverged)  # of the chunk before, while this one runs
                meter.put(step, metrics)
                stop = interrupts.agreed(pause=step in plan.checkpoints)
                if step not in plan.checkpoints and stop is None:
                    continue
                preparing.result()
                run.log(meter.fetch(pause=True), meter.diverged)
                if step in plan.evaluations:
                    predictions = trainer.predict(dataset.validation, [one.model for one in state.train])
                    state = trainer.keep_best(state, run.validated(step, predictions))
                run.save(step, state, meter.progress)
                if stop is not None:
                    run.stop(step, interrupts)
                if run.stopped_early(step):
                    break
                meter.resume()
            interrupts.deferred = False
            checkpoints.wait()
            tested = trainer.predict(dataset.test, state.best)
            interrupts.check()
            run.finish(state, tested, meter.progress)
    return run.wandb_place


def _prepare(trainer: Trainer, checkpoints: Checkpoints, run: Run) -> None:
    """Compiles and imports what a pause needs, while the first steps run."""
    checkpoints.open()
    if distributed.count() == 1:  # else all processes compile at the same point
        trainer.compile_prediction()
    run.prepare()


def _taken(config: ml_collections.FrozenConfigDict, trainer: Trainer, record: RunRecord) -> Taken | None:
    """The arrays that a new run takes from the model of `config.train.init_from`; noted in the record.

    Raises:
      UserError: there is no such model, none of its arrays fits, or there are several processes.
    """
    if not config.train.init_from:
        return None
    if distributed.count() > 1:
        raise UserError(
            "config.train.init_from must be empty with several processes; start the run with one process, "
            "stop it after a checkpoint, and resume it with all"
        )
    try:
        trained = load_trained(user_path(config.train.init_from))
    except UserError as error:
        raise UserError(f"config.train.init_from must be the workdir of a run: {error}") from error
    taken = fitting(trainer.model, trained.model)
    if not taken.arrays:
        raise UserError(
            "config.train.init_from must be the workdir of a model with arrays of the same names and shapes "
            f"(got {config.train.init_from}); give that of a similar model"
        )
    names = sorted(taken.arrays)
    record.fields["init"] = {
        "workdir": config.train.init_from,
        "step": trained.step,
        "sha256": params_hash(taken.arrays),
        "taken": names,
        "new": list(taken.new),
    }
    tell(
        f"{len(names)} of {len(names) + len(taken.new)} arrays start from step {trained.step} of "
        f"{config.train.init_from}" + (f"; new: {', '.join(taken.new)}" if taken.new else "")
    )
    return taken
