"""A data set as a run uses it: three splits that share no example, and the order training sees them in."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from mnist_jax.data.cache import Arrays, content_hash
from mnist_jax.data.canonical import canonical_set
from mnist_jax.data.folders import image_folder
from mnist_jax.data.normalization import normalization
from mnist_jax.data.own_sets import OwnLoad, own_set
from mnist_jax.data.rendering import Rendering
from mnist_jax.data.sources import ROLES, Source, digits, some
from mnist_jax.data.splits import split_ranges
from mnist_jax.data.stratify import fold_of
from mnist_jax.data.tables import table
from mnist_jax.data.tfds_sets import tfds_set
from mnist_jax.system.errors import UserError
from mnist_jax.system.terminal import warn

_WITHOUT = {
    "train": "the model cannot learn them",
    "validation": "they do not count in the choice of the checkpoint",
    "test": "their recall and curves are undefined",
}
SOURCES: dict[str, Callable[[ml_collections.FrozenConfigDict], Source | None]] = {
    "digits": digits,
    "folder": image_folder,
    "table": table,
}  # by config.data.name
_BUILT_IN = frozenset(SOURCES)


class Dataset(NamedTuple):
    """A data set as a run uses it.

    Attributes:
        name: with its version, such as "mnist/3.0.1".
        fingerprint: sha256 of the decoded examples of every split used; the same on every machine.
        expressions: the split expression of each role.
        left_out: how many files of the set are not examples, by suffix or reason.
        rendering: how image files became its pixels; None for other sources.
        mean, std: normalize its pixels, one number or one per channel, from the config or the training split.
    """

    name: str
    version: str
    fingerprint: str
    class_names: tuple[str, ...]
    train: Arrays
    validation: Arrays
    test: Arrays
    expressions: Mapping[str, str] = {}
    left_out: Mapping[str, int] = {}
    rendering: Rendering | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train.images.shape[1:]


def register_data(name: str, load: OwnLoad, *, class_names: Sequence[str] | None = None) -> None:
    """Makes a data set available as `config.data.name`, in every command that takes a data set.

    Args:
      name: of the data set.
      load: called with `config.data`; returns images and labels, which become the split "train", or a dict
        from the name of a split to its images and labels. Images are uint8 (N, H, W) or (N, H, W, C), labels
        integers (N,) from 0.
      class_names: by label; None: the labels themselves.

    Raises:
      UserError: a built-in data set has that name, or `load` is not a function.
    """
    if name in _BUILT_IN:
        raise UserError(f"the data set {name!r} is built in; register yours under another name")
    if not callable(load):
        raise UserError(
            f"the data set {name!r} must be registered with a function (got {type(load).__name__})"
        )
    SOURCES[name] = functools.partial(own_set, name, load, class_names)


def module_of_data(name: str) -> str | None:
    """The module that defines the function of a registered data set; None for other sets."""
    source = SOURCES.get(name)
    return source.args[1].__module__ if isinstance(source, functools.partial) else None


def load(config: ml_collections.FrozenConfigDict) -> Dataset:
    """Loads the splits of `config.data`; prepares and decodes them first if needed.

    Prints a line for everything that is left out of the set or decided for the user.

    Raises UserError: no such data set or split, splits that overlap, no network for a download, a folder
    that cannot be written, images of different sizes or more channels than the config normalizes.
    """
    source = _source(config)
    expressions = {role: config[role] or source.expressions.get(role, "") for role in ROLES}
    ranges = {role: _ranges(role, expressions[role], source) for role in ROLES}
    _check_disjoint(expressions, ranges)
    for note in source.notes:
        warn(note)
    used = sorted({split for role in ROLES for split, _, _ in ranges[role]})
    read = {split: source.read(split) for split in used}
    arrays = {split: arrays for split, (arrays, _) in read.items()}
    if len(shapes := {one.images.shape[1:]: split for split, one in arrays.items()}) > 1:
        raise UserError(
            f"the images of {source.name} must have one shape (got "
            f"{' and '.join(f'{shape} in {split}' for shape, split in shapes.items())}); fit them to one by "
            "--config.data.image_size=PIXELS"
        )
    channels = arrays[used[0]].images.shape[-1]
    if len(config.mean) not in (0, 1, channels):
        raise UserError(
            f"config.data.mean has {len(config.mean)} entries, but the images of {source.name} have "
            f"{channels} channel(s); give one, or one for each"
        )
    splits = {role: _select(arrays, ranges[role]) for role in ROLES}
    dataset = Dataset(
        name=source.name,
        version=source.version,
        fingerprint=content_hash(np.frombuffer("".join(read[split][1] for split in used).encode(), np.uint8)),
        class_names=source.class_names,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        expressions=expressions,
        left_out=source.left_out,
        rendering=source.rendering(),
    )
    if config.folds:
        dataset = _fold(dataset, config)
    mean, std = (config.mean, config.std) if config.mean else normalization(dataset.train.images)
    dataset = dataset._replace(mean=tuple(mean), std=tuple(std))
    for line in _unseen_classes(dataset):
        warn(line)
    if dataset.rendering and (notice := dataset.rendering.notice()):
        warn(f"images of {source.name}: {notice}")
    return dataset


def version_of(config: ml_collections.FrozenConfigDict) -> str:
    """The version of the set of `config.data`. For a folder it is a hash of the names and sizes of its files,
    for a table a hash of its labels.

    Reads no example. Raises UserError: see `load`.
    """
    return _source(config).version


def _source(config: ml_collections.FrozenConfigDict) -> Source:
    own = SOURCES.get(config.name, canonical_set)
    return own(config) or tfds_set(config)


def _ranges(role: str, expression: str, source: Source) -> list[tuple[str, int, int]]:
    """The split expression of a role as (split, from, to) over the source's own splits."""
    try:
        ranges = split_ranges(expression, source.lengths)
    except Exception as error:  # TFDS's parser raises exceptions of many kinds
        available = ", ".join(f"{name} ({n:,} examples)" for name, n in source.lengths.items())
        raise UserError(
            f"config.data.{role} is {expression!r}: no such split of {source.name}, which has {available}; "
            "slices are written train[:-5000] or train[:90%]"
        ) from error
    if not any(stop > start for _, start, stop in ranges):
        available = ", ".join(f"{name} ({n:,} examples)" for name, n in source.lengths.items())
        raise UserError(
            f"config.data.{role} must have an example of {source.name} (got {expression!r}); "
            f"take a larger share, or add some: it has {available}"
        )
    return ranges


