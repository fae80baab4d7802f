"""Decoded splits kept as memory-mapped arrays, so that the next start takes milliseconds."""

import hashlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import NamedTuple

import filelock
import ml_collections
import numpy as np

from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_cache_dir, user_path

_SCHEMA = 1


class Arrays(NamedTuple):
    """The examples of a split. images: uint8 (N, H, W, C), often memory-mapped. labels: int32 (N,)."""

    images: np.ndarray
    labels: np.ndarray


def datasets_folder(config: ml_collections.FrozenConfigDict) -> pathlib.Path:
    """The folder of decoded sets, from `config.cache_dir` (of `config.data`)."""
    return user_path(config.cache_dir or user_cache_dir()) / "datasets"


def stamp(path: str | pathlib.Path) -> tuple[int, tuple[int, ...]]:
    """Size in bytes, and the times and inode that change when the file is replaced; -1 for a missing file.

    The modification time alone is not enough: unpacked files of one age can be swapped without changing it.
    """
    try:
        stat = os.stat(path)
    except OSError:
        return -1, ()
    return stat.st_size, (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def load_or_build(folder: pathlib.Path, build: Callable[[pathlib.Path], None]) -> tuple[Arrays, str]:
    """The arrays kept in `folder`, and the sha256 of their content.

    folder: its name changes when the source files change. Truncated or altered arrays are built again.
    build: writes images.npy and labels.npy into the folder it is given. One process builds at a time; the
    others wait and use its result.
    Raises UserError: the folder cannot be written.
    """
    if found := _load(folder):
        return found
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            if found := _load(folder):
                return found
            if folder.exists():
                print(f"{folder} is damaged: decoding again", file=sys.stderr)
            _build(folder, build)
    except OSError as error:
        raise UserError(
            f"cannot write the cache of decoded images in {folder}: {error.strerror or error}; "
            "choose another folder with --config.data.cache_dir"
        ) from error
    found = _load(folder)
    if found is None:
        raise OSError(f"{folder} was written, but does not read back: the disk is failing")
    return found


def content_hash(*arrays: np.ndarray) -> str:
    """sha256 over shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # no copy of a memory map
    return digest.hexdigest()


def _load(folder: pathlib.Path) -> tuple[Arrays, str] | None:
    """The arrays if they exist and are intact; the check reads 2 GB/s."""
    try:
        record = json.loads((folder / "record.json").read_text())
        if record["schema"] != _SCHEMA:
            return None
        arrays = Arrays(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Arrays._fields))
        return (arrays, record["sha256"]) if content_hash(*arrays) == record["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _build(folder: pathlib.Path, build: Callable[[pathlib.Path], None]) -> None:
    """Builds beside the folder, then renames: a kill at any moment leaves nothing half done."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    build(partial)
    arrays = Arrays(*(np.load(partial / f"{name}.npy", mmap_mode="r") for name in Arrays._fields))
    record = {"schema": _SCHEMA, "sha256": content_hash(*arrays)}
    (partial / "record.json").write_text(json.dumps(record))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
