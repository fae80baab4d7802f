"""Files that are there whole or not at all, and records that tell whether they were changed since."""

import errno
import hashlib
import json
import os
import pathlib
import secrets
import stat
from collections.abc import Mapping
from typing import Any, BinaryIO

import platformdirs

from mnist_jax.system.errors import UserError

_SEAL = b',\n  "record_sha256": "'
PARTIAL = ".*.partial"  # the names of temporary files; a kill can leave one
_MOST = 1 << 30  # bytes of a file that is read at once


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Replaces a file whole: no reader, kill or full disk finds half of it.

    The temporary file beside it is new, so that no link is followed; a link at `path` is replaced.
    """
    partial = path.with_name(PARTIAL.replace("*", secrets.token_hex(4)))
    try:
        with partial.open("xb") as file:
            file.write(content)
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def open_to_append(path: pathlib.Path) -> BinaryIO:
    """Opens a file, unbuffered, whose end is written to; OSError for a link and for no regular file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK  # of a pipe
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _irregular(path)
    return open(descriptor, "ab", buffering=0)


def make_folder(path: pathlib.Path) -> pathlib.Path:
    """Makes a folder of a workdir, unless it is there.

    Raises:
      UserError: it is a link, which could lead out of the workdir.
    """
    path.mkdir(parents=True, exist_ok=True)
    require_no_link(path)
    return path


def require_no_link(path: pathlib.Path) -> None:
    """Raises UserError where a path, of a workdir, is a link, which could lead out of it."""
    if path.is_symlink():
        raise UserError(
            f"{path} must be no link (got one to {os.readlink(path)}); move what it leads to there, or give "
            "another --workdir"
        )


def user_path(text: str | os.PathLike[str]) -> pathlib.Path:
    """The path that a user gives, in a flag or a field: `~` is the home folder.

    Raises:
      UserError: it is an address, such as gs://bucket/runs, or of a user without a home.
    """
    given = os.fspath(text)
    if "://" in given:
        raise UserError(f"a path must be in a file system (got {given!r}); mount that, and give where")
    try:
        return pathlib.Path(given).expanduser()
    except RuntimeError:
        raise UserError(f"a path must begin with a home folder that exists (got {given!r})") from None


def user_cache_dir() -> pathlib.Path:
    """This program's folder in the user's cache, `$XDG_CACHE_HOME/mnist_jax` on Linux."""
    return pathlib.Path(platformdirs.user_cache_dir("mnist_jax", appauthor=False))


def read_regular(path: pathlib.Path, most: int = _MOST) -> bytes:
    """The content of a file.

    OSError for what is none, such as a pipe, which nobody might ever write to, and for one of more bytes than
    `most`, which a sparse file has without taking them.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise _irregular(path)
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes, more than {most:,}", str(path))
    return path.read_bytes()


def _irregular(path: pathlib.Path) -> OSError:
    return OSError(errno.EINVAL, "it is no regular file", str(path))


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
