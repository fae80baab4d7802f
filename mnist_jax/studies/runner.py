"""Runs the members of a sweep: it skips finished ones, resumes stopped ones, and reports failures."""

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
    """Runs each member in a folder of its name.

    Args:
        members: of the sweep.
        workdir: of the sweep.
        flags: of `mnist-jax train`, for all members.
        jobs: the number of members to run at once.

    Returns:
        whether all members are finished.

    Raises:
        UserError: there are more jobs than cores.
        Interrupted: after a signal, with all members saved.
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
                interrupts.check("the progress of all members is saved: the same command resumes there")
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
        warn(f"{len(failed)} failed: {', '.join(failed)}; see {log if log.exists() else where}")
    return not failed


def _failures(name: str, outcome: TaskOutcome) -> list[str]:
    """The name of a failed member, or those of the failed members of a population."""
    if outcome.record is None:
        return [name]
    members = outcome.record.get("population", [])
    return [f"{name}/{member['member']}" for member in members if member["status"] == "failed"]
