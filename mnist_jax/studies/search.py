"""Searches a space of configs with Optuna: each trial is a run, scored on validation only."""

import concurrent.futures
import dataclasses
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import ml_collections
import optuna

from mnist_jax.config.identity import require_same
from mnist_jax.config.variants import Overrides, called, changed, flags_of
from mnist_jax.metrics.confusion import LOWER_IS_BETTER
from mnist_jax.storage.record import plain
from mnist_jax.storage.workdir import locked
from mnist_jax.studies.jobs import Slots, Task, TaskOutcome
from mnist_jax.studies.progress import SweepProgress
from mnist_jax.system.errors import UserError
from mnist_jax.system.interrupts import Interrupts

_POLL = 0.5  # seconds
_ENDED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)

Suggest = Callable[[optuna.Trial], Overrides]


class Best(NamedTuple):
    """The best trial of a search: its name and its metric on validation."""

    name: str
    value: float


@dataclasses.dataclass
class _Running:
    """A running trial; reported: the number of its evaluations that Optuna has."""

    trial: optuna.Trial
    task: Task
    reported: int = 0

    @property
    def name(self) -> str:
        return self.task.workdir.name


def run_search(
    base: ml_collections.ConfigDict,
    suggest: Suggest,
    workdir: pathlib.Path,
    flags: Sequence[str],
    *,
    jobs: int,
    trials: int,
) -> Best:
    """Runs trials in subfolders of the workdir until `trials` have ended; it resumes earlier ones.

    A trial is stopped if its validation metric is worse than the median of the others at the same evaluation.
    The study is stored in optuna.db of the workdir.

    Args:
        base: the config to change.
        suggest: from an Optuna trial to changes of the base config.
        workdir: of the search.
        flags: of `mnist-jax train`, for all trials.
        jobs: the number of trials to run at once.
        trials: the number of trials.

    Raises:
        UserError: a suggestion is not valid, the workdir holds a search of another base config, or no trial
            finished.
        Interrupted: after a signal, with all trials saved.
    """
    logging.getLogger("optuna").setLevel(logging.ERROR)
    metric = base.checkpoint.metric
    with (
        locked(workdir),
        Slots(jobs) as slots,
        SweepProgress(trials) as progress,
        Interrupts() as interrupts,
    ):
        interrupts.deferred = True
        study = _study(workdir, base)
        _enqueue_again(study)
        ended = _ended(study)
        progress.before(ended)
        running: dict[concurrent.futures.Future[TaskOutcome], _Running] = {}
        try:
            while ended < trials:
                while len(running) < min(jobs, trials - ended):
                    trial = study.ask()
                    one = _Running(trial, _task(study, trial, base, suggest, workdir, flags))
                    running[slots.submit(one.task)] = one
                done, _ = concurrent.futures.wait(running, _POLL)
                # A trial that the same signal ended has not failed; it is resumed.
                interrupts.check("the progress of all trials is saved: the same command resumes there")
                for one in running.values():
                    _judge(one, metric)
                for future in done:
                    one, outcome = running.pop(future), future.result()
                    progress.ended(one.name, _tell(study, one, outcome, metric))
                    ended += 1
                progress.running({one.name: one.task for one in running.values()})
        except BaseException:
            for one in running.values():
                one.task.stop()
            raise
        if not study.get_trials(states=_ENDED[:1]):
            first = _name(study.trials[0])
            raise UserError(f"no trial finished; see {workdir}/{first}/output.log for the first one")
        return Best(_name(study.best_trial), study.best_value)


def _task(
    study: optuna.Study,
    trial: optuna.Trial,
    base: ml_collections.ConfigDict,
    suggest: Suggest,
    workdir: pathlib.Path,
    flags: Sequence[str],
) -> Task:
    """The run of a trial; a trial that is not valid fails, so that it is not resumed."""
    name = _name(trial)
    try:
        overrides = called(suggest, trial)
        return Task(workdir / name, changed(base, overrides, name), [*flags, *flags_of(overrides)])
    except UserError:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise


def _name(trial: optuna.Trial | optuna.trial.FrozenTrial) -> str:
    """The name of its folder, which is that of the trial that it resumes, if there is one."""
    return trial.user_attrs.get("name", f"trial_{trial.number:04}")


def _enqueue_again(study: optuna.Study) -> None:
    """Enqueues the running trials of a killed search again, in their folders, under new numbers.

    Optuna's public interface cannot report results for a trial of another process.
    """
    for left in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.enqueue_trial(left.params, user_attrs={"name": _name(left)})
        study.tell(left.number, state=optuna.trial.TrialState.FAIL)


def _ended(study: optuna.Study) -> int:
    """The number of trials that ended, without those that other trials resume."""
    last = {_name(trial): trial.state for trial in study.get_trials(deepcopy=False)}
    return sum(state in _ENDED for state in last.values())


def _study(workdir: pathlib.Path, base: ml_collections.ConfigDict) -> optuna.Study:
    metric = base.checkpoint.metric
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{workdir / 'optuna.db'}",
            study_name="search",
            direction="minimize" if metric in LOWER_IS_BETTER else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
            load_if_exists=True,
        )
    except Exception as error:  # any exception of the database on a damaged file
        raise UserError(
            f"{workdir / 'optuna.db'} must be the database of a search (got {type(error).__name__}); give "
            "another --workdir"
        ) from error
    if "config" in study.user_attrs:
        require_same(study.user_attrs["config"], base.to_dict(), workdir)
    study.set_user_attr("config", plain(base.to_dict()))
    # A new sampler with the same seed would repeat its suggestions.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    return study


def _judge(one: _Running, metric: str) -> None:
    """Reports the evaluations so far, and stops a trial that is worse than the median."""
    values = [row[metric] for row in one.task.rows() if row["split"] == "validation"]
    new = list(enumerate(values))[one.reported :]
    for index, value in new:
        if value is not None:
            one.trial.report(value, index)
    one.reported = len(values)
    if new and not one.trial.user_attrs.get("pruned") and one.trial.should_prune():
        one.trial.set_user_attr("pruned", True)
        one.task.stop()


def _tell(study: optuna.Study, one: _Running, outcome: TaskOutcome, metric: str) -> TaskOutcome:
    """Reports to the study how a trial ended; returns the outcome to print."""
    if outcome.record is not None:
        study.tell(one.trial, outcome.record["metrics"]["validation"][metric])
        return outcome
    if outcome.status == "stopped":
        study.tell(one.trial, state=optuna.trial.TrialState.PRUNED)
        return outcome._replace(status="pruned")
    study.tell(one.trial, state=optuna.trial.TrialState.FAIL)
    return outcome
