"""Describes the code, the data and the machine of a run, for its record."""

import hashlib
import importlib.metadata
import os
import pathlib
import platform
from typing import Any

import jax
import numpy as np

from mnist_jax import __version__
from mnist_jax.data import ROLES, Dataset
from mnist_jax.data.overlap import copies
from mnist_jax.storage.git import Checkout, GitError, find_checkout
from mnist_jax.storage.redaction import known_keys, unsafe_files
from mnist_jax.system import devices
from mnist_jax.system.files import text_hash, write_whole
from mnist_jax.system.installation import ROOT


def describe_code(patch_folder: pathlib.Path | None = None) -> dict[str, Any]:
    """Describes this program: version, git commit, uncommitted changes and remote.

    Without a git checkout, as in a container, the commit is `stamped_commit`.

    Args:
      patch_folder: where to write the patch of uncommitted changes, as code-HASH.patch; None: nowhere.

    Returns:
      `code` of run.json. Unknown values are None, and `unknown` has the reason.
    """
    code: dict[str, Any] = dict.fromkeys(("commit", "dirty", "patch_sha256", "remote", "keys_left_out"))
    stamp = stamped_commit()
    checkout, reason = _checkout()
    if checkout:
        _describe_changes(checkout, code, patch_folder)
    elif stamp:
        code |= {"commit": stamp.removesuffix("-dirty"), "dirty": stamp.endswith("-dirty")}
    elif reason:
        code["unknown"] = f"the commit of this code is not known: {reason}, or give --git_commit=HASH"
    return {"version": __version__, **code}


def stamped_commit() -> str:
    """The commit in $GIT_COMMIT, or in the file GIT_COMMIT beside the program, which a build writes.

    It may end in "-dirty". "" without either.
    """
    return (os.environ.get("GIT_COMMIT") or _text(ROOT / "GIT_COMMIT")).strip()


def _checkout() -> tuple[Checkout | None, str | None]:
    """The checkout of this program, or the reason why git cannot read it."""
    try:
        return find_checkout(ROOT), None
    except GitError as error:
        return None, str(error)


def _describe_changes(checkout: Checkout, code: dict[str, Any], patch_folder: pathlib.Path | None) -> None:
    """Sets the keys of `code` that git knows."""
    what = "the commit of this code is"
    try:
        code["commit"], code["remote"] = checkout.commit(), checkout.remote()
        what = "whether this code has uncommitted changes is"
        with checkout.fresh_index() as index:
            changes = checkout.changes(index)
            code["dirty"], code["keys_left_out"] = bool(changes), []
            if not changes:
                return
            what = "the patch of the uncommitted changes is"
            unsafe = sorted(unsafe_files(changes, known_keys()))
            code["keys_left_out"] = [os.fsencode(name).decode(errors="backslashreplace") for name in unsafe]
            patch = checkout.patch(index, unsafe)
            if checkout.changes(index) != changes:  # the patch may have changes that were not searched
                raise GitError("files were changed while they were read")
    except (GitError, OSError) as error:
        code["unknown"] = f"{what} not known: {error}"
        return
    if patch:
        code["patch_sha256"] = hashlib.sha256(patch).hexdigest()
        if patch_folder:
            write_whole(patch_folder / f"code-{code['patch_sha256'][:12]}.patch", patch)


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Name, version and fingerprint of the data, and size and class counts of each split."""
    return {
        "name": dataset.name,
        "version": dataset.version,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.class_names),
        "image_shape": list(dataset.image_shape),
        "splits": {
            role: {
                "expression": dataset.expressions[role],
                "examples": len(getattr(dataset, role).labels),
                "class_counts": np.bincount(
                    getattr(dataset, role).labels, minlength=len(dataset.class_names)
                ).tolist(),
            }
            for role in ROLES
        },
        **({"rendering": dataset.rendering._asdict()} if dataset.rendering else {}),
        "left_out": dict(dataset.left_out),
        "copies": copies(dataset),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }


def describe_environment(dtype: str = "float32") -> dict[str, Any]:
    """Describes Python, operating system, processor, accelerator and all installed packages.

    Args:
      dtype: `config.dtype` of the run.
    """
    return {
        "python": platform.python_version(),
        "os": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "accelerator": devices.describe_devices(dtype),
        "lock_sha256": text_hash(lock) if (lock := _text(ROOT / "requirements.lock")) else None,
        "packages": dict(
            sorted(
                (metadata["Name"], metadata["Version"])
                for metadata in (dist.metadata for dist in importlib.metadata.distributions())
                if metadata["Name"]  # damaged metadata has none
            )
        ),
    }


def params_hash(params: Any) -> str:
    """sha256 over the name, shape, dtype and bytes of each array of a pytree, in the order of names."""
    digest = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(p), x) for p, x in jax.tree.leaves_with_path(params)):
        array = np.asarray(leaf)
        digest.update(f"{path} {array.shape} {array.dtype.str}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def count_params(params: Any) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _text(path: pathlib.Path) -> str:
    return path.read_text() if path.is_file() else ""


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
