"""Original files of data sets: the user's, or downloaded once; either way checked by their sha256."""

import errno
import logging
import os
import pathlib
import sys
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

import filelock
import ml_collections

from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_path
from mnist_jax.system.terminal import tell

ANSWER_SECONDS = 20  # for a server to answer before a download is tried
_CHUNK = 1 << 20  # bytes


class Remote(NamedTuple):
    """A file of a data set, under its own name."""

    url: str
    filename: str
    sha256: str


def data_folder(config: ml_collections.FrozenConfigDict) -> pathlib.Path:
    """The folder of TFDS's sets and of downloads, from `config.data_dir` (of `config.data`)."""
    folder = config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return user_path(folder)


def manual_folder(config: ml_collections.FrozenConfigDict) -> pathlib.Path | None:
    """The user's folder of original files, `config.manual_dir` (of `config.data`); None if that is empty.

    Raises:
      UserError: no such folder.
    """
    if not config.manual_dir:
        return None
    folder = user_path(config.manual_dir).resolve()
    if not folder.is_dir():
        raise UserError(f"config.data.manual_dir must be an existing folder (got {config.manual_dir!r})")
    return folder


def check_reachable(name: str, files: Mapping[str, str], manual_dir: pathlib.Path | None) -> None:
    """Fails within seconds if a download would fail after minutes of retries.

    Args:
      name: of the set. files: file name -> URL.
      manual_dir: the user's folder with some of the files, or all.

    Raises:
      UserError: a file is missing there, and its server does not answer.
    """
    import requests  # 0.15 s, which a prepared set does not need

    missing = [one for one in files if not manual_dir or not (manual_dir / one).exists()]
    if not missing:
        return
    host = urllib.parse.urlsplit(files[missing[0]]).hostname
    try:
        requests.head(files[missing[0]], timeout=ANSWER_SECONDS)
    except requests.RequestException as error:
        where = f"{manual_dir} has no {missing[0]} and " if manual_dir else ""
        raise UserError(
            f"{name} is not prepared: {where}{host} cannot be reached to download it; connect, or put its "
            "files into a folder and pass --config.data.manual_dir"
        ) from error


def fetch(
    name: str, files: list[Remote], manual_dir: pathlib.Path | None, folder: pathlib.Path
) -> dict[str, pathlib.Path]:
    """The files of a set, each with the right sha256.

    One process at a time downloads; the others wait and use its files. A download that is cut off or killed
    leaves nothing that counts as a file, and starts again.

    Args:
      name: of the set.
      manual_dir: the user's folder, which is only read.
      folder: where downloads are kept.

    Returns:
      File name -> path.

    Raises:
      UserError: no network, a file with another sha256, or a folder that cannot be written.
    """
    given = _given(name, files, manual_dir) if manual_dir else {}
    missing = [one for one in files if one.filename not in given]
    absent = {one.filename: one.url for one in missing if not (folder / one.filename).exists()}
    check_reachable(name, absent, manual_dir)
    try:
        return given | {one.filename: _download(name, one, folder) for one in missing}
    except OSError as error:
        raise UserError(
            f"the files of {name} cannot be kept in {folder}: {error.strerror or error}; correct that, or "
            "choose another folder with --config.data.data_dir"
        ) from error


def _given(name: str, files: list[Remote], folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The files that the user's folder has, by their names."""
    found = {}
    for one in files:
        path = folder / one.filename
        try:
            if not path.exists():
                continue
            if not path.is_file():
                raise OSError(errno.EINVAL, "it is not a regular file")
            whole = _is_whole(one, path)
        except OSError as error:
            raise UserError(
                f"{path} must be a readable file of {name} (got {error.strerror or error}); correct that, or "
                "choose another folder with --config.data.manual_dir"
            ) from error
        if not whole:
            raise UserError(
                f"{path} is not the file of {name} that TFDS publishes: its sha256 must be {one.sha256}; "
                "fetch it again"
            )
        found[one.filename] = path
    return found


def _is_whole(one: Remote, path: pathlib.Path) -> bool:
    import pooch

    return pooch.file_hash(str(path)) == one.sha256


def _download(name: str, one: Remote, folder: pathlib.Path) -> pathlib.Path:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.ERROR)  # it prints each download, in three lines
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / one.filename
    with filelock.FileLock(folder / ".lock"):
        if path.exists() and _is_whole(one, path):
            return path
        for left in folder.glob("tmp*"):  # of a download that was killed; pooch names them so
            left.unlink()
        tell(f"downloading {one.filename} of {name} to {folder}, once")
        shown = sys.stderr.isatty()
        loader = pooch.HTTPDownloader(progressbar=shown, chunk_size=_CHUNK, timeout=ANSWER_SECONDS)
        try:
            pooch.retrieve(
                one.url, f"sha256:{one.sha256}", fname=one.filename, path=folder, downloader=loader
            )
        except requests.RequestException as error:
            raise UserError(
                f"{one.filename} of {name} could not be downloaded: {_reason(error)}; run the same command "
                "again, or put the file into a folder and pass it as --config.data.manual_dir"
            ) from error
        except ValueError as error:  # how pooch reports another sha256
            raise UserError(
                f"{one.url} is not the file of {name} that TFDS publishes: its sha256 must be {one.sha256}; "
                "fetch it from elsewhere into a folder and pass that as --config.data.manual_dir"
            ) from error
    return path


def _reason(error: Exception) -> str:
    """Why a download failed, in one line: the innermost reason, which requests wraps."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    return " ".join(str(reason if isinstance(reason, Exception) else error).split()).rstrip(".")
