"""A data set as a run uses it: three splits that share no example, and the order training sees them in."""

import functools
import itertools
import re
from collections.abc import Mapping
from typing import NamedTuple

import ml_collections
import numpy as np

from mnist_jax.cache import Arrays, content_hash
from mnist_jax.canonical import canonical_set
from mnist_jax.errors import UserError
from mnist_jax.folders import image_folder
from mnist_jax.sources import Source, digits
from mnist_jax.tfds_sets import tfds_set

ROLES = ("train", "validation", "test")
SOURCES = {"digits": digits, "folder": image_folder}  # by config.data.name
_BOUND = r"-?(?:\d+|(?:\d{1,2}|100)%)"
_PLAIN_TERM = re.compile(
    rf"(?P<split>[\w-]+)(?:\[(?!:\])(?P<start>{_BOUND})?:(?P<stop>{_BOUND})?\])?", re.ASCII
)


class Dataset(NamedTuple):
    """A data set as a run uses it.

    name: with its version, such as "mnist/3.0.1". fingerprint: sha256 of the decoded examples of every
    split used; the same on every machine.
    """

    name: str
    version: str
    fingerprint: str
    class_names: tuple[str, ...]
    train: Arrays
    validation: Arrays
    test: Arrays

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train.images.shape[1:]


def load(config: ml_collections.FrozenConfigDict) -> Dataset:
    """Loads the splits of `config.data`; prepares and decodes them first where that was not done yet.

    Raises UserError: no such data set or split, splits that overlap, no network for a download, a folder
    that cannot be written, images of different sizes or more channels than the config normalizes.
    """
    own = SOURCES.get(config.name, canonical_set)
    source = own(config) or tfds_set(config)
    ranges = {role: _ranges(config, role, source) for role in ROLES}
    _check_disjoint(config, ranges)
    used = sorted({split for role in ROLES for split, _, _ in ranges[role]})
    read = {split: source.read(split) for split in used}
    arrays = {split: arrays for split, (arrays, _) in read.items()}
    channels = arrays[used[0]].images.shape[-1]
    if len(config.mean) not in (1, channels):
        raise UserError(
            f"config.data.mean has {len(config.mean)} entries, but the images of {source.name} have "
            f"{channels} channel(s); give one, or one for each"
        )
    return Dataset(
        name=source.name,
        version=source.version,
        fingerprint=content_hash(np.frombuffer("".join(read[split][1] for split in used).encode(), np.uint8)),
        class_names=source.class_names,
        **{role: _select(arrays, ranges[role]) for role in ROLES},
    )


def batch_indices(seed: int, start: int, count: int, *, batch_size: int, size: int) -> np.ndarray:
    """The examples of steps `start` to `start + count - 1`, int32 (count, batch_size).

    Training reads an endless stream of epochs, each a fresh permutation of the whole split, and a step
    takes the next `batch_size` of it: so every example is seen once an epoch, a batch may straddle two
    epochs, and the order is a pure function of (seed, step).
    """
    first, last = start * batch_size, (start + count) * batch_size
    epochs = range(first // size, (last - 1) // size + 1)
    stream = np.concatenate([_permutation(seed, epoch, size) for epoch in epochs])
    offset = first - epochs[0] * size
    return stream[offset : offset + last - first].reshape(count, batch_size)


@functools.lru_cache(maxsize=512)  # of two epochs, where a population has that many seeds
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(np.arange(size, dtype=np.int32))


def _ranges(config: ml_collections.FrozenConfigDict, role: str, source: Source) -> list[tuple[str, int, int]]:
    """The split expression of a role as (split, from, to) over the source's own splits."""
    expression = config[role]
    try:
        ranges = plain_ranges(expression, source.lengths)
        if ranges is None:
            ranges = ranges_by_tfds(expression, source.lengths)
    except Exception as error:  # TFDS raises whatever its parser meets
        available = ", ".join(f"{name} ({n:,} examples)" for name, n in source.lengths.items())
        raise UserError(
            f"config.data.{role} is {expression!r}: no such split of {source.name}, which has {available}; "
            "slices are written train[:-5000] or train[:90%]"
        ) from error
    if not any(stop > start for _, start, stop in ranges):
        raise UserError(f"config.data.{role} is {expression!r}, which holds no example of {source.name}")
    return ranges


def plain_ranges(expression: str, lengths: Mapping[str, int]) -> list[tuple[str, int, int]] | None:
    """The ranges that an expression such as `train[:-5000]` or `train[90%:]+test` names, as TFDS has them.

    Runs with the usual expressions are spared the import of TFDS, 0.4 s.

    Args:
      expression: splits and slices of them, https://www.tensorflow.org/datasets/splits
      lengths: split name -> examples.

    Returns:
      (split, from, to) of each term; None where TFDS has to parse the expression, or to refuse it.
    """
    ranges = []
    for term in re.split(r"\s*\+\s*", expression):
        match = _PLAIN_TERM.fullmatch(term)
        if match is None or match["split"] == "all" or match["split"] not in lengths:
            return None
        length, bounds = lengths[match["split"]], (match["start"], match["stop"])
        start, stop = _index(bounds[0] or "0", length), _index(bounds[1] or str(length), length)
        mixed = len({bound.endswith("%") for bound in bounds if bound}) > 1
        if mixed or not (0 <= start <= length and 0 <= stop <= length):
            return None
        ranges.append((match["split"], start, stop))
    return ranges


def _index(bound: str, length: int) -> int:
    """The index that a boundary of a slice names; a negative one counts from the end."""
    value = round(int(bound[:-1]) * length / 100) if bound.endswith("%") else int(bound)
    return value + length if value < 0 else value


def ranges_by_tfds(expression: str, lengths: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """What `plain_ranges` does, of any expression; raises whatever TFDS's parser meets."""
    import tensorflow_datasets as tfds

    class Length(NamedTuple):
        num_examples: int

    instruction = tfds.core.ReadInstruction.from_spec(expression)
    absolute = instruction.to_absolute({name: Length(count) for name, count in lengths.items()})
    return [
        (part.splitname, part.from_ or 0, lengths[part.splitname] if part.to is None else part.to)
        for part in absolute
    ]


def _check_disjoint(
    config: ml_collections.FrozenConfigDict, ranges: Mapping[str, list[tuple[str, int, int]]]
) -> None:
    parts = [(role, *part) for role in ROLES for part in ranges[role]]
    for first, second in itertools.combinations(parts, 2):
        (role, split, start, stop), (other, other_split, other_start, other_stop) = first, second
        shared = min(stop, other_stop) - max(start, other_start)
        if split == other_split and shared > 0:
            where = f"config.data.{role} ({config[role]})"
            if role != other:
                where += f" and config.data.{other} ({config[other]})"
            raise UserError(f"{where} hold {shared:,} examples twice; an example may be in one place only")


def _select(arrays: Mapping[str, Arrays], ranges: list[tuple[str, int, int]]) -> Arrays:
    parts = [
        Arrays(*(field[start:stop] for field in arrays[split]))
        for split, start, stop in ranges
        if stop > start
    ]
    return parts[0] if len(parts) == 1 else Arrays(*map(np.concatenate, zip(*parts, strict=True)))
