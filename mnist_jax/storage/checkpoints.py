"""Checkpoints of a run; the only file that knows Orbax.

A checkpoint has two parts, `train` and `best`, so that the best model is read alone.
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
Metadata = Any  # what Orbax has of a checkpoint: its arrays and the notes
Model = Any  # a NamedTuple with the fields `step`, `params` and `model_state`

_SEAL = "sha256"  # of the notes, which Orbax keeps as plain JSON
_CHECKSUMS = "crc32"  # in the notes, of each array: Orbax guards what describes them, but not their bytes


class Checkpoints:
    """The checkpoints in one folder, a subfolder for each step: the latest `keep`.

    Saving is asynchronous; a checkpoint appears whole or not at all. A context manager: leaving it waits
    for the save under way.
    """

    def __init__(self, folder: pathlib.Path, keep: int, *, read_only: bool = False):
        """Opens the folder.

        Args:
          folder: is made where it is not there.
          keep: how many checkpoints are kept.
          read_only: leaves alone what another process is saving.

        Raises:
          UserError: the folder cannot be used.
        """
        self._folder = folder.resolve()  # Orbax takes no relative path
        self._keep, self._read_only = keep, read_only
        self._saving: Any = None  # Orbax's response of the save under way
        self._opened: Any = None  # Orbax's checkpointer
        self._opening = threading.Lock()
        with self._usable():
            # Orbax writes with TensorStore, which would find such names wrong at the first save.
            if "\\" in str(self._folder) or any(part.endswith(".__lock") for part in self._folder.parts):
                raise ValueError("TensorStore takes no backslash, and no name that ends in .__lock")
            self._folder.mkdir(parents=True, exist_ok=True)
            self._new = next(self._folder.iterdir(), None) is None
        if not self._new or distributed.count() > 1:  # whose processes wait here for each other
            self.open()

    def open(self) -> Any:
        """Orbax's checkpointer, whose import a new run can do while its first steps run: it takes 0.3 s.

        Raises:
          UserError: the folder cannot be used.
        """
        with self._opening, self._usable():
            self._opened = self._opened or self._open()
        return self._opened

    def _open(self) -> Any:
        from orbax.checkpoint import v1 as ocp

        context = ocp.Context()
        context.pytree.loading.partial_load = True  # `_load` compares what there is itself
        return ocp.training.Checkpointer(
            self._folder,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=ocp.training.preservation_policies.LatestN(self._keep),
            cleanup_tmp_directories=not self._read_only,
            context=context,
        )

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Whatever fails in here is that the folder cannot be used."""
        try:
            yield
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
                if self._opened:
                    self._opened.close()

    def save(self, step: int, state: State, *, notes: dict[str, Any]) -> None:
        """Starts to save the state after `step` steps, with JSON notes."""
        self.wait()
        parts = state._asdict()
        sealed = _sealed({**notes, _CHECKSUMS: _checksums(parts)})
        self._saving = self.open().save_checkpointables_async(
            step, parts, force=True, overwrite=True, custom_metadata=sealed
        )

    def wait(self) -> None:
        """Returns when the save under way is on disk."""
        if self._saving is not None:
            saving, self._saving = self._saving, None
            saving.result()  # without which its thread and open files would stay
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
        """The latest checkpoint that can be read, and its notes.

        Args:
          like: the state where there is no checkpoint yet; its shapes, dtypes and devices are those wanted.
          config: of the run.
          warn: called with a line about each checkpoint that cannot be read.
          force: takes the checkpoint of another config where it fits.

        Raises:
          UserError: none can be read, or it is of another config.
        """
        for step in reversed(self.steps):
            try:
                metadata = self._metadata(step)
                notes = self._notes(step, metadata)
                if not force:
                    require_same(notes["config"], config.to_dict(), self._folder.parent)
                return type(like)(**self._load(step, metadata, like._asdict())), notes
            except _Unreadable as error:
                warn(f"{error}; the one before is taken")
        if self.steps:
            raise UserError(f"no checkpoint in {self._folder} can be read; give another --workdir")
        return like, {}

    def restore_model(self, like: Model, warn: Callable[[str], None], *, step: int | None = None) -> Model:
        """The best model so far, or that of a step; nothing else is read.

        Args:
          like: its shapes and dtypes.
          warn: called with a line about each checkpoint that cannot be read.
          step: None for the best on validation.

        Raises:
          UserError: there is no such checkpoint, none was validated yet, or it cannot be read.
        """
        for latest in reversed(self.steps):
            try:
                metadata = self._metadata(latest)
                best = self._notes(latest, metadata)["best"]
                if step is None and best is None:
                    raise UserError(
                        f"no checkpoint in {self._folder} was validated yet; name one by --checkpoint=STEP: "
                        f"{_listed(self.steps)}"
                    )
                if step is None or (best is not None and best["step"] == step):
                    return self._load(latest, metadata, {"best": like})["best"]
                break
            except _Unreadable as error:
                warn(f"{error}; the one before is taken")
        if step is None:
            raise UserError(f"no checkpoint in {self._folder} can be read")
        return self._restore_trained(step, like)

    def restore_params(self, step: int, like: Model) -> PyTree:
        """The parameters that the training was at after a step, not their moving average.

        Raises:
          UserError: they cannot be read.
        """
        wanted = {"train": {"params": like.params}}
        return self._load(step, self._metadata(step), wanted)["train"]["params"]

    def _restore_trained(self, step: int, like: Model) -> Model:
        """The model that the training was at after a step."""
        if step not in self.steps:
            raise UserError(f"--checkpoint={step} is not in {self._folder}, which has: {_listed(self.steps)}")
        metadata = self._metadata(step)
        params = "ema" if self._arrays(step, metadata, "train").get("ema") else "params"
        wanted = {"step": like.step, params: like.params, "model_state": like.model_state}
        found = self._load(step, metadata, {"train": wanted})["train"]
        return type(like)(*(found[name] for name in wanted))

    def _load(self, step: int, metadata: Metadata, like: Mapping[str, PyTree]) -> dict[str, PyTree]:
        """Parts of a checkpoint, with the shapes, dtypes and, where `like` has them, devices wanted.

        Raises:
          _Unreadable: its files are damaged.
          UserError: it has other arrays.
        """
        if not all(_has(self._arrays(step, metadata, part), tree) for part, tree in like.items()):
            raise UserError(
                f"checkpoint {self._folder / str(step)} has other parameters or optimizer state than the "
                "config asks for; a change of these needs a new --workdir"
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
            raise self._unreadable(step, ValueError("its arrays are not as they were written"))
        return parts

    def _metadata(self, step: int) -> Metadata:
        try:
            return self.open().checkpointables_metadata(step)
        except Exception as error:
            raise self._unreadable(step, error) from error

    def _arrays(self, step: int, metadata: Metadata, part: str) -> PyTree:
        """What arrays a part of a checkpoint has."""
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
        raise self._unreadable(step, ValueError("its notes are not as they were written"))

    def _unreadable(self, step: int, error: Exception) -> "_Unreadable":
        return _Unreadable(f"checkpoint {self._folder / str(step)} cannot be read ({_short(error)})")


class _Unreadable(UserError):
    """A checkpoint whose files are damaged."""


def _sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**fields, _SEAL: text_hash(json.dumps(fields, sort_keys=True))}


