"""The progress of a sweep on the terminal."""

import time
from collections.abc import Callable, Mapping

from rich.progress import BarColumn, Progress, TextColumn

from mnist_jax.studies.jobs import Task, TaskOutcome
from mnist_jax.system.output import printable
from mnist_jax.system.terminal import Terminal


class SweepProgress:
    """A context manager: a line for each member that ended, and on a terminal a bar over all members."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic):
        self._out, self._total, self._clock = Terminal(), total, clock
        self._ended, self._at_once = 0, 0
        self._running: dict[str, Task] = {}
        self._started = clock()
        self._bar = Progress(
            TextColumn("{task.description:24.24}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[left]:>14}"),
            console=self._out,
            transient=True,
            expand=True,
            disable=not self._out.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=total, left="")

    def __enter__(self) -> "SweepProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def before(self, ended: int) -> None:
        """Counts members that ended in an earlier process."""
        self._ended += ended
        self._at_once += ended

    def running(self, tasks: Mapping[str, Task]) -> None:
        """Shows the running members.

        Args:
            tasks: by name.
        """
        self._running = dict(tasks)
        if not self._bar.disable:
            done = self._done()
            names = printable(", ".join(tasks)) or "ending"
            self._bar.update(self._task, completed=done, description=names, left=self.time_left(done))

    def ended(self, name: str, outcome: TaskOutcome) -> None:
        """Prints how a member ended."""
        self._running.pop(name, None)
        self._ended += 1
        self._at_once += outcome.status == "finished" and outcome.seconds == 0.0
        if outcome.record is not None:
            what = f"test accuracy {outcome.record['metrics']['test']['accuracy']:.4f}"
        else:
            what = f"{outcome.status}  {outcome.reason}".rstrip()
        took = f"{outcome.seconds:.0f} s" if outcome.seconds else "finished before"
        left = self.time_left(self._done())
        self.say("  ".join(filter(None, (f"[{self._ended}/{self._total}] {name}", what, took, left))))

    def say(self, text: str) -> None:
        """Prints a line of text, above the bar if there is one."""
        self._out.say(text)

    def _done(self) -> float:
        """The number of members that ended, plus the fractions of the running ones."""
        return self._ended + sum(task.fraction() for task in self._running.values())

    def time_left(self, done: float) -> str:
        """The remaining time in words, from the members trained by this process; "" before half of one.

        An earlier estimate would be of the start of the processes, not of training.
        """
        worked, rest = done - self._at_once, self._total - done
        if worked < 0.5 or rest <= 0:
            return ""
        seconds = round((self._clock() - self._started) / worked * rest)
        minutes = seconds // 60
        if minutes >= 60:
            return f"{minutes // 60} h {minutes % 60:02} min left"
        return f"{minutes} min left" if minutes else f"{seconds} s left"
