"""Checkpoints of a run; the only file that knows Orbax."""

import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import ml_collections
from orbax.checkpoint import v1 as ocp

from mnist_jax.config.fields import require_same
from mnist_jax.metrics.confusion import merit
from mnist_jax.system import distributed
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import text_hash, write_whole

PyTree = Any
State = TypeVar("State", bound=PyTree)  # with a field `step`

_STATE = "state"
_SEAL = "sha256"  # of notes and of metrics, which Orbax keeps as plain JSON


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
        self._saving: Any = None  # Orbax's response of the save under way
        policies = ocp.training.preservation_policies
        try:
            # Orbax writes with TensorStore, which would find such names wrong at the first save.
            if "\\" in str(self._folder) or any(part.endswith(".__lock") for part in self._folder.parts):
                raise ValueError("TensorStore takes no backslash, and no name that ends in .__lock")
            self._damaged = _with_damaged_metrics(self._folder, mark=not read_only)
            self._checkpointer = ocp.training.Checkpointer(
                self._folder,
                save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(config.keep),
                        policies.BestN(
                            get_metric_fn=self._score, n=1, keep_checkpoints_without_metrics=False
                        ),
                    ]
                ),
                cleanup_tmp_directories=not read_only,
            )
            self._damaged.intersection_update(self.steps)  # without one that its run has just removed
            next(self._folder.iterdir(), None)
        except Exception as error:  # Orbax and the file system each raise their own, here and below
            raise UserError(
                f"{self._folder} cannot be used ({_short(error)}); move what is damaged there away, or give "
                "another --workdir"
            ) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or distributed.count() == 1:  # or it might wait for a process that is gone
            try:
                self.wait()
            finally:
                self._checkpointer.close()

    def save(
        self, step: int, state: PyTree, *, notes: dict[str, Any], metrics: dict[str, float] | None
    ) -> None:
        """Starts to save the state after `step` steps, with JSON notes and, after an evaluation, metrics."""
        self.wait()
        self._damaged.discard(step)
        self._saving = self._checkpointer.save_checkpointables_async(
            step,
            {_STATE: state},
            force=True,
            overwrite=True,
            custom_metadata=_sealed(notes),
            metrics=metrics and _sealed(metrics),
        )

    def wait(self) -> None:
        """Returns when the save under way is on disk."""
        if self._saving is not None:
            saving, self._saving = self._saving, None
            saving.result()  # without which its thread and open files would stay
        self._checkpointer.wait()

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    @property
    def best(self) -> int:
        """Step of the checkpoint with the best validation metrics; of equals, the latest.

        Raises UserError: no checkpoint was evaluated, or the metrics of one are damaged.
        """
        if self._damaged:
            raise UserError(
                f"{self._not_as_written(min(self._damaged))}, so that the best is not known; name one by "
                "--checkpoint=STEP"
            )
        return self._ranked()[0].step

    def restore_best(self, state: State, warn: Callable[[str], None]) -> tuple[int, dict[str, float], State]:
        """Step, validation metrics and state of the best checkpoint that can be read.

        state: that of the latest step, which is not read again. warn: told of each that cannot be read.
        Raises UserError: none can be read.
        """
        for checkpoint in self._ranked():
            metrics = {key: value for key, value in checkpoint.metrics.items() if key != _SEAL}
            if checkpoint.step == int(state.step):
                return checkpoint.step, metrics, state
            try:
                return checkpoint.step, metrics, self.restore(checkpoint.step, state)
            except UserError as error:
                warn(f"{error}; the next best is taken")
        raise UserError(f"no evaluated checkpoint in {self._folder} can be read; give another --workdir")

    def restore_latest(
        self,
        state: State,
        config: ml_collections.FrozenConfigDict,
        warn: Callable[[str], None],
        *,
        force: bool,
    ) -> tuple[State, dict[str, Any]]:
        """The latest checkpoint that can be read, and its notes; the state given where there is none yet.

        state: with the shapes, dtypes and devices wanted. warn: told of each that cannot be read.
        force: take the checkpoint of another config where it fits.
        Raises UserError: none can be read, or it is of another config.
        """
        for step in sorted(self._damaged):
            warn(
                f"{self._not_as_written(step)}: it cannot be the best, and if it is the latest, the one "
                "before is taken"
            )
        for step in sorted(self.steps, key=lambda step: (step in self._damaged, -step)):
            try:
                notes = self._notes(step)
                if not force:
                    require_same(notes["config"], config.to_dict(), self._folder.parent)
                return self.restore(step, state), notes
            except _Unreadable as error:
                warn(f"{error}; the one before is taken")
        if self.steps:
            raise UserError(f"no checkpoint in {self._folder} can be read; give another --workdir")
        return state, {}

    def restore_asked(self, step: int | None, like: State) -> tuple[int, State]:
        """The step asked for, None for the best so far, and its state; see `restore`.

        Raises UserError: there is no such checkpoint, or it cannot be read.
        """
        step = self.best if step is None else step
        if step not in self.steps:
            kept = ", ".join(map(str, self.steps)) or "none"
            raise UserError(f"--checkpoint={step} is not in {self._folder}, which has: {kept}")
        return step, self.restore(step, like)

    def restore(self, step: int, like: State) -> State:
        """The state of a step, with the shapes, dtypes and devices of `like`.

        Raises UserError: it cannot be read, or has other arrays than `like`.
        """
        if not self._fits(step, like):
            raise UserError(
                f"checkpoint {self._folder / str(step)} has other parameters or optimizer state than the "
                "config asks for; a change of these needs a new --workdir"
            )
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like
        )
        try:
            return self._checkpointer.load_checkpointables(step, {_STATE: abstract})[_STATE]
        except Exception as error:
            raise self._unreadable(step, error) from error

    def _fits(self, step: int, like: PyTree) -> bool:
        """Whether a checkpoint has arrays of the same names, shapes and dtypes, by its metadata alone."""
        try:
            saved = self._checkpointer.checkpointables_metadata(step).metadata[_STATE]
        except Exception as error:
            raise self._unreadable(step, error) from error
        if saved is None:
            raise self._unreadable(step, ValueError("its metadata is damaged"))
        return _signature(saved) == _signature(like)

    def _notes(self, step: int) -> dict[str, Any]:
        try:
            notes = self._checkpointer.checkpointables_metadata(step).custom_metadata
            if _intact(notes) and isinstance(notes["config"], dict) and isinstance(notes["progress"], dict):
                return notes
        except Exception as error:
            raise self._unreadable(step, error) from error
        raise self._unreadable(step, ValueError("its notes are not as they were written"))

    def _not_as_written(self, step: int) -> str:
        return f"the metrics of checkpoint {self._folder / str(step)} are not as they were written"

    def _unreadable(self, step: int, error: Exception) -> "_Unreadable":
        return _Unreadable(f"checkpoint {self._folder / str(step)} cannot be read ({_short(error)})")

    def _ranked(self) -> list[Any]:
        rated = [
            one
            for one in self._checkpointer.checkpoints
            if one.metrics and self._score(one.metrics) > -math.inf
        ]
        if not rated:
            raise UserError(f"no checkpoint in {self._folder} was evaluated; start anew in another --workdir")
        return sorted(rated, key=lambda one: (self._score(one.metrics), one.step), reverse=True)

    def _score(self, metrics: dict[str, float]) -> float:
        """Higher is better; the lowest where a damaged file has no number, or another than was written."""
        value = metrics.get(self._metric) if _are_scores(metrics) else None
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return -math.inf
        return merit(self._metric, value)


