"""Checkpoints of a run; the only file that knows Orbax.

A checkpoint has two parts, `train` and `best`, so that the best model can be read without the rest.
"""

import contextlib
import json
import pathlib
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.experimental import multihost_utils

from mnist_jax.config.identity import require_same
from mnist_jax.system import distributed
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import text_hash

PyTree = Any
State = Any  # a NamedTuple with the fields `train` and `best`
Metadata = Any  # Orbax's description of a checkpoint: its arrays and the notes
Model = Any  # a NamedTuple with the fields `step`, `params` and `model_state`

_SEAL = "sha256"  # of the notes, which Orbax keeps as plain JSON
_CHECKSUMS = "crc32"  # in the notes, of each array: Orbax protects the metadata, but not the bytes


class Checkpoints:
    """The latest checkpoints in one folder, a subfolder for each step.

    Saving is asynchronous; a checkpoint appears whole or not at all. A context manager: its exit waits for
    the pending save.
    """

    def __init__(self, folder: pathlib.Path, keep: int, *, read_only: bool = False):
        """Opens the folder.

        Args:
          folder: is created if it does not exist.
          keep: how many checkpoints to keep.
          read_only: do not remove what another process is saving.

        Raises:
          UserError: the folder cannot be used.
        """
        self._folder = folder.resolve()  # Orbax takes no relative path
        self._keep, self._read_only = keep, read_only
        self._saving: Any = None  # Orbax's response of the pending save
        self._opened: Any = None  # Orbax's checkpointer
        self._opening = threading.Lock()
        with self._usable():
            # Orbax writes with TensorStore, which would reject such names at the first save.
            if "\\" in str(self._folder) or any(part.endswith(".__lock") for part in self._folder.parts):
                raise ValueError("TensorStore rejects backslashes and names that end in .__lock")
            self._folder.mkdir(parents=True, exist_ok=True)
            self._new = next(self._folder.iterdir(), None) is None
        if not self._new or distributed.count() > 1:  # the processes wait for each other in `open`
            self.open()

    def open(self) -> Any:
        """Opens Orbax's checkpointer; a new run imports it, which takes 0.3 s, while its first steps run.

        Raises:
          UserError: the folder cannot be used.
        """
        with self._opening, self._usable():
            self._opened = self._opened or self._open()
        return self._opened

    def _open(self) -> Any:
        from orbax.checkpoint import v1 as ocp

        context = ocp.Context()
        context.pytree.loading.partial_load = True  # `_load` checks the arrays itself
        return ocp.training.Checkpointer(
            self._folder,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=ocp.training.preservation_policies.LatestN(self._keep),
            cleanup_tmp_directories=not self._read_only,
            context=context,
        )

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Reports any error as that the folder cannot be used."""
        try:
            yield
        except Exception as error:  # Orbax and the file system raise many types, here and below
            raise UserError(
                f"{self._folder} cannot be used ({_short(error)}); move damaged files out of it, or give "
                "another --workdir"
            ) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or distributed.count() == 1:  # else it could wait for a process that is gone
            try:
                self.wait()
            finally:
                if self._opened:
                    self._opened.close()

    def save(self, step: int, state: State, *, notes: dict[str, Any]) -> None:
        """Starts to save a checkpoint.

        Args:
          step: the steps taken so far.
          state: after them.
          notes: JSON values, saved with it.
        """
        self.wait()
        parts = state._asdict()
        sealed = _sealed({**notes, _CHECKSUMS: _checksums(parts)})
        self._saving = self.open().save_checkpointables_async(
            step, parts, force=True, overwrite=True, custom_metadata=sealed
        )

    def wait(self) -> None:
        """Waits until the pending save is on disk."""
        if self._saving is not None:
            saving, self._saving = self._saving, None
            saving.result()  # else its thread and open files would stay
        if self._opened:
            self._opened.wait()

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        if self._new and not self._opened:
            return []
        return [checkpoint.step for checkpoint in self.open().checkpoints]

    def restore_latest(
        self,
        like: State,
        config: ml_collections.FrozenConfigDict,
        warn: Callable[[str], None],
        *,
        force: bool,
    ) -> tuple[State, dict[str, Any]]:
        """Restores the latest checkpoint that can be read.

        Args:
          like: a state with the wanted shapes, dtypes and devices.
          config: of the run.
          warn: called with a line about each checkpoint that cannot be read.
          force: accept the checkpoint of another config if its arrays fit.

        Returns:
          state and notes; `like` and {} if there is no checkpoint yet.

        Raises:
          UserError: none can be read, or the latest is of another config.
        """
        for step in reversed(self.steps):
            try:
                metadata = self._metadata(step)
                notes = self._notes(step, metadata)
                if not force:
                    require_same(notes["config"], config.to_dict(), self._folder.parent)
                return type(like)(**self._load(step, metadata, like._asdict())), notes
            except _Unreadable as error:
                warn(f"{error}; using the one before")
        if self.steps:
            raise UserError(f"no checkpoint in {self._folder} can be read; give another --workdir")
        return like, {}

    def restore_model(self, like: Model, warn: Callable[[str], None], *, step: int | None = None) -> Model:
        """Restores the best model so far, or that of a step, and reads nothing else.

        Args:
          like: a model with the wanted shapes and dtypes.
          warn: called with a line about each checkpoint that cannot be read.
          step: of the model; None for the best on validation.

        Raises:
          UserError: there is no such checkpoint, no checkpoint was validated yet, or none can be read.
        """
        for latest in reversed(self.steps):
            try:
                metadata = self._metadata(latest)
                best = self._notes(latest, metadata)["best"]
                if step is None and best is None:
                    raise UserError(
                        f"no checkpoint in {self._folder} was validated yet; choose one by "
                        f"--checkpoint=STEP: {_listed(self.steps)}"
                    )
                if step is None or (best is not None and best["step"] == step):
                    return self._load(latest, metadata, {"best": like})["best"]
                break
            except _Unreadable as error:
                warn(f"{error}; using the one before")
        if step is None:
            raise UserError(f"no checkpoint in {self._folder} can be read")
        return self._restore_trained(step, like)

    def restore_params(self, step: int, like: Model) -> PyTree:
        """Restores the parameters after a training step, not their moving average.

        Raises:
          UserError: they cannot be read.
        """
        wanted = {"train": {"params": like.params}}
        return self._load(step, self._metadata(step), wanted)["train"]["params"]

    def _restore_trained(self, step: int, like: Model) -> Model:
        """Restores the model after a training step."""
        if step not in self.steps:
            raise UserError(
                f"--checkpoint must be a step in {self._folder} (got {step}); it has: {_listed(self.steps)}"
            )
        metadata = self._metadata(step)
        params = "ema" if self._arrays(step, metadata, "train").get("ema") else "params"
        wanted = {"step": like.step, params: like.params, "model_state": like.model_state}
        found = self._load(step, metadata, {"train": wanted})["train"]
        return type(like)(*(found[name] for name in wanted))

    def _load(self, step: int, metadata: Metadata, like: Mapping[str, PyTree]) -> dict[str, PyTree]:
        """Restores parts of a checkpoint.

        Args:
          step: of the checkpoint.
          metadata: of the checkpoint.
          like: the parts, with the wanted shapes, dtypes and, for arrays of JAX, devices.

        Raises:
          _Unreadable: its files are damaged.
          UserError: its arrays have other names, shapes or dtypes.
        """
        if not all(_has(self._arrays(step, metadata, part), tree) for part, tree in like.items()):
            raise UserError(
                f"checkpoint {self._folder / str(step)} must have the parameters and optimizer state of the "
                "config (got other arrays); give the config of that run, or another --workdir"
            )
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None)
            ),
            dict(like),
        )
        try:
            parts = self.open().load_checkpointables(step, abstract)
        except Exception as error:
            raise self._unreadable(step, error) from error
        saved = self._notes(step, metadata).get(_CHECKSUMS)  # earlier versions have none
        if saved is not None and not _checksums(parts).items() <= saved.items():
            raise self._unreadable(step, ValueError("its arrays were changed since they were written"))
        return parts

    def _metadata(self, step: int) -> Metadata:
        try:
            return self.open().checkpointables_metadata(step)
        except Exception as error:
            raise self._unreadable(step, error) from error

    def _arrays(self, step: int, metadata: Metadata, part: str) -> PyTree:
        """The metadata of the arrays of a part."""
        if (arrays := metadata.metadata.get(part)) is None:
            raise self._unreadable(step, ValueError(f"{part} is damaged or missing"))
        return arrays

    def _notes(self, step: int, metadata: Metadata) -> dict[str, Any]:
        notes = metadata.custom_metadata
        try:
            if _intact(notes) and isinstance(notes["config"], dict) and isinstance(notes["progress"], dict):
                return notes
        except Exception as error:
            raise self._unreadable(step, error) from error
        raise self._unreadable(step, ValueError("its notes were changed since they were written"))

    def _unreadable(self, step: int, error: Exception) -> "_Unreadable":
        return _Unreadable(f"checkpoint {self._folder / str(step)} cannot be read ({_short(error)})")


class _Unreadable(UserError):
    """A checkpoint whose files are damaged."""


def _sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**fields, _SEAL: text_hash(json.dumps(fields, sort_keys=True))}


def _intact(fields: Mapping[str, Any]) -> bool:
    """Whether fields that `_sealed` returned are unchanged."""
    return fields == _sealed({key: value for key, value in fields.items() if key != _SEAL})


def _has(saved: PyTree, wanted: PyTree) -> bool:
    """Whether a part of a checkpoint has arrays of the wanted names, shapes and dtypes, by its metadata.

    A dict names some of the arrays, a tuple all of them.
    """
    has, asked = _signature(saved), _signature(wanted)
    return asked <= has if isinstance(wanted, dict) else asked == has


def _signature(tree: PyTree) -> set[tuple[Any, ...]]:
    """Name, shape and dtype of each array."""
    return {(name, tuple(leaf.shape), str(leaf.dtype)) for name, leaf in _by_name(tree)}


def _checksums(tree: PyTree) -> dict[str, int]:
    """CRC-32 of the bytes of each whole array; a collective operation, which all processes call."""
    return {name: zlib.crc32(_whole(leaf).tobytes()) for name, leaf in _by_name(tree)}


def _whole(leaf: jax.Array) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _by_name(tree: PyTree) -> Iterator[tuple[str, Any]]:
    """The arrays by name; types of containers do not count."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield "/".join(re.findall(r"\w+", jax.tree_util.keystr(path))), leaf


def _listed(steps: list[int]) -> str:
    return ", ".join(map(str, steps)) or "none"


def _short(error: Exception) -> str:
    """The type and the beginning of the message, since Orbax's messages are long."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:100]}{'...' if len(text) > 100 else ''}"
