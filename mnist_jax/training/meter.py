"""Training metrics and throughput, fetched from the device one chunk late so that it never waits."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mnist_jax.system.profiling import compile_seconds, process_seconds
from mnist_jax.training.plan import Plan


class Meter:
    """Averages the metrics of steps between the plan's pauses, and times training without the pauses.

    The clock starts when the first chunk is done. Chunks during which a program compiled do not count.
    """

    def __init__(
        self, plan: Plan, batch_size: int, before: Mapping[str, Any], *, models: int = 1, skipped: int = 0
    ):
        """Starts the measurement.

        Args:
          plan: defines where intervals end.
          batch_size: images per step and model.
          before: the saved `progress` of a resumed run; {} for a new one.
          models: the number of models.
          skipped: the number of consecutive steps that may have a loss or gradient that is not finite.
        """
        self._plan, self._batch_size, self._models, self._skipped = plan, batch_size, models, skipped
        self._seconds, self._images = before.get("train_seconds", 0.0), before.get("images", 0)
        self._wall_before = before.get("wall_seconds", 0.0)
        self._pending: tuple[int, Sequence[Mapping[str, jax.Array]]] | None = None
        self._interval: list[dict[str, np.ndarray]] = []
        self._interval_seconds, self._interval_images = 0.0, 0
        self._mark: float | None = None  # when the previous chunk was done,
        self._compiled = 0.0  # and the compile time until then
        self._startup: float | None = None
        self.diverged: dict[int, str] = {}  # index of a model whose loss is not finite -> message

    @property
    def progress(self) -> dict[str, Any]:
        """Seconds from the start of the process to the end of its first step; over all processes of this run,
        seconds of training, images that all models were trained on, and their ratio; wall seconds of the
        whole run.
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

    def put(self, step: int, metrics: Sequence[Mapping[str, jax.Array]]) -> None:
        """Keeps the metrics of the chunk that ends at `step` and is still running.

        Args:
          step: the last step of the chunk.
          metrics: of P models and S steps, (P, S), in one part or several along P; `nonfinite` counts the
            consecutive steps, up to each, with a loss or gradient that is not finite.
        """
        self._pending = step, metrics

    def fetch(self, *, pause: bool = False) -> list[dict[str, Any]]:
        """Waits for the latest chunk, and notes in `diverged` which models are not finite.

        Args:
          pause: training stops here, so the interval ends with it.

        Returns:
          a row of averages for each model if the chunk ends an interval, else no rows.
        """
        if self._pending is None:
            return []
        step, metrics = self._pending
        self._pending = None
        parts = jax.device_get(metrics)
        values = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        self._tick(values["loss"].shape[-1] * self._batch_size)
        for model in range(self._models):
            own = {key: of[model] for key, of in values.items()}
            if message := _training_divergence(step, own, self._skipped):
                self.diverged.setdefault(model, message)
        self._interval.append({key: of for key, of in values.items() if key != "nonfinite"})
        return self._close(step) if pause or step in self._plan.logs else []

    def _tick(self, images: int) -> None:
        if self._mark is None:
            self._startup = process_seconds()
        elif compile_seconds() == self._compiled:
            self._interval_seconds += time.perf_counter() - self._mark
            self._interval_images += images
        self._start_clock()

    def _start_clock(self) -> None:
        self._mark, self._compiled = time.perf_counter(), compile_seconds()

    def _close(self, step: int) -> list[dict[str, Any]]:
        merged = {
            key: np.concatenate([values[key] for values in self._interval], axis=-1)
            for key in self._interval[0]
        }
        speed = self._interval_images / self._interval_seconds if self._interval_images else None
        rows = [
            {
                "split": "train",
                "step": step,
                "epoch": self._plan.epoch(step),
                "steps": merged["loss"].shape[-1],
                **{key: _mean(values[model]) for key, values in merged.items()},
                "learning_rate": float(merged["learning_rate"][model, -1]),
                "images_per_second": speed,
            }
            for model in range(self._models)
        ]
        self._seconds += self._interval_seconds
        self._images += self._interval_images * self._models
        self._interval, self._interval_seconds, self._interval_images = [], 0.0, 0
        return rows


def _training_divergence(step: int, values: dict[str, np.ndarray], skipped: int) -> str | None:
    """The message if too many consecutive steps of those (S,) that end at `step` are not finite."""
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


def _mean(values: np.ndarray) -> float:
    """The mean of the finite values; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else math.nan


def validation_divergence(loss: float, step: int) -> str | None:
    """The message if the validation loss after a step is not finite: its parameters are useless."""
    if math.isfinite(loss):
        return None
    return (
        f"the validation loss is {loss} after step {step}; lower config.optimizer.learning_rate or set "
        "config.optimizer.clip_norm"
    )
