"""Searches a space of configs with Optuna: each trial a run of its own, judged on validation alone."""

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
    """The best trial of a search: its name, and the metric on validation."""

    name: str
    value: float


@dataclasses.dataclass
class _Running:
    """A trial at work. reported: how many of its evaluations Optuna knows."""

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
    """Runs trials, in folders of the workdir, until so many have ended; what was begun before goes on.

    suggest: from an Optuna trial to changes of the base config. flags: of `mnist-jax train`, for all
    trials. A trial whose validation metric is worse than the median of the others at the same evaluation is
    stopped. The study is in optuna.db of the workdir.
    Raises UserError: a suggestion that may not be, a search of another base config there, or no trial that
    finished. Interrupted: after a signal, with all trials saved.
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
        _take_up(study)
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
                # A trial that the same signal ended has not failed: it goes on.
                interrupts.check("what the trials had done is saved: the same command goes on there")
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
            raise UserError(f"no trial finished; {workdir}/{first}/output.log has what the first one said")
        return Best(_name(study.best_trial), study.best_value)


def _task(
    study: optuna.Study,
    trial: optuna.Trial,
    base: ml_collections.ConfigDict,
    suggest: Suggest,
    workdir: pathlib.Path,
    flags: Sequence[str],
) -> Task:
    """The run that a trial is; one that cannot be fails, so that it is not taken up again."""
    name = _name(trial)
    try:
        overrides = called(suggest, trial)
        return Task(workdir / name, changed(base, overrides, name), [*flags, *flags_of(overrides)])
    except UserError:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise


def _name(trial: optuna.Trial | optuna.trial.FrozenTrial) -> str:
    """Of its folder: that of the trial which it takes up, if any."""
    return trial.user_attrs.get("name", f"trial_{trial.number:04}")


def _take_up(study: optuna.Study) -> None:
    """Lets each trial that a killed search left at work go again, in its folder, under a new number.

    Optuna's public interface has no way to report for a trial that another process began.
    """
    for left in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.enqueue_trial(left.params, user_attrs={"name": _name(left)})
        study.tell(left.number, state=optuna.trial.TrialState.FAIL)


def _ended(study: optuna.Study) -> int:
    """How many trials have ended, without those that others took up."""
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
    except Exception as error:  # whatever a damaged file leads the database to
        raise UserError(
            f"{workdir / 'optuna.db'} cannot be used ({type(error).__name__}); give another --workdir"
        ) from error
    if "config" in study.user_attrs:
        require_same(study.user_attrs["config"], base.to_dict(), workdir)
    study.set_user_attr("config", plain(base.to_dict()))
    # A sampler that starts anew with the same seed would suggest the same again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    return study


def _judge(one: _Running, metric: str) -> None:
    """Reports the evaluations so far, and stops a trial that is worse than the median."""
    values = [row[metric] for row in one.task.rows() if row["split"] == "validation"]
    new = list(enumerate(values))[one.reported :]
    for place, value in new:
        if value is not None:
            one.trial.report(value, place)
    one.reported = len(values)
    if new and not one.trial.user_attrs.get("pruned") and one.trial.should_prune():
        one.trial.set_user_attr("pruned", True)
        one.task.stop()


def _tell(study: optuna.Study, one: _Running, outcome: TaskOutcome, metric: str) -> TaskOutcome:
    """Tells the study how a trial ended; returns that for the person at the terminal."""
    if outcome.record is not None:
        study.tell(one.trial, outcome.record["metrics"]["validation"][metric])
        return outcome
    if outcome.status == "stopped":
        study.tell(one.trial, state=optuna.trial.TrialState.PRUNED)
        return outcome._replace(status="pruned")
    study.tell(one.trial, state=optuna.trial.TrialState.FAIL)
    return outcome
