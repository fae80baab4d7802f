"""Checkpoints of a run; the only file that knows Orbax."""

import pathlib
from typing import Any

import jax
import ml_collections
from orbax.checkpoint import v1 as ocp

from mnist_jax.errors import UserError
from mnist_jax.steps import TrainState

_STATE = "state"
_LOWER_IS_BETTER = frozenset({"loss"})


class Checkpoints:
    """The checkpoints in one folder, a subfolder for each step: the latest `keep` and the best.

    Saving is asynchronous; a checkpoint appears whole or not at all. A context manager: leaving it waits
    for the save under way.
    """

    def __init__(
        self, folder: pathlib.Path, config: ml_collections.FrozenConfigDict, *, read_only: bool = False
    ):
        """config: `config.checkpoint`. read_only: leaves alone what another process is saving."""
        self._folder, self._metric = folder.resolve(), config.metric  # Orbax takes no relative path
        policies = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            self._folder,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(config.keep),
                    policies.BestN(get_metric_fn=self._score, n=1, keep_checkpoints_without_metrics=False),
                ]
            ),
            cleanup_tmp_directories=not read_only,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpointer.close()

    def save(
        self, step: int, state: TrainState, *, notes: dict[str, Any], metrics: dict[str, float] | None
    ) -> None:
        """Starts to save the state after `step` steps, with JSON notes and, after an evaluation, metrics."""
        self._checkpointer.save_checkpointables_async(
            step, {_STATE: state}, force=True, overwrite=True, custom_metadata=notes, metrics=metrics
        )

    def wait(self) -> None:
        """Returns when the save under way is on disk."""
        self._checkpointer.wait()

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    @property
    def best(self) -> tuple[int, dict[str, float]]:
        """Step and validation metrics of the best checkpoint; of equals, the latest.

        Raises UserError: no checkpoint was evaluated.
        """
        rated = [c for c in self._checkpointer.checkpoints if c.metrics]
        if not rated:
            raise UserError(f"no checkpoint in {self._folder} was evaluated; start anew in another --workdir")
        best = max(rated, key=lambda c: (self._score(c.metrics), c.step))
        return best.step, dict(best.metrics)

    def restore_latest(self, state: TrainState) -> tuple[TrainState, dict[str, Any], list[str]]:
        """The latest checkpoint that can be read, its notes, and a warning for each later one that can't.

        Where there is none yet: the state given, which has the shapes, dtypes and devices wanted.
        Raises UserError: there are checkpoints, and none can be read.
        """
        warnings: list[str] = []
        for checkpoint in reversed(self._checkpointer.checkpoints):
            try:
                return *self.restore(checkpoint.step, state), warnings
            except Exception as error:  # Orbax, TensorStore and the file system each raise their own
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                warnings.append(f"checkpoint {self._folder / str(checkpoint.step)} cannot be read: {reason}")
        if warnings:
            raise UserError(f"{warnings[0]}; start anew in another --workdir")
        return state, {}, []

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The checkpoint of a step and its notes, with the shapes, dtypes and devices of `like`."""
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like
        )
        state = self._checkpointer.load_checkpointables(step, {_STATE: abstract})[_STATE]
        return state, self._checkpointer.checkpointables_metadata(step).custom_metadata or {}

    def _score(self, metrics: dict[str, float]) -> float:
        return -metrics[self._metric] if self._metric in _LOWER_IS_BETTER else metrics[self._metric]
