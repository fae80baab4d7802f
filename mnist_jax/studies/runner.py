"""Runs the members of a sweep: what is done is left, what was stopped goes on, what fails is told."""

import concurrent.futures
import pathlib
from collections.abc import Sequence

from mnist_jax.config.variants import Member, flags_of
from mnist_jax.studies.jobs import Slots, Task, TaskOutcome
from mnist_jax.studies.progress import SweepProgress
from mnist_jax.system.interrupts import Interrupts
from mnist_jax.system.terminal import warn

_POLL = 0.5  # seconds


def run_sweep(members: Sequence[Member], workdir: pathlib.Path, flags: Sequence[str], jobs: int) -> bool:
    """Runs each member in a folder of its name; returns whether all are finished.

    flags: of `mnist-jax train`, for all members. jobs: how many side by side.
    Raises UserError: more jobs than cores. Interrupted: after a signal, with all members saved.
    """
    tasks = {
        member.name: Task(workdir / member.name, member.config, [*flags, *flags_of(member.overrides)])
        for member in members
    }
    with Slots(jobs) as slots, SweepProgress(len(tasks)) as progress, Interrupts() as interrupts:
        interrupts.deferred = True
        futures = {slots.submit(task): name for name, task in tasks.items()}
        outcomes: dict[str, TaskOutcome] = {}
        pending = set(futures)
        try:
            while pending:
                done, pending = concurrent.futures.wait(pending, _POLL)
                interrupts.check("what the members had done is saved: the same command goes on there")
                for future in sorted(done, key=list(futures).index):
                    outcomes[futures[future]] = future.result()
                    progress.ended(futures[future], future.result())
                progress.running(
                    {
                        name: tasks[name]
                        for future, name in futures.items()
                        if future in pending and future.running()
                    }
                )
        except BaseException:
            for task in tasks.values():
                task.stop()
            raise
    failed = sorted(failure for name, outcome in outcomes.items() for failure in _failures(name, outcome))
    if failed:
        where = workdir / (failed[0] if len(failed) == 1 else "NAME") / "run.json"
        log = where.with_name("output.log")
        warn(f"{len(failed)} failed: {', '.join(failed)}; {log if log.exists() else where} says why")
    return not failed


def _failures(name: str, outcome: TaskOutcome) -> list[str]:
    """A member that failed, or those of a population that did."""
    if outcome.record is None:
        return [name]
    members = outcome.record.get("population", [])
    return [f"{name}/{member['member']}" for member in members if member["status"] == "failed"]
