"""The path of many models trained at once, from top to bottom; `train.py` has that of one."""

import contextlib
import functools
import pathlib
from typing import Any

import jax.numpy as jnp
import ml_collections
import numpy as np

from mnist_jax import data
from mnist_jax.config.population import members_in
from mnist_jax.data.feeding import make_feed, training_rows
from mnist_jax.data.order import member_batches
from mnist_jax.member_run import MemberRun
from mnist_jax.metrics.confusion import evaluate
from mnist_jax.metrics.detailed import evaluate_in_detail
from mnist_jax.metrics.predictions import save_predictions
from mnist_jax.storage import provenance
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.history import Row
from mnist_jax.storage.workdir import check_not_past, check_same_data
from mnist_jax.system import devices, distributed
from mnist_jax.system.errors import UserError
from mnist_jax.system.interrupts import Interrupts
from mnist_jax.system.profiling import resources, traced
from mnist_jax.system.terminal import warn
from mnist_jax.tracking import Trackers
from mnist_jax.training import experiment
from mnist_jax.training.meter import Meter
from mnist_jax.training.population import build_population, ensemble, keep_better, state_of


def run_population(
    config: ml_collections.FrozenConfigDict,
    workdir: pathlib.Path,
    own: pathlib.Path,
    record: provenance.RunRecord,
    interrupts: Interrupts,
    *,
    force: bool,
) -> str | None:
    """Trains the members of `config.population`, each a run in a folder of its own below the workdir.

    own: the workdir too. It has the record of their ensemble. A member whose loss is not finite fails alone.
    Returns: where the ensemble's W&B run is.
    Raises UserError: as a run of one model does, and where all members fail.
    """
    if distributed.count() > 1:
        raise UserError(
            "a population is trained by one process; leave out --coordinator, or config.population"
        )
    members = members_in(config)
    devices.prepare_host()
    dataset = data.load(config.data)
    if not force:
        check_same_data(record.fields, dataset, workdir)

    alone = experiment.build(members[0].config, dataset)
    plan = alone.plan
    population, train_chunk = build_population(members, dataset, plan, alone.mesh)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", config.checkpoint))
        population, notes = checkpoints.restore_latest(population, config, warn, force=force)
        states, step = population.states, int(population.states.step[0])
        parameters = provenance.count_params(alone.state.params)
        check_not_past(step, plan.total_steps, workdir)
        known = notes.get("members", [{}] * len(members))
        runs = [
            MemberRun(member, workdir, dataset, step, parameters, told, force=force)
            for member, told in zip(members, known, strict=True)
        ]
        for warning in record.begin(config, dataset, step=step, parameters=parameters * len(members)):
            warn(warning)
        images = config.train.batch_size * len(runs)
        skipped = config.optimizer.skip_nonfinite
        meter = Meter(plan, images, notes.get("progress", {}), skipped=skipped)
        history = notes.get("history_sha256")
        with (
            Trackers(workdir, config, plan, record, dataset, step=step, history=history) as trackers,
            record.outcome(),
        ):
            for run in runs:
                stack.enter_context(run)
            interrupts.check()
            interrupts.deferred = True

            def log_training(row: Row | None) -> None:
                for place, message in meter.diverged.items():
                    runs[place].diverged = runs[place].diverged or message
                if row is not None:
                    for place, run in enumerate(runs):
                        run.log(_of_member(row, place, len(runs)))
                    trackers.log(_mean(row, _going_on(runs)))

            feed = make_feed(dataset.train, config.data.placement, alone.mesh)
            batches = training_rows(
                feed,
                plan.chunks(step, devices.steps_per_call(config.train.steps_per_call)),
                functools.partial(
                    member_batches,
                    [member.config.seed for member in members],
                    batch_size=config.train.batch_size,
                    size=len(dataset.train.labels),
                ),
            )
            for step, rows in traced(batches, workdir / "profile", config.profile, trackers.say):
                states, metrics = train_chunk(states, rows)
                log_training(meter.fetch())  # of the chunk before, while this one runs
                meter.put(step, metrics)
                if step not in plan.checkpoints and interrupts.requested is None:
                    continue
                log_training(meter.fetch(pause=True))
                population = population._replace(states=states)
                together = None
                if step in plan.evaluations:
                    said = [alone.predict(dataset.validation, state_of(states, k)) for k in range(len(runs))]
                    better = [
                        run.evaluated(step, plan.epoch(step), one)
                        for run, one in zip(runs, said, strict=True)
                    ]
                    population = keep_better(population, jnp.array(better))
                    together = ensemble([said[place] for place in _going_on(runs)])
                    scores = evaluate(together).scalars()
                    trackers.log({"split": "validation", "step": step, "epoch": plan.epoch(step), **scores})
                notes = {
                    "config": config.to_dict(),
                    "progress": meter.progress,
                    "members": [run.notes for run in runs],
                    "history_sha256": trackers.history_sha256,
                }
                checkpoints.save(step, population, notes=notes, metrics=None)
                record.update(steps=step, **meter.progress)
                if together is not None:
                    trackers.evaluated("validation", step, together)
                if interrupts.requested is not None:
                    checkpoints.wait()
                    interrupts.check(f"step {step} is saved: the same command goes on there")
                meter.resume()
            interrupts.deferred = False

            checkpoints.wait()
            going_on = _going_on(runs)
            for run in runs:
                if run.diverged:
                    run.end()
            progress = _share(meter.progress, len(runs))
            tested = []
            for place in going_on:
                best, last = (state_of(one, place) for one in population[::-1])
                tested.append(alone.predict(dataset.test, best))
                runs[place].finish(best, last, tested[-1], plan.epoch(step), progress)
                interrupts.check()
            together = ensemble(tested)
            save_predictions(workdir / "predictions.npz", together, step)
            test = evaluate_in_detail(together)
            validated = ensemble(
                [alone.predict(dataset.validation, state_of(population.best, place)) for place in going_on]
            )
            trackers.log(
                {"split": "test", "step": step, "epoch": plan.epoch(step), **test.evaluation.scalars()}
            )
            interrupts.check()
            chosen = max((runs[place] for place in going_on), key=lambda run: run.score)
            record.update(
                steps=step,
                best={"step": step, "metric": config.checkpoint.metric, "member": chosen.name},
                population=[run.summary for run in runs],
                metrics={
                    "validation": evaluate(validated).scalars(),
                    "test": test.as_dict(dataset.class_names),
                },
                params_sha256=provenance.params_hash(population.states.params),
                history_sha256=trackers.history_sha256,
                resources=resources(
                    train_chunk, states, feed(np.zeros((len(runs), 1, config.train.batch_size), np.int32))
                ),
                **meter.progress,
            )
            trackers.evaluated("test", step, together, test)
            for run in runs:
                run.publish(trackers.say)
                interrupts.check()
    return trackers.wandb_place


def _going_on(runs: list[MemberRun]) -> list[int]:
    """The places of the members that did not fail.

    Raises UserError: all failed.
    """
    places = [place for place, run in enumerate(runs) if not run.diverged]
    if not places:
        raise UserError(f"all members failed; {runs[0].name}: {runs[0].diverged}")
    return places


def _of_member(row: Row, place: int, members: int) -> Row:
    """The row of one member; the speed is its share."""
    own = {key: value[place] if isinstance(value, list) else value for key, value in row.items()}
    return {**own, "images_per_second": row["images_per_second"] and row["images_per_second"] / members}


def _mean(row: Row, places: list[int]) -> Row:
    """The row averaged over members."""
    return {
        key: float(np.mean([value[place] for place in places])) if isinstance(value, list) else value
        for key, value in row.items()
    }


def _share(progress: dict[str, Any], members: int) -> dict[str, Any]:
    """The progress of one member: the time of all, its own images."""
    speed = progress["images_per_second"]
    return {
        **progress,
        "images": progress["images"] // members,
        "images_per_second": speed and speed / members,
    }
