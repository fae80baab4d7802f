"""A folder of images, one folder of them for each class of each split: a set of one's own.

    train/cat/1.jpg   train/dog/2.png   test/cat/3.webp   test/dog/4.jpg

The layout is that of tfds.ImageFolder, torchvision and Keras. Files are read by Pillow, not by TensorFlow: it
reads more kinds, turns photographs upright, and tells which file is damaged.
"""

import concurrent.futures
import functools
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from mnist_jax.data.cache import Arrays, datasets_folder, load_or_build
from mnist_jax.data.decoding import decode_all
from mnist_jax.data.sources import Source
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_path

_LAYOUT = "images lie at train/CLASS/IMAGE and test/CLASS/IMAGE"
_NAMED = 3  # files or classes that a message names


class Example(NamedTuple):
    """name: of the file, below the set's folder. label: its class. size: bytes. changed: nanoseconds."""

    name: str
    label: int
    size: int
    changed: int


def image_folder(config: ml_collections.FrozenConfigDict) -> Source:
    """The images below `config.dir` (of `config.data`); the classes are named by their folders.

    The examples of a split are in an order of which any slice has each class in the proportion of the whole,
    so that `train[:90%]` and `train[90%:]` are stratified. It follows from the names of the files alone.
    Raises UserError: no such folder, another layout, a class that is empty or not in every split.
    """
    root = _root(config.dir)
    found = _scan(root)
    used = {name: found[name] for name in _named_splits(config) if name in found}
    classes = sorted({name for split in used.values() for name in split})
    _check_classes(root, used, classes)
    splits = {name: stratified(root, split, classes) for name, split in used.items()}
    examples = [example for split in splits.values() for example in split]
    version = _sha256([(example.name, example.size) for example in examples])[:8]
    name = f"folder/{root.name}/{version}"
    made_from = _sha256((str(root), config.image_size, examples))[:16]
    cache = datasets_folder(config) / "folder" / f"{root.name}-{made_from}"
    channels = functools.cache(lambda: _channels(root, examples))

    def build(split: str, folder: pathlib.Path) -> None:
        _decode(root, splits[split], channels(), config.image_size, folder, f"{name} {split}")

    def read(split: str) -> tuple[Arrays, str]:
        return load_or_build(cache / split, functools.partial(build, split))

    lengths = {split: sum(map(len, by_class.values())) for split, by_class in found.items()}
    return Source(name, version, tuple(classes), lengths, read)


def stratified(
    root: pathlib.Path, split: Mapping[str, Sequence[str]], classes: Sequence[str]
) -> list[Example]:
    """The examples of a split, each class spread evenly over the whole.

    split: class -> names of files below `root`. Within a class the order is that of the sha256 of names, so
    that a new file leaves the others in order.
    """
    placed = []
    for label, class_name in enumerate(classes):
        names = sorted(split[class_name], key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
        for k, name in enumerate(names):
            size, changed = _stamp(root / name)
            placed.append(((k + 0.5) / len(names), Example(name, label, size, changed)))
    return [example for _, example in sorted(placed, key=lambda place: (place[0], place[1].label))]


def _stamp(path: pathlib.Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return stat.st_size, stat.st_mtime_ns


def _root(name: str) -> pathlib.Path:
    if not name:
        raise UserError(f"config.data.dir is empty; give the folder of your images by it: {_LAYOUT}")
    root = user_path(name).resolve()
    if not root.is_dir():
        raise UserError(f"config.data.dir is {name!r}, which is no folder")
    return root


def _scan(root: pathlib.Path) -> dict[str, dict[str, list[str]]]:
    """split -> class -> names of files below `root`, of all splits that have classes."""
    from mnist_jax.data.image_files import images_below, is_image_name

    splits = {}
    try:
        for folder in _folders(root):
            if stray := sorted(filter(is_image_name, os.listdir(folder))):
                raise UserError(f"{folder} holds images that are in no class, such as {stray[0]}; {_LAYOUT}")
            if classes := _folders(folder):
                splits[folder.name] = {
                    place.name: [os.path.relpath(name, root) for name in images_below(str(place))]
                    for place in classes
                }
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be read: {error.strerror or error}") from error
    if not splits:
        raise UserError(f"config.data.dir is {str(root)!r}, which has no folders of classes in it; {_LAYOUT}")
    return splits


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _named_splits(config: ml_collections.FrozenConfigDict) -> list[str]:
    """The splits that the expressions of a config name, such as train and test, in order."""
    terms = f"{config.train}+{config.validation}+{config.test}".split("+")
    return sorted({re.split(r"[\[\]]", term)[0].strip() for term in terms})


def _check_classes(
    root: pathlib.Path, splits: Mapping[str, Mapping[str, Sequence[str]]], classes: Sequence[str]
) -> None:
    folders = {root / split / name: paths for split in splits for name, paths in splits[split].items()}
    if unreadable := [repr(name) for name in (root.name, *splits, *classes) if not _is_text(name)]:
        raise UserError(f"{_some(unreadable)} is no name in UTF-8; rename that folder")
    if splits and len(classes) < 2:
        raise UserError(f"{root} has one class, {classes[0]}: there is nothing to tell apart; add another")
    if empty := [str(folder) for folder, paths in folders.items() if not paths]:
        raise UserError(f"there is no image in {_some(empty)}; add some, or remove the folder")
    for split, has in splits.items():
        if missing := [name for name in classes if name not in has]:
            other = next(other for other in splits if missing[0] in splits[other])
            raise UserError(
                f"{root / split} has no folder for the class {_some(missing)}, which {other} has; each class "
                "has to be in each split that is used"
            )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _sha256(listing: object) -> str:
    return hashlib.sha256(ascii(listing).encode()).hexdigest()


def _channels(root: pathlib.Path, examples: Sequence[Example]) -> int:
    """1 where all images are grey, 3 otherwise.

    Raises UserError: some files are no images.
    """
    from mnist_jax.data.image_files import is_grey

    broken: set[str] = set()

    def grey(example: Example) -> bool:
        try:
            return is_grey(str(root / example.name))
        except UserError as error:
            broken.add(f"{root / example.name}: {error}")
            return True

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        all_grey = all(list(pool.map(grey, examples)))
    _require_whole(broken)
    return 1 if all_grey else 3


def _decode(
    root: pathlib.Path,
    examples: Sequence[Example],
    channels: int,
    image_size: int,
    folder: pathlib.Path,
    title: str,
) -> None:
    """Decodes a split once into a folder of the cache.

    Raises UserError: images of different sizes, files that are damaged.
    """
    from mnist_jax.data.image_files import ENOUGH, decode

    enough, mode = max(ENOUGH, image_size) if image_size else None, "L" if channels == 1 else "RGB"
    broken: set[str] = set()

    def read(rows: range) -> Iterator[tuple[np.ndarray | None, int]]:
        for example in examples[rows.start : rows.stop]:
            try:
                pixels = np.asarray(decode(str(root / example.name), enough=enough).convert(mode))
                yield pixels.reshape(*pixels.shape[:2], channels), example.label
            except UserError as error:
                broken.add(f"{root / example.name}: {error}")
                yield None, example.label

    decode_all(folder, len(examples), read, image_size, title)
    _require_whole(broken)


def _require_whole(broken: set[str]) -> None:
    if broken:
        files = "1 image cannot" if len(broken) == 1 else f"{len(broken)} images cannot"
        raise UserError(f"{files} be read; mend or remove: {_some(sorted(broken))}")
