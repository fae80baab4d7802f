"""How long a run still takes, from its first measured steps on."""

import time
from collections.abc import Callable

from mnist_jax.storage.history import Row
from mnist_jax.system.profiling import compile_seconds
from mnist_jax.training.plan import Plan

_PAUSE = 0.3  # seconds of a validation with its checkpoint, until one is measured
_END = 1.0  # seconds for the test split and the report


class TimeLeft:
    """Estimates the remaining seconds: steps at the measured speed, plus what each pause takes.

    Compilation is left out of both, and so is the first pause, which also traces the evaluation: the time
    that they take does not come again.
    """

    def __init__(
        self,
        plan: Plan,
        images_per_step: int,
        *,
        clock: Callable[[], float] = time.perf_counter,
        compiled: Callable[[], float] = compile_seconds,
    ):
        """Starts without an estimate.

        Args:
            plan: of the run.
            images_per_step: of all models.
            clock: seconds.
            compiled: seconds that were spent on compiling so far.
        """
        self._plan, self._images_per_step = plan, images_per_step
        self._clock, self._compiled = clock, compiled
        self._pause = _PAUSE
        self._steps, self._seconds = 0, 0.0  # measured in training
        self._last: tuple[int, float] | None = None  # step of the last validation, and when it ended
        self._end: float | None = None

    def seconds(self) -> float | None:
        """Returns the remaining seconds; None before the first measured steps."""
        return None if self._end is None else max(self._end - self._clock(), 0.0)

    def log(self, row: Row) -> None:
        """Takes a row of the history."""
        if row["split"] == "train" and row["images_per_second"]:
            self._steps += row["steps"]
            self._seconds += row["steps"] * self._images_per_step / row["images_per_second"]
        elif row["split"] == "validation":
            self._measure_pause(row["step"])
        if self._steps:
            step, total = row["step"], self._plan.total_steps
            validated = step if row["split"] == "validation" else step - 1
            pauses = self._plan.evaluations_between(validated, total)
            left = (total - step) * self._per_step + pauses * self._pause + _END
            self._end = self._clock() + left

    @property
    def _per_step(self) -> float:
        return self._seconds / self._steps

    def _measure_pause(self, step: int) -> None:
        """Between two validations, what is neither training nor compilation is one pause."""
        now = self._clock() - self._compiled()
        if self._last and self._steps:
            before, then = self._last
            pause = max(now - then - (step - before) * self._per_step, 0.0)
            self._pause = (self._pause + pause) / 2
        self._last = step, now


def duration(seconds: float) -> str:
    """Seconds as 0:07, 12:34, 1:02:03 or 120 h."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