def _intact(fields: Mapping[str, Any]) -> bool:
    """Whether what `_sealed` gave is as it was."""
    return fields == _sealed({key: value for key, value in fields.items() if key != _SEAL})


def _has(saved: PyTree, wanted: PyTree) -> bool:
    """Whether a part of a checkpoint has arrays of the same names, shapes and dtypes, by its metadata alone.

    A dict asks for some of the arrays, a tuple for exactly these.
    """
    has, asked = _signature(saved), _signature(wanted)
    return asked <= has if isinstance(wanted, dict) else asked == has


def _signature(tree: PyTree) -> set[tuple[Any, ...]]:
    """Name, shape and dtype of each array."""
    return {(name, tuple(leaf.shape), str(leaf.dtype)) for name, leaf in _by_name(tree)}


def _checksums(tree: PyTree) -> dict[str, int]:
    """CRC-32 of the bytes of each array, whole wherever its shares are; all processes have to ask."""
    return {name: zlib.crc32(_whole(leaf).tobytes()) for name, leaf in _by_name(tree)}


def _whole(leaf: jax.Array) -> np.ndarray:
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _by_name(tree: PyTree) -> Iterator[tuple[str, Any]]:
    """The arrays; containers are told apart by names, not by their types."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield "/".join(re.findall(r"\w+", jax.tree_util.keystr(path))), leaf


def _listed(steps: list[int]) -> str:
    return ", ".join(map(str, steps)) or "none"


def _short(error: Exception) -> str:
    """The type and the beginning of the message: Orbax's are long."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:100]}{'...' if len(text) > 100 else ''}"