def _check_disjoint(expressions: Mapping[str, str], ranges: Mapping[str, list[tuple[str, int, int]]]) -> None:
    parts = [(role, *part) for role in ROLES for part in ranges[role]]
    for first, second in itertools.combinations(parts, 2):
        (role, split, start, stop), (other, other_split, other_start, other_stop) = first, second
        shared = min(stop, other_stop) - max(start, other_start)
        if split == other_split and shared > 0:
            where = f"config.data.{role} ({expressions[role]})"
            if role != other:
                where += f" and config.data.{other} ({expressions[other]})"
            raise UserError(f"{where} hold {shared:,} examples twice; each example must be in one split only")


def _select(arrays: Mapping[str, Arrays], ranges: list[tuple[str, int, int]]) -> Arrays:
    parts = [
        Arrays(*(field[start:stop] for field in arrays[split]))
        for split, start, stop in ranges
        if stop > start
    ]
    return parts[0] if len(parts) == 1 else Arrays(*map(np.concatenate, zip(*parts, strict=True)))


def _fold(dataset: Dataset, config: ml_collections.FrozenConfigDict) -> Dataset:
    """The data set whose training and validation examples are divided into folds, for cross-validation."""
    both = Arrays(*map(np.concatenate, zip(dataset.train, dataset.validation, strict=True)))
    chosen = fold_of(both.labels, config.folds, config.fold_seed) == config.fold
    whole = f"{dataset.expressions['train']}+{dataset.expressions['validation']}"
    fold = f"fold {config.fold} of {config.folds}"
    said = {"train": f"{whole} without {fold}", "validation": f"{fold} of {whole}"}
    return dataset._replace(
        train=Arrays(*(field[~chosen] for field in both)),
        validation=Arrays(*(field[chosen] for field in both)),
        expressions={**dataset.expressions, **said},
    )


def _unseen_classes(dataset: Dataset) -> Iterator[str]:
    """A line for each role that lacks classes that others have."""
    classes = len(dataset.class_names)
    counts = {role: np.bincount(getattr(dataset, role).labels, minlength=classes) for role in ROLES}
    anywhere = sum(counts.values()) > 0
    for role, count in counts.items():
        if missing := [dataset.class_names[label] for label in np.flatnonzero(anywhere & (count == 0))]:
            which = f"{len(missing)} of {classes} classes ({some(missing)})"
            yield f"{role} has no image of {which}: {_WITHOUT[role]}"
