"""Files that are there whole or not at all, and records that tell whether they were changed since."""

import errno
import hashlib
import json
import os
import pathlib
import stat
from collections.abc import Mapping
from typing import Any, BinaryIO

import platformdirs

_SEAL = b',\n  "record_sha256": "'


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file beside `path` and puts it in its place: a reader, or a kill, never meets half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def user_cache_dir() -> pathlib.Path:
    """This program's folder in the user's cache, `$XDG_CACHE_HOME/mnist_jax` on Linux."""
    return pathlib.Path(platformdirs.user_cache_dir("mnist_jax", appauthor=False))


def read_regular(path: pathlib.Path) -> bytes:
    """The content of a file; OSError for what is none, such as a pipe, which nobody might ever write to."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path.read_bytes()


def sealed(fields: Mapping[str, Any]) -> bytes:
    """JSON whose last key, `record_sha256`, is the sha256 of all bytes before it."""
    body = json.dumps(fields, indent=2, allow_nan=False).encode().removesuffix(b"\n}")
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def seal_broken(content: bytes) -> bool:
    """Whether JSON that `sealed` wrote was changed since; what has no seal is believed."""
    body, seal, rest = content.rpartition(_SEAL)
    return bool(seal) and rest != hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def text_hash(text: str) -> str:
    """sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A file opened to be read; OSError for what is none, such as a pipe, which would be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
    return open(descriptor, "rb")
