"""A folder of images, one folder of them for each class of each split: a set of one's own.

    train/cat/1.jpg   train/dog/2.png   test/cat/3.webp   test/dog/4.jpg

The layout is that of tfds.ImageFolder, torchvision and Keras; `layout` has its variants. Files are read by
Pillow, not by TensorFlow: it reads more kinds, turns photographs upright, and tells which file is damaged.
"""

import collections
import concurrent.futures
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from mnist_jax.data.broken import broken_files, refuse_broken
from mnist_jax.data.cache import Arrays, datasets_folder, load_or_build
from mnist_jax.data.decoding import decode_all
from mnist_jax.data.finding import describe_left_out
from mnist_jax.data.layout import LAYOUT, classes_of, find_layout
from mnist_jax.data.sources import Source
from mnist_jax.system.errors import UserError


class Example(NamedTuple):
    """name: of the file, below the set's folder. label: its class. size: bytes. changed: nanoseconds."""

    name: str
    label: int
    size: int
    changed: int


def image_folder(config: ml_collections.FrozenConfigDict) -> Source:
    """The images below `config.dir` (of `config.data`); the classes are named by their folders.

    The examples of a split are interleaved by class, so every slice is stratified: `train[:90%]` and
    `train[90%:]` have each class in proportion. The order follows from the names of the files alone.

    Raises:
        UserError: No such folder, another layout, a class without images, a cache that cannot be written.
    """
    root = _root(config.dir)
    layout = find_layout(root, config)
    used = layout.used
    start = os.path.join(root, "")
    stamps = {name: _stamp(start + name) for split in used.values() for name in split.names}
    kept = str(datasets_folder(config) / "folder" / root.name)
    listed = functools.cache(
        lambda: pathlib.Path(f"{kept}-{_sha256((str(root), sorted(stamps.items())))[:16]}-broken.json")
    )
    left_out = sum((split.left_out for split in used.values()), collections.Counter[str]())
    if config.skip_broken:
        broken = broken_files(root, list(stamps), listed())
        used = {name: split.without(broken) for name, split in used.items()}
        left_out += collections.Counter(broken=len(broken))
    classes = classes_of(root, used)
    splits = {
        name: [
            Example(file, label, *stamps[file])
            for file, label in stratified(
                [split.classes[one].images if one in split.classes else [] for one in classes], classes
            )
        ]
        for name, split in used.items()
    }
    examples = [example for split in splits.values() for example in split]
    version = _sha256([(example.name, example.size) for example in examples])[:8]
    name = f"folder/{root.name}/{version}"
    cache = pathlib.Path(f"{kept}-{_sha256((str(root), config.image_size, examples))[:16]}")
    channels = functools.cache(lambda: _channels(root, examples, listed))

    def build(split: str, folder: pathlib.Path) -> None:
        title = f"{name} {split}"
        if not _decode(root, splits[split], channels(), config.image_size, folder, title):
            refuse_broken(root, [example.name for example in examples], listed())

    def read(split: str) -> tuple[Arrays, str]:
        return load_or_build(cache / split, functools.partial(build, split))

    notes = layout.notes
    if left_out:
        where = f" (listed in {listed()})" if left_out["broken"] else ""
        notes += (f"files left out of {root}: {describe_left_out(left_out)}{where}",)
    lengths = {name: len(split.names) for name, split in {**layout.splits, **used}.items()}
    return Source(
        name, version, classes, lengths, read, expressions=layout.expressions, left_out=left_out, notes=notes
    )


def stratified(files: Sequence[Sequence[str]], classes: Sequence[str]) -> list[tuple[str, int]]:
    """The files of a split with their labels, each class spread evenly over the whole.

    Within a class the order is that of the sha256 of names, so that a new file leaves the others in order.
    The first file of a class of n is at a fraction of 1/n that its name chooses: where a slice has room for
    some of the classes alone, no class is more likely than another to be among them.

    Args:
        files: of each class.
        classes: their names.
    """
    placed = []
    for label, (names, class_name) in enumerate(zip(files, classes, strict=True)):
        phase = int.from_bytes(_digest(class_name)[:8]) / 2**64
        for k, name in enumerate(sorted(names, key=_digest)):
            placed.append(((k + phase) / len(names), name, label))
    return [(name, label) for _, name, label in sorted(placed)]


def _digest(name: str) -> bytes:
    return hashlib.sha256(os.fsencode(name)).digest()


def _stamp(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change; -1 for a file that is not there."""
    try:
        stat = os.stat(path)
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _root(name: str) -> pathlib.Path:
    if not name:
        raise UserError(f"config.data.dir must be the folder of your images (got ''); it holds {LAYOUT}")
    root = pathlib.Path(os.path.expanduser(name)).resolve()
    if not root.is_dir():
        raise UserError(f"config.data.dir must be a folder (got {name!r})")
    return root


def _sha256(listing: object) -> str:
    return hashlib.sha256(ascii(listing).encode()).hexdigest()


def _channels(root: pathlib.Path, examples: Sequence[Example], listed: Callable[[], pathlib.Path]) -> int:
    """1 where all images are grey, 3 otherwise.

    Raises:
        UserError: Some files are no images.
    """
    from mnist_jax.data.image_files import is_grey

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            return 1 if all(list(pool.map(lambda one: is_grey(str(root / one.name)), examples))) else 3
        except UserError:
            refuse_broken(root, [example.name for example in examples], listed())
            raise


def _decode(
    root: pathlib.Path,
    examples: Sequence[Example],
    channels: int,
    image_size: int,
    folder: pathlib.Path,
    title: str,
) -> bool:
    """Decodes a split once into a folder of the cache; returns whether all its files can be read.

    Raises:
        UserError: The images differ in size.
    """
    from mnist_jax.data.image_files import ENOUGH, decode

    enough, mode = max(ENOUGH, image_size) if image_size else None, "L" if channels == 1 else "RGB"
    broken: set[str] = set()

    def read(rows: range) -> Iterator[tuple[np.ndarray | None, int]]:
        for example in examples[rows.start : rows.stop]:
            try:
                pixels = np.asarray(decode(str(root / example.name), enough=enough).convert(mode))
                yield pixels.reshape(*pixels.shape[:2], channels), example.label
            except UserError:
                broken.add(example.name)
                yield None, example.label

    decode_all(folder, len(examples), read, image_size, title)
    return not broken
