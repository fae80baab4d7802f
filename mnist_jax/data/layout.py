"""Which folders of a set of images are its splits, and which files are in their classes.

train/CLASS/IMAGE   test/CLASS/IMAGE   val/CLASS/IMAGE (optional)
CLASS/IMAGE         one split, named train
"""

import collections
import os
import pathlib
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

import ml_collections

from mnist_jax.data.finding import Found, images_below, is_hidden
from mnist_jax.data.sources import ROLES, some
from mnist_jax.data.splits import ROLE_OF, expressions_by_name, splits_in, splits_in_words
from mnist_jax.system.errors import UserError

LAYOUT = "images as train/CLASS/IMAGE and test/CLASS/IMAGE, or as CLASS/IMAGE"
_DEPTH = 3  # levels below the folder at which a message looks for the set


class Split(NamedTuple):
    """A split as folders.

    Attributes:
        place: the folder of its classes.
        classes: the files of each class, named from the folder of the set.
        beside: the files outside all classes.
    """

    place: pathlib.Path
    classes: dict[str, Found]
    beside: Found

    @property
    def left_out(self) -> collections.Counter[str]:
        """How many files are not examples; see `Found`."""
        return sum((found.left_out for found in self.classes.values()), self.beside.left_out.copy())

    @property
    def names(self) -> list[str]:
        """All files of classes."""
        return [name for found in self.classes.values() for name in found.images]

    def without(self, names: Container[str]) -> "Split":
        """The split without some files."""
        kept = {
            one: found._replace(images=[name for name in found.images if name not in names])
            for one, found in self.classes.items()
        }
        return self._replace(classes=kept)


class Layout(NamedTuple):
    """A set of images as folders.

    Attributes:
        splits: all splits, by name.
        expressions: the split expression of each role.
        notes: lines about decisions made for the user.
    """

    splits: Mapping[str, Split]
    expressions: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def used(self) -> dict[str, Split]:
        """The existing splits that the expressions name."""
        named = splits_in(self.expressions.values())
        return {name: split for name, split in self.splits.items() if name in named}


def find_layout(root: pathlib.Path, config: ml_collections.FrozenConfigDict) -> Layout:
    """Finds the splits and classes in `root`, for `config.data`.

    Raises:
        UserError: Another layout, images outside all classes, or a folder that cannot be read.
    """
    given = {role: config[role] for role in ROLES if config[role]}
    folders, named = _folders(root), splits_in(given.values())
    if _are_splits(folders, named):
        splits = {
            folder.name: _split(root, folder)
            for folder in folders
            if folder.name in named or folder.name.lower() in ROLE_OF or _folders(folder)
        }
    else:
        splits = {"train": _split(root, root)}
        _check_alone(root, splits["train"])
    chosen = expressions_by_name(root, sorted(splits), given, kind="folder")
    notes = () if len(given) == len(ROLES) else (splits_in_words(root, splits, chosen),)
    layout = Layout(splits, chosen, notes)
    for split in layout.used.values():
        if stray := split.beside.images:
            raise UserError(
                f"{split.place} must hold folders of classes (got {len(stray):,} images outside all classes, "
                f"such as {os.path.basename(stray[0])}); move them into folders: {LAYOUT}"
            )
    return layout


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir())
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror or error}") from error


def _split(root: pathlib.Path, folder: pathlib.Path) -> Split:
    start, classes = len(os.path.join(root, "")), {}
    for place in _folders(folder):
        images, left_out = images_below(str(place))
        classes[place.name] = Found([path[start:] for path in images], left_out)
    return Split(folder, classes, images_below(str(folder), deep=False))


def _are_splits(folders: Sequence[pathlib.Path], named: set[str]) -> bool:
    """Whether folders are splits, not classes: they have such names and hold folders themselves."""
    roles = {folder: ROLE_OF.get(folder.name.lower()) for folder in folders}
    return "train" in roles.values() or any(
        (role or folder.name in named) and _folders(folder) for folder, role in roles.items()
    )


def _check_alone(root: pathlib.Path, split: Split) -> None:
    """Refuses folders that are neither splits nor classes.

    Raises:
        UserError: The set is one level higher or lower, or there are no classes.
    """
    if ROLE_OF.get(root.name.lower()) and len(_sets(root.parent)) > 1:
        raise UserError(
            f"config.data.dir must be the folder of all splits (got {root}, which is one of them); give "
            f"--config.data.dir={root.parent}"
        )
    deeper = [
        name
        for name, found in split.classes.items()
        if not any(os.path.dirname(image) == name for image in found.images)
    ]
    if split.classes and not deeper:
        return
    if nested := next(_nested(root), None):
        raise UserError(
            f"config.data.dir must be the folder that holds {' and '.join(_sets(nested))} (got {root}, some "
            f"levels above); give --config.data.dir={nested}"
        )
    if outer := next((name for name in deeper if split.classes[name].images), None):
        inside = [path.name for path in _folders(root / outer)]
        raise UserError(
            f"config.data.dir must hold {LAYOUT} (got {root}, whose {outer} holds folders: "
            f"{some(inside)}); rename its folders to train and test, or name the splits by "
            "--config.data.train, --config.data.validation and --config.data.test"
        )
    if not split.classes:
        raise UserError(
            f"config.data.dir must hold {LAYOUT} (got {root}, which has {len(split.beside.images):,} images "
            "and no folders of classes); give the folder of your images"
        )


def _sets(folder: pathlib.Path) -> list[str]:
    """The names of the splits in a folder, by their usual names."""
    return [path.name for path in _folders(folder) if path.name.lower() in ROLE_OF and _folders(path)]


def _nested(root: pathlib.Path, depth: int = _DEPTH) -> Iterator[pathlib.Path]:
    """The folders below `root` that hold a split for training."""
    for folder in _folders(root):
        if any(ROLE_OF[name.lower()] == "train" for name in _sets(folder)):
            yield folder
        elif depth > 1:
            yield from _nested(folder, depth - 1)
