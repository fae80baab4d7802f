"""The path of one run, from top to bottom."""

import functools
import pathlib
from typing import Any

import ml_collections
import numpy as np

from mnist_jax import data
from mnist_jax.config.fields import validate
from mnist_jax.config.population import is_population, members_in
from mnist_jax.data import order
from mnist_jax.data.feeding import make_feed, training_rows
from mnist_jax.metrics.confusion import evaluate
from mnist_jax.metrics.detailed import evaluate_in_detail
from mnist_jax.metrics.predictions import save_predictions
from mnist_jax.reporting.console import print_result
from mnist_jax.reporting.wandb.process import effective_mode, wandb_environment
from mnist_jax.storage import provenance
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.workdir import check_not_past, check_same_data, is_finished, locked, previous_run
from mnist_jax.system import devices, distributed
from mnist_jax.system.interrupts import Interrupts
from mnist_jax.system.mesh import whole
from mnist_jax.system.profiling import resources, traced
from mnist_jax.system.terminal import tell, warn
from mnist_jax.tracking import Trackers
from mnist_jax.train_population import run_population
from mnist_jax.training.experiment import build
from mnist_jax.training.meter import Meter, require_finite


def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: str | pathlib.Path, *, resume: str = "auto"
) -> dict[str, Any]:
    """Trains a model, or a population of them, chooses the best checkpoint on validation, evaluates that on
    test, and records it all.

    Started again in the same workdir, it goes on where it was, to the same bits.
    resume: "auto", or "force" to go on although the config or the data changed.
    Returns: the content of run.json, whose keys README.md documents.
    Raises UserError: one line that says what to mend. Interrupted: after a signal.
    """
    config, workdir = validate(config), pathlib.Path(workdir)
    effective_mode(config.wandb, wandb_environment())  # a key that is missing shows at once,
    if is_population(config):
        members_in(config)  # and members that cannot be
    with distributed.own_workdir(workdir) as own, locked(own), Interrupts() as interrupts:
        previous = previous_run(workdir, config, force=resume == "force")
        record = provenance.RunRecord(own / "run.json", previous)
        wandb_place = None
        if previous and is_finished(previous, config):
            tell(f"{workdir} holds the finished run of this config; for another, give another --workdir")
        else:
            run = run_population if is_population(config) else _run
            wandb_place = run(config, workdir, own, record, interrupts, force=resume == "force")
        print_result(record.fields, workdir, wandb_place)
        return record.fields


def _run(
    config: ml_collections.FrozenConfigDict,
    workdir: pathlib.Path,
    own: pathlib.Path,
    record: provenance.RunRecord,
    interrupts: Interrupts,
    *,
    force: bool,
) -> str | None:
    """own: where this process writes all but checkpoints. Returns where the W&B run is."""
    devices.prepare_host()
    dataset = data.load(config.data)
    if not force:
        check_same_data(record.fields, dataset, workdir)

    plan, mesh, state, train_chunk, predict, _ = build(config, dataset)
    with Checkpoints(workdir / "checkpoints", config.checkpoint) as checkpoints:
        state, notes = checkpoints.restore_latest(state, config, warn, force=force)
        step = int(state.step)
        check_not_past(step, plan.total_steps, workdir)
        distributed.require_together(workdir, step)
        parameters = provenance.count_params(state.params)
        for warning in record.begin(config, dataset, step=step, parameters=parameters):
            warn(warning)
        meter = Meter(
            plan,
            config.train.batch_size,
            notes.get("progress", {}),
            skipped=config.optimizer.skip_nonfinite,
        )
        with (
            Trackers(
                own, config, plan, record, dataset, step=step, history=notes.get("history_sha256")
            ) as trackers,
            record.outcome(),
            distributed.told_of_losses(),
        ):
            interrupts.check()
            interrupts.deferred = True
            feed = make_feed(dataset.train, config.data.placement, mesh)
            batches = training_rows(
                feed,
                plan.chunks(step, devices.steps_per_call(config.train.steps_per_call)),
                functools.partial(
                    order.batch_indices,
                    config.seed,
                    batch_size=config.train.batch_size,
                    size=len(dataset.train.labels),
                ),
            )
            for step, rows in traced(batches, own / "profile", config.profile, trackers.say):
                state, metrics = train_chunk(state, rows)
                trackers.log(meter.fetch())  # of the chunk before, while this one runs
                meter.put(step, metrics)
                stop = interrupts.agreed(pause=step in plan.checkpoints)
                if step not in plan.checkpoints and stop is None:
                    continue
                trackers.log(meter.fetch(pause=True))
                scores = None
                if step in plan.evaluations:
                    predictions = predict(dataset.validation, state)
                    scores = evaluate(predictions).scalars()
                    require_finite(scores["loss"], step)
                    trackers.log({"split": "validation", "step": step, "epoch": plan.epoch(step), **scores})
                notes = {
                    "config": config.to_dict(),
                    "progress": meter.progress,
                    "history_sha256": trackers.history_sha256,
                }
                checkpoints.save(step, state, notes=notes, metrics=scores)
                record.update(steps=step, **meter.progress)
                if scores is not None:
                    trackers.evaluated("validation", step, predictions)
                if stop is not None:
                    checkpoints.wait()
                    interrupts.check(f"step {step} is saved: the same command goes on there")
                meter.resume()
            interrupts.deferred = False

            checkpoints.wait()
            best_step, best_scores, best = checkpoints.restore_best(state, trackers.say)
            predictions = predict(dataset.test, best)
            save_predictions(own / "predictions.npz", predictions, best_step)
            test = evaluate_in_detail(predictions)
            scores = test.evaluation.scalars()
            trackers.log({"split": "test", "step": best_step, "epoch": plan.epoch(best_step), **scores})
            interrupts.check()
            record.update(
                steps=step,
                best={"step": best_step, "metric": config.checkpoint.metric},
                metrics={"validation": best_scores, "test": test.as_dict(dataset.class_names)},
                params_sha256=provenance.params_hash(whole(state.params, mesh)),
                history_sha256=trackers.history_sha256,
                resources=resources(
                    train_chunk, state, feed(np.zeros((1, config.train.batch_size), np.int32))
                ),
                **meter.progress,
            )
            trackers.evaluated("test", best_step, predictions, test)
    return trackers.wandb_place
