"""run.json: what was run, on which code, data and machine, and how it came out.

Its keys are an interface that other programs read; README.md documents them.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np

from mnist_jax import SCHEMA, __version__
from mnist_jax.config.fields import differences
from mnist_jax.data import ROLES, Dataset
from mnist_jax.storage.redaction import known_keys, redact
from mnist_jax.system import cpu, devices
from mnist_jax.system.errors import Interrupted, circumstance
from mnist_jax.system.files import sealed, text_hash, write_whole
from mnist_jax.system.installation import ROOT

RESULTS = (
    "steps",
    "best",
    "metrics",
    "params_sha256",
    "history_sha256",
    "startup_seconds",
    "train_seconds",
    "images",
    "images_per_second",
    "wall_seconds",
    "resources",
)
_CIRCUMSTANCES = ("code", "accelerator", "packages_sha256")


class RunRecord:
    """The run.json of a workdir: a dict, written whole or not at all at each update.

    Nothing is written before `begin`: a run that cannot start leaves no record, or that of the run before.
    """

    def __init__(self, path: pathlib.Path, previous: dict[str, Any] | None):
        self._path = path
        self._begun = False
        self.fields: dict[str, Any] = dict(previous or {})
        self.fields.pop("record_sha256", None)  # of the file, which gets another

    def begin(
        self, config: ml_collections.FrozenConfigDict, dataset: Dataset, *, step: int, parameters: int
    ) -> list[str]:
        """Records what is about to be trained from `step` on, on which code, data and machine.

        Returns: a warning for each circumstance that is not that of the process before.
        """
        self._begun = True
        code, environment = describe_code(self._path.parent), plain(describe_environment(config.dtype))
        process = {
            "started": now(),
            "from_step": step,
            "command": sys.argv,
            "code": code,
            "accelerator": environment["accelerator"],
            "packages_sha256": text_hash(json.dumps(environment["packages"])),
            "data_fingerprint": dataset.fingerprint,
            "config_changes": differences(self.fields.get("config", config.to_dict()), config.to_dict()),
        }
        earlier = self.fields.get("processes", [])
        self.update(
            schema=SCHEMA,
            status="running",
            exit_reason=None,
            started=self.fields.get("started", process["started"]),
            ended=None,
            resumes=len(earlier),
            command=sys.argv,
            config=config.to_dict(),
            code=code,
            data=describe_data(dataset, config.data),
            environment=environment,
            parameters=parameters,
            processes=[*earlier, process],
            **dict.fromkeys(RESULTS),
        )
        changed = [key for key in _CIRCUMSTANCES if step > 0 and earlier and earlier[-1][key] != process[key]]
        told = [f"the run goes on with other {key} than before; run.json has both" for key in changed]
        if files := ", ".join(code.get("keys_left_out") or ()):
            told.append(
                f"uncommitted changes of {files} have keys, or are no text, and stay out of the run's patch"
            )
        if line := cpu.notice(config.dtype):
            told.append(line)
        return told

    @contextlib.contextmanager
    def outcome(self) -> Iterator[None]:
        """Records how the block ended: finished, interrupted or failed, and why."""
        try:
            yield
        except BaseException as error:
            self.end(error)
            raise
        self.end()

    def end(self, error: BaseException | None = None) -> None:
        """Records the end: finished, or interrupted or failed by an error."""
        if error is None:
            self.update(status="finished", exit_reason="trained to the end", ended=now())
        elif self._begun:
            stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
            reason = circumstance(error) or str(error) or type(error).__name__
            with contextlib.suppress(OSError):  # a disk that is full ends the run by its own error
                self.update(status="interrupted" if stopped else "failed", exit_reason=reason, ended=now())

    def update(self, **fields: Any) -> None:
        """Sets top-level keys and writes the file; numbers that are not finite become null."""
        self.fields.update(plain(fields))
        write_whole(self._path, sealed(self.fields))


def now() -> str:
    """The time as ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


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


def describe_data(dataset: Dataset, config: Any) -> dict[str, Any]:
    """Name, version and fingerprint of the data, and size and class counts of each split."""
    return {
        "name": dataset.name,
        "version": dataset.version,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.class_names),
        "image_shape": list(dataset.image_shape),
        "splits": {
            role: {
                "expression": config[role],
                "examples": len(getattr(dataset, role).labels),
                "class_counts": np.bincount(
                    getattr(dataset, role).labels, minlength=len(dataset.class_names)
                ).tolist(),
            }
            for role in ROLES
        },
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
        "accelerator": devices.describe(dtype),
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


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays and tuples are lists, numbers that are not finite are null."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
