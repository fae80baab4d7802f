"""A data set as a folder of images, with a folder for each class of each split.

    train/cat/1.jpg   train/dog/2.png   test/cat/3.webp   test/dog/4.jpg

The layout is that of tfds.ImageFolder, torchvision and Keras; `layout` has its variants. Files are read by
Pillow, not by TensorFlow: it reads more formats, turns photographs upright, and names damaged files.
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
from mnist_jax.data.cache import Arrays, datasets_folder, load_or_build, stamp
from mnist_jax.data.classes import classes_of
from mnist_jax.data.decoding import decode_all
from mnist_jax.data.finding import describe_left_out
from mnist_jax.data.layout import LAYOUT, find_layout
from mnist_jax.data.rendering import Rendering, choose_rendering, load_or_choose
from mnist_jax.data.sources import Source
from mnist_jax.data.splits import split_ranges
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_path


class Example(NamedTuple):
    """name: path below the set's folder. label: its class. size, changed: see `cache.stamp`."""

    name: str
    label: int
    size: int
    changed: tuple[int, ...]


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
    stamps = {name: stamp(start + name) for split in used.values() for name in split.names}
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
    lengths = {name: len(split.names) for name, split in {**layout.splits, **used}.items()}

    @functools.cache
    def rendering() -> Rendering:
        ranges = split_ranges(config.train or layout.expressions["train"], lengths)
        training = [one for split, start, stop in ranges for one in splits[split][start:stop]]
        path = pathlib.Path(f"{kept}-{_sha256((str(root), training, examples))[:16]}.json")
        return load_or_choose(path, lambda: _choose(root, training, examples, listed))

    def build(split: str, folder: pathlib.Path) -> None:
        title = f"{name} {split}"
        if not _decode(root, splits[split], rendering(), config, folder, title):
            refuse_broken(root, [example.name for example in examples], listed())
            raise UserError(f"the images of {root} must not change while they are read; start again")

    def read(split: str) -> tuple[Arrays, str]:
        made_from = _sha256((str(root), config.image_size, config.fit, examples, rendering()))[:16]
        return load_or_build(pathlib.Path(f"{kept}-{made_from}", split), functools.partial(build, split))

    notes = layout.notes
    if left_out:
        where = f" (listed in {listed()})" if left_out["broken"] else ""
        notes += (f"files left out of {root}: {describe_left_out(left_out)}{where}",)
    return Source(
        name,
        version,
        classes,
        lengths,
        read,
        expressions=layout.expressions,
        left_out=left_out,
        notes=notes,
        rendering=rendering,
    )


def stratified(files: Sequence[Sequence[str]], classes: Sequence[str]) -> list[tuple[str, int]]:
    """The files of a split with their labels, each class spread evenly over the whole.

    Within a class, files are sorted by the sha256 of their names, so a new file keeps the others in order.
    A hash of the class's name chooses the offset of its first file. So if a slice has room for some classes
    only, each class is equally likely to be among them.

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


def _root(name: str) -> pathlib.Path:
    if not name:
        raise UserError(f"config.data.dir must be the folder of your images (got ''); it holds {LAYOUT}")
    root = user_path(name).resolve()
    if not root.is_dir():
        raise UserError(f"config.data.dir must be a folder (got {name!r})")
    return root


def _sha256(listing: object) -> str:
    return hashlib.sha256(ascii(listing).encode()).hexdigest()


def _choose(
    root: pathlib.Path,
    training: Sequence[Example],
    examples: Sequence[Example],
    listed: Callable[[], pathlib.Path],
) -> Rendering:
    """How the images of a set become pixels, decided by the examples `training`.

    Raises:
        UserError: Some files are not images, or have levels without a range.
    """
    from mnist_jax.data.image_files import survey

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            facts = dict(
                zip(examples, pool.map(lambda one: survey(str(root / one.name)), examples), strict=True)
            )
        except UserError:
            refuse_broken(root, [example.name for example in examples], listed())
            raise
    rendering = choose_rendering([facts[example] for example in training], list(facts.values()))
    for example, found in facts.items():
        try:
            rendering.require_range(found.levels)
        except UserError as error:
            raise UserError(f"{root / example.name}: {error}") from error
    return rendering


def _decode(
    root: pathlib.Path,
    examples: Sequence[Example],
    rendering: Rendering,
    config: ml_collections.FrozenConfigDict,
    folder: pathlib.Path,
    title: str,
) -> bool:
    """Decodes a split once into a folder of the cache; returns whether all its files can be read.

    Raises:
        UserError: The images differ in size.
    """
    from mnist_jax.data.image_files import ENOUGH, decode

    enough = max(ENOUGH, config.image_size) if config.image_size else None
    mode = "L" if rendering.channels == 1 else "RGB"
    broken: set[str] = set()

    def read(rows: range) -> Iterator[tuple[np.ndarray | None, int]]:
        for example in examples[rows.start : rows.stop]:
            try:
                image = decode(str(root / example.name), rendering, enough=enough)
                pixels = np.asarray(image.convert(mode))
                yield pixels.reshape(*pixels.shape[:2], rendering.channels), example.label
            except UserError:
                broken.add(example.name)
                yield None, example.label

    decode_all(folder, len(examples), read, config, title)
    return not broken