class _Unreadable(UserError):
    """A checkpoint whose files are damaged."""


def _sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**fields, _SEAL: text_hash(json.dumps(fields, sort_keys=True))}


def _intact(fields: Mapping[str, Any]) -> bool:
    """Whether what `_sealed` gave is as it was; what an earlier version left without a seal is believed."""
    rest = {key: value for key, value in fields.items() if key != _SEAL}
    return _SEAL not in fields or fields == _sealed(rest)


def _are_scores(read: Any) -> bool:
    """Whether metrics are as they were saved: numbers and a seal; a text may be one whose name is damaged."""
    return (
        isinstance(read, dict)
        and _intact(read)
        and not any(isinstance(value, str) for key, value in read.items() if key != _SEAL)
    )


def _with_damaged_metrics(folder: pathlib.Path, *, mark: bool) -> set[int]:
    """The steps whose metrics are not as they were written.

    mark: puts a broken seal in the place of metrics that are no JSON, for which Orbax would refuse them all.
    """
    damaged = set()
    for path in folder.glob("*/metrics"):
        if not path.parent.name.isdigit():  # what a kill left of a save
            continue
        try:
            read = json.loads((path / "metrics").read_bytes())
        except (ValueError, FileNotFoundError):
            read = None
        if _are_scores(read):
            continue
        damaged.add(int(path.parent.name))
        if mark and not isinstance(read, dict) and distributed.is_first():
            write_whole(path / "metrics", json.dumps({_SEAL: "damaged"}).encode())
    return damaged


def _signature(tree: Any) -> list[tuple[Any, ...]]:
    """Name, shape and dtype of each array; containers are told apart by names, not by their types."""
    return sorted(
        (
            "/".join(re.findall(r"\w+", jax.tree_util.keystr(path))),
            tuple(leaf.shape),
            str(leaf.dtype),
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    )


def _short(error: Exception) -> str:
    """The type and the beginning of the message: Orbax's are long."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:100]}{'...' if len(text) > 100 else ''}"
