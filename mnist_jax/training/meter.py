"""Training metrics and throughput, fetched from the device one chunk late so that it never waits."""

import math
import time
from typing import Any

import jax
import numpy as np

from mnist_jax.system.errors import UserError
from mnist_jax.system.profiling import compile_seconds, process_seconds
from mnist_jax.training.plan import Plan


class Meter:
    """Averages the metrics of steps between the plan's pauses, and times training without the pauses.

    The clock starts when the first chunk is done. Chunks during which another one compiled do not count.
    """

    def __init__(self, plan: Plan, batch_size: int, before: dict[str, Any], *, skipped: int = 0):
        """batch_size: images a step, of all models. before: the `progress` of the run when it was saved; {}
        for a new one. skipped: how many steps in a row may have a loss or gradient that is not finite.
        """
        self._plan, self._batch_size, self._skipped = plan, batch_size, skipped
        self._seconds, self._images = before.get("train_seconds", 0.0), before.get("images", 0)
        self._wall_before = before.get("wall_seconds", 0.0)
        self._pending: tuple[int, dict[str, jax.Array]] | None = None
        self._interval: list[dict[str, np.ndarray]] = []
        self._interval_seconds, self._interval_images = 0.0, 0
        self._mark: float | None = None  # when the chunk before was done,
        self._compiled = 0.0  # and what had been spent on compiling until then
        self._startup: float | None = None
        self.diverged: dict[int, str] = {}  # of several models, by place, those whose loss is not finite, why

    @property
    def progress(self) -> dict[str, Any]:
        """Seconds from the process's start to its first step done; seconds of training over all processes
        of this run, the images trained in them and their ratio; wall seconds of the whole run.
        """
        return {
            "startup_seconds": self._startup,
            "train_seconds": self._seconds,
            "images": self._images,
            "images_per_second": self._images / self._seconds if self._seconds else None,
            "wall_seconds": self._wall_before + process_seconds(),
        }

    def resume(self) -> None:
        """Starts the clock again after a pause."""
        if self._mark is not None:
            self._start_clock()

    def put(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Keeps the metrics of the chunk that ends at `step`, which is under way.

        metrics: of S steps, (S,) each or, of P models at once, (P, S); `nonfinite` counts how many steps in a
        row up to each had a loss or gradient that is not finite.
        """
        self._pending = step, metrics

    def fetch(self, *, pause: bool = False) -> dict[str, Any] | None:
        """Waits for the chunk put last; a row of averages where it ends an interval.

        The averages are lists of P numbers for P models.
        pause: training stops here, so the interval ends with it.
        Raises UserError: the loss or gradient of the only model is not finite, for too many steps in a row.
        """
        if self._pending is None:
            return None
        step, metrics = self._pending
        self._pending = None
        values = jax.device_get(metrics)
        self._tick(values["loss"].shape[-1] * self._batch_size)
        self._check_finite(step, values)
        self._interval.append({key: of for key, of in values.items() if key != "nonfinite"})
        return self._close(step) if pause or step in self._plan.logs else None

    def _tick(self, images: int) -> None:
        if self._mark is None:
            self._startup = process_seconds()
        elif compile_seconds() == self._compiled:
            self._interval_seconds += time.perf_counter() - self._mark
            self._interval_images += images
        self._start_clock()

    def _start_clock(self) -> None:
        self._mark, self._compiled = time.perf_counter(), compile_seconds()

    def _close(self, step: int) -> dict[str, Any]:
        merged = {
            key: np.concatenate([values[key] for values in self._interval], axis=-1)
            for key in self._interval[0]
        }
        row = {
            "split": "train",
            "step": step,
            "epoch": self._plan.epoch(step),
            "steps": merged["loss"].shape[-1],
            **{key: _mean(values) for key, values in merged.items()},
            "learning_rate": merged["learning_rate"][..., -1].tolist(),
            "images_per_second": self._interval_images / self._interval_seconds
            if self._interval_images
            else None,
        }
        self._seconds += self._interval_seconds
        self._images += self._interval_images
        self._interval, self._interval_seconds, self._interval_images = [], 0.0, 0
        return row

    def _check_finite(self, step: int, values: dict[str, np.ndarray]) -> None:
        if values["loss"].ndim == 1:
            if message := _training_divergence(step, values, self._skipped):
                raise UserError(message)
            return
        for model in range(len(values["loss"])):
            own = {key: of[model] for key, of in values.items()}
            if message := _training_divergence(step, own, self._skipped):
                self.diverged.setdefault(model, message)


def _training_divergence(step: int, values: dict[str, np.ndarray], skipped: int) -> str | None:
    """What to say where of the steps (S,) that end at `step` too many in a row are not finite."""
    bad = np.flatnonzero(values["nonfinite"] > skipped)
    if not bad.size:
        return None
    first = bad[0]
    at = step - len(values["loss"]) + first + 1
    loss, rate, norm = (values[key][first] for key in ("loss", "learning_rate", "grad_norm"))
    what = f"the gradient norm is {norm}" if np.isfinite(loss) else f"the loss is {loss}"
    return (
        f"{what} at step {at} (learning rate {rate:.3g}, gradient norm {norm:.3g}); "
        "lower config.optimizer.learning_rate or set config.optimizer.clip_norm"
    )


def _mean(values: np.ndarray) -> Any:
    """Over the last axis, of what is finite; not a number where nothing is."""
    finite = np.isfinite(values)
    total = np.where(finite, values, 0).sum(axis=-1, dtype=np.float64)
    return np.where(finite.any(-1), total / np.maximum(finite.sum(-1), 1), np.nan).tolist()


def validation_divergence(loss: float, step: int) -> str | None:
    """What to say where the validation loss after a step is not finite: its parameters are of no use."""
    if math.isfinite(loss):
        return None
    return (
        f"the validation loss is {loss} after step {step}; lower config.optimizer.learning_rate or set "
        "config.optimizer.clip_norm"
    )


def require_finite(loss: float, step: int) -> None:
    """Raises UserError where the validation loss after a step is not finite."""
    if message := validation_divergence(loss, step):
        raise UserError(message)
