"""On which code, data and machine a run is, for its record."""

import contextlib
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile
from typing import Any

import jax
import numpy as np

from mnist_jax import __version__
from mnist_jax.data import ROLES, Dataset
from mnist_jax.storage.redaction import known_keys, redact
from mnist_jax.system import devices
from mnist_jax.system.files import text_hash
from mnist_jax.system.installation import ROOT


def describe_code(patch_folder: pathlib.Path | None = None) -> dict[str, Any]:
    """Version and git commit of this program, whether the tree was `dirty` and by what patch, and the remote.

    patch_folder: where the patch is kept, as code-HASH.patch, if there is one.
    Where there is no git checkout of it, in a container say, the commit is that of $GIT_COMMIT or of the file
    GIT_COMMIT beside the program, which a build writes; "-dirty" at its end means what it says. None where
    nothing tells.
    """
    code: dict[str, Any] = dict.fromkeys(("commit", "dirty", "patch_sha256", "remote", "keys_left_out"))
    if _git("ls-files", "--error-unmatch", "mnist_jax/__init__.py"):  # not the repository around an install
        code["commit"], code["dirty"] = _git_text("rev-parse", "HEAD"), bool(_git("status", "--porcelain"))
        code["remote"] = _remote()
        patch, code["keys_left_out"] = code_patch() if code["dirty"] else (b"", [])
        code["patch_sha256"] = hashlib.sha256(patch).hexdigest() if patch else None
        if patch and patch_folder:
            (patch_folder / f"code-{code['patch_sha256'][:12]}.patch").write_bytes(patch)
    elif stamp := (os.environ.get("GIT_COMMIT") or _text(ROOT / "GIT_COMMIT")).strip():
        code["commit"], code["dirty"] = stamp.removesuffix("-dirty"), stamp.endswith("-dirty")
    return {"version": __version__, **code}


def code_patch() -> tuple[bytes, list[str]]:
    """What changed since the commit, as a patch for `git apply`, with code that git does not know yet.

    Lines with keys, and files that are no text, are left out, see `redaction.redact`, which gives the files
    that lack something.
    """
    with tempfile.TemporaryDirectory() as folder:
        # An index of its own, in which the new files are announced; the user's stays as it is.
        index = pathlib.Path(folder) / "index"
        with contextlib.suppress(OSError):
            shutil.copy(ROOT / (_git_text("rev-parse", "--git-path", "index") or ""), index)
        for pattern in ("*.py", "*.jinja"):  # together, one that matches nothing would be an error
            _git("add", "--intent-to-add", "--", pattern, index=index)
        # Whatever the user's settings of git: plain, and with the prefixes that `git apply` wants.
        plainly = ("--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
        patch = _git("diff", *plainly, "--binary", "HEAD", "--", ".", ":(exclude).env", index=index) or b""
    return redact(patch, known_keys())


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
        "left_out": dict(dataset.left_out),
    }


def describe_environment(dtype: str = "float32") -> dict[str, Any]:
    """Python, operating system, processor, accelerator, and every installed package with its version.

    dtype: that of the run, `config.dtype`.
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
                if metadata["Name"]  # a damaged one has none
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
    """How many numbers the parameters are."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _text(path: pathlib.Path) -> str:
    return path.read_text() if path.is_file() else ""


def _git(*arguments: str, index: pathlib.Path | None = None) -> bytes | None:
    """What git prints, of this program's folder; None where it fails. index: the index file to use."""
    command = ["git", "-C", str(ROOT), *arguments]
    environment = {**os.environ, "GIT_INDEX_FILE": str(index)} if index else None
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=10, env=environment).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _git_text(*arguments: str) -> str | None:
    printed = _git(*arguments)
    return printed.decode(errors="replace").strip() if printed else None


def _remote() -> str | None:
    """The address of `origin` without user name and password."""
    address = _git_text("remote", "get-url", "origin")
    return re.sub(r"^(\w+://)[^/]*@", r"\1", address) if address else None


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
