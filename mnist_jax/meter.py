"""Training metrics and throughput, fetched from the device one chunk late so that it never waits."""

import time
from typing import Any

import jax
import numpy as np

from mnist_jax.errors import UserError
from mnist_jax.plan import Plan


class Meter:
    """Averages the metrics of steps between the plan's pauses, and times training without the pauses.

    seconds, images: training time and the images trained in it, from the end of the first chunk on, which
    compiles; pauses are left out.
    """

    def __init__(self, plan: Plan, batch_size: int, seconds: float = 0.0, images: int = 0):
        """seconds, images: those of the run before it was resumed."""
        self.seconds, self.images = seconds, images
        self._plan, self._batch_size = plan, batch_size
        self._pending: tuple[int, dict[str, jax.Array]] | None = None
        self._interval: list[dict[str, np.ndarray]] = []
        self._interval_seconds, self._interval_images = 0.0, 0
        self._mark: float | None = None

    def resume(self) -> None:
        """Starts the clock again after a pause."""
        if self._mark is not None:
            self._mark = time.perf_counter()

    @property
    def images_per_second(self) -> float | None:
        """Training throughput over the whole run; None where nothing was timed."""
        return self.images / self.seconds if self.seconds else None

    def put(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Keeps the metrics of the chunk that ends at `step`, which is under way."""
        self._pending = step, metrics

    def fetch(self, *, pause: bool = False) -> dict[str, Any] | None:
        """Waits for the chunk put last; a row of averages where it ends an interval.

        pause: training stops here, so the interval ends with it.
        Raises UserError: the loss is not finite.
        """
        if self._pending is None:
            return None
        step, metrics = self._pending
        self._pending = None
        values = jax.device_get(metrics)
        self._tick(len(values["loss"]) * self._batch_size)
        self._check_finite(step, values)
        self._interval.append(values)
        return self._close(step) if pause or step in self._plan.logs else None

    def _tick(self, images: int) -> None:
        now = time.perf_counter()
        if self._mark is not None:
            self._interval_seconds += now - self._mark
            self._interval_images += images
        self._mark = now

    def _close(self, step: int) -> dict[str, Any]:
        merged = {
            key: np.concatenate([values[key] for values in self._interval]) for key in self._interval[0]
        }
        row = {
            "split": "train",
            "step": step,
            "epoch": step / self._plan.steps_per_epoch,
            "steps": len(merged["loss"]),
            **{key: float(values.mean(dtype=np.float64)) for key, values in merged.items()},
            "learning_rate": float(merged["learning_rate"][-1]),
            "images_per_second": self._interval_images / self._interval_seconds
            if self._interval_images
            else None,
        }
        self.seconds += self._interval_seconds
        self.images += self._interval_images
        self._interval, self._interval_seconds, self._interval_images = [], 0.0, 0
        return row

    def _check_finite(self, step: int, values: dict[str, np.ndarray]) -> None:
        bad = np.flatnonzero(~np.isfinite(values["loss"]))
        if bad.size:
            first = bad[0]
            loss, rate, norm = (values[key][first] for key in ("loss", "learning_rate", "grad_norm"))
            raise UserError(
                f"the loss is {loss} at step {step - len(values['loss']) + first + 1} (learning rate {rate:.3g}, "
                f"gradient norm {norm:.3g}); lower config.optimizer.learning_rate or set "
                "config.optimizer.clip_norm"
            )
