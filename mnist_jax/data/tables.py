"""The user's data sets as tables: .npz, CSV of pixels or of paths, Parquet.

`npz_tables`, `csv_tables` and `parquet_tables` read the files; this module makes their rows the examples of a
set. The same images and labels in the same order have the same fingerprint in each format.
"""

import concurrent.futures
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import ml_collections
import numpy as np

from mnist_jax.data.cache import Arrays, content_hash, datasets_folder, load_or_build
from mnist_jax.data.csv_tables import read_csv
from mnist_jax.data.decoding import decode_all
from mnist_jax.data.npz_tables import read_npz
from mnist_jax.data.parquet_tables import read_parquet
from mnist_jax.data.rendering import Facts, Rendering, choose_rendering
from mnist_jax.data.sources import ROLES, Source, some
from mnist_jax.data.splits import expressions_by_name, splits_in, splits_in_words
from mnist_jax.data.stratify import interleaved
from mnist_jax.data.table_files import TableFiles, find_tables
from mnist_jax.data.table_parts import Part, Pictures, Unlabelled, name_classes
from mnist_jax.system.errors import UserError


class _Rows(NamedTuple):
    """A split: its labels and images in the order of rows, and the order of its examples."""

    labels: np.ndarray
    images: np.ndarray | Pictures
    order: np.ndarray


def table(config: ml_collections.FrozenConfigDict) -> Source:
    """The set in the table `config.dir` (of `config.data`): a file, or a folder with a file for each split.

    The examples of a split are interleaved by class, so every slice is stratified. Their order follows from
    the labels and the numbers of the rows alone.

    Raises:
        UserError: No such table, damaged or missing values, images that differ in size.
    """
    files = find_tables(config.dir)
    parts, notes = _parts(files)
    given = {role: config[role] for role in ROLES if config[role]}
    expressions = expressions_by_name(files.root, list(parts), given)
    named = splits_in(expressions.values())
    used = {split: part for split, part in parts.items() if split in named} or parts
    class_names, labels = name_classes(str(files.root), used)
    rows = {split: _Rows(own, used[split].images, interleaved(own)) for split, own in labels.items()}
    if len(given) < len(ROLES):
        notes.append(splits_in_words(files.root, parts, expressions))
    version = _sha256((class_names, [(split, content_hash(own)) for split, own in labels.items()]))[:8]
    rendering = functools.cache(lambda: _rendering(rows))
    read = functools.partial(_read, config, files, rows, rendering)
    lengths = {split: len(part.labels) for split, part in parts.items()}
    name = f"table/{files.name}"
    return Source(
        name, version, class_names, lengths, read, expressions, notes=tuple(notes), rendering=rendering
    )


def _parts(files: TableFiles) -> tuple[dict[str, Part], list[str]]:
    """The splits that have labels, and a line about each unused part of the table."""
    parts: dict[str, Part] = {}
    notes = [f"not used of {files.root}: {some(files.unused)}"] if files.unused else []
    without: list[Unlabelled] = []
    for split, paths in files.splits.items():
        try:
            if files.kind == ".npz":
                found, unused = read_npz(paths[0])
                notes += [f"not used of {paths[0]}: {some(unused)}"] if unused else []
            elif files.kind == ".parquet":
                found = {"train": read_parquet(paths)}
            else:
                found = read_csv(paths[0])
        except Unlabelled as error:
            without.append(error)
            continue
        if split and found.keys() != {"train"}:
            raise UserError(
                f"{paths[0]} must hold one split, named by the file (got {some(list(found))}); give the file"
            )
        parts |= {split: found["train"]} if split else found
    if not parts:
        raise UserError(f"{without[0]}; give a table with labels, such as Kaggle's train.csv")
    notes += [note for part in parts.values() for note in part.notes]
    return parts, [*notes, *(f"not used: {error}" for error in without)]


def _read(
    config: ml_collections.FrozenConfigDict,
    files: TableFiles,
    rows: Mapping[str, _Rows],
    rendering: Callable[[], Rendering | None],
    split: str,
) -> tuple[Arrays, str]:
    """The examples of a split and their sha256. Examples that take long to decode are cached."""
    one = rows[split]
    if isinstance(one.images, np.ndarray) and config.image_size in (0, *_side(one.images)):
        arrays = Arrays(one.images[one.order], one.labels[one.order])
        return arrays, content_hash(*arrays)
    stamps = [part.images.stamps for part in rows.values() if isinstance(part.images, Pictures)]
    how = config.image_size, config.fit, rendering()
    made_from = _sha256((str(files.root), how, files.stamps, stamps, sorted(rows)))[:16]
    folder = datasets_folder(config) / "table" / f"{files.name}-{made_from}" / split
    title = f"table/{files.name} {split}"
    return load_or_build(folder, lambda to: _decode(one, rendering(), config, to, title))


def _side(images: np.ndarray) -> tuple[int, ...]:
    """The side of square images."""
    height, width = images.shape[1:3]
    return (height,) if height == width else ()


def _decode(
    rows: _Rows,
    rendering: Rendering | None,
    config: ml_collections.FrozenConfigDict,
    folder: pathlib.Path,
    title: str,
) -> None:
    """Decodes a split once into a folder of the cache.

    Raises:
        UserError: Images differ in size, or cannot be read.
    """
    from mnist_jax.data.image_files import ENOUGH, decode

    enough = max(ENOUGH, config.image_size) if config.image_size else None
    rendering = rendering or Rendering()
    channels, mode = rendering.channels, "L" if rendering.channels == 1 else "RGB"
    broken: set[str] = set()

    def image(row: int) -> np.ndarray | None:
        if isinstance(rows.images, np.ndarray):
            return rows.images[row]
        try:
            pixels = np.asarray(decode(rows.images.open(row), rendering, enough=enough).convert(mode))
        except UserError as error:
            broken.add(f"{rows.images.where(row)}: {error}")
            return None
        return pixels.reshape(*pixels.shape[:2], channels)

    def read(places: range) -> Iterator[tuple[np.ndarray | None, int]]:
        return ((image(row), int(rows.labels[row])) for row in rows.order[places.start : places.stop])

    decode_all(folder, len(rows.order), read, config, title)
    _require_whole(broken)


def _rendering(rows: Mapping[str, _Rows]) -> Rendering | None:
    """How encoded images become pixels, derived from the training split; None if there are none.

    Raises:
        UserError: Some are not images.
    """
    from mnist_jax.data.image_files import survey

    broken: set[str] = set()
    facts: dict[str, list[Facts]] = {}

    def look(pictures: Pictures, row: int) -> Facts | None:
        try:
            return survey(pictures.open(row))
        except UserError as error:
            broken.add(f"{pictures.where(row)}: {error}")
            return None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, one in rows.items():
            if isinstance(one.images, Pictures):
                seen = pool.map(functools.partial(look, one.images), range(len(one.labels)))
                facts[split] = [found for found in seen if found]
    _require_whole(broken)
    if not facts:
        return None
    used = [one for found in facts.values() for one in found]
    return choose_rendering(facts.get("train", used), used)


def _require_whole(broken: set[str]) -> None:
    if broken:
        count = "1 image cannot" if len(broken) == 1 else f"{len(broken):,} images cannot"
        raise UserError(f"{count} be read: {some(sorted(broken))}; repair or remove their rows")


def _sha256(listing: object) -> str:
    return hashlib.sha256(ascii(listing).encode()).hexdigest()
