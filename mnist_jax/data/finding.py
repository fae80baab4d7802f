"""Which files of a folder are images, and how many others are left out."""

import collections
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mnist_jax.data.image_files import is_image_name
from mnist_jax.data.opening import HEIC_REMEDY, HEIC_SUFFIXES
from mnist_jax.system.errors import UserError

HIDDEN = "hidden or system"
_SYSTEM = frozenset(
    ("@eadir", "__macosx", "$recycle.bin", "system volume information", "lost+found", "thumbs.db",
     "ehthumbs.db", "desktop.ini")
)  # fmt: skip
_NAMED = 8  # kinds of files that a message names


class Found(NamedTuple):
    """The content of a folder.

    Attributes:
        images: paths of the image files, sorted.
        left_out: how many other files, by suffix, or `HIDDEN`.
    """

    images: list[str]
    left_out: collections.Counter[str]


def find(names: Iterable[str], left_out: collections.Counter[str]) -> Iterator[str]:
    """Yields the files that names stand for: files, all images below folders, and matches of patterns.

    Args:
        names: of files, folders or patterns.
        left_out: receives the number of files in folders that are not images; see `Found`.

    Raises:
        UserError: A folder has no images or cannot be read, or a pattern matches nothing.
    """
    for name in names:
        if os.path.isdir(name):
            found, others = images_below(name)
            left_out.update(others)
            missing = f"{name} has no image that can be read"
        elif not os.path.exists(name) and glob.has_magic(name):
            found = sorted(path for path in glob.iglob(name, recursive=True) if os.path.isfile(path))
            missing = f"{name} matches no file"
        else:
            found, missing = [name], ""
        if not found:
            raise UserError(missing)
        yield from found


def images_below(folder: str, *, deep: bool = True) -> Found:
    """The image files of a folder and, if `deep`, of all folders in it.

    Follows links to folders, but enters no folder twice. A dangling link with an image's name counts as an
    image.

    Raises:
        UserError: A folder cannot be read.
    """
    images: list[str] = []
    left_out: collections.Counter[str] = collections.Counter()
    waiting, entered = [folder], set()
    while waiting:
        place = waiting.pop()
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(place) as listed:
                entries = list(listed)
        except OSError as error:
            raise UserError(f"{place} cannot be read: {error.strerror or error}") from error
        folders = []
        for entry in entries:
            if entry.is_dir() and not is_hidden(entry.name):
                folders.append(entry.path)
            elif kind := _left_out_as(entry):
                left_out[kind] += _count(entry)
            else:
                images.append(entry.path)
        if deep:
            waiting += sorted(folders, reverse=True)
    return Found(sorted(images), left_out)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or created by an operating system beside the user's files."""
    return name.startswith(".") or name.lower() in _SYSTEM


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """The counts in words, such as "99 .heic, 6 hidden or system"."""
    ranked = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count:,} {kind}" for kind, count in ranked[:_NAMED]]
    if others := sum(count for _, count in ranked[_NAMED:]):
        named.append(f"{others:,} others")
    remedy = f"; {HEIC_REMEDY}" if any(kind in HEIC_SUFFIXES for kind in left_out) else ""
    return ", ".join(named) + remedy


def _left_out_as(entry: os.DirEntry[str]) -> str | None:
    """The kind under which a file that is not an image is counted; None for an image."""
    if is_hidden(entry.name):
        return HIDDEN
    if not is_image_name(entry.name):
        suffix = os.path.splitext(entry.name)[1].lower()
        return suffix if re.fullmatch(r"\.\w{1,12}", suffix, re.ASCII) else "without a known suffix"
    if entry.is_file() or not os.path.exists(entry.path):
        return None
    return "not a regular file"


def _count(entry: os.DirEntry[str]) -> int:
    """1 for a file, and for a folder the number of files below it."""
    if not entry.is_dir(follow_symlinks=False):
        return 1
    return sum(len(names) for _, _, names in os.walk(entry.path))
