"""Which folders of a set of images are its splits and its classes.

train/CLASS/IMAGE   test/CLASS/IMAGE   val/CLASS/IMAGE, where there is one
CLASS/IMAGE         one split, named train
"""

import collections
import os
import pathlib
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import ml_collections

from mnist_jax.data.finding import Found, describe_left_out, images_below, is_hidden
from mnist_jax.data.sources import ROLES, some
from mnist_jax.system.errors import UserError

LAYOUT = "images as train/CLASS/IMAGE and test/CLASS/IMAGE, or as CLASS/IMAGE"
_ROLE_OF = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation",
    "validation": "validation", "test": "test", "testing": "test",
}  # fmt: skip
_DEPTH = 3  # levels below the folder at which a message looks for the set


class Split(NamedTuple):
    """A split as folders.

    Attributes:
        place: the folder of its classes.
        classes: the files of each class, named from the folder of the set.
        beside: the files that are in no class.
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
        splits: by name, all that there are.
        expressions: the split expression of each role.
        notes: lines about what was decided for the user.
    """

    splits: Mapping[str, Split]
    expressions: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def used(self) -> dict[str, Split]:
        """The splits that the expressions name, as far as they exist."""
        named = _splits_in(self.expressions.values())
        return {name: split for name, split in self.splits.items() if name in named}


def find_layout(root: pathlib.Path, config: ml_collections.FrozenConfigDict) -> Layout:
    """Finds the splits and classes in `root`, for `config.data`.

    Raises:
        UserError: Another layout, images in no class, or a folder that cannot be read.
    """
    given = {role: config[role] for role in ROLES if config[role]}
    folders, named = _folders(root), _splits_in(given.values())
    if _are_splits(folders, named):
        splits = {
            folder.name: _split(root, folder)
            for folder in folders
            if folder.name in named or folder.name.lower() in _ROLE_OF or _folders(folder)
        }
    else:
        splits = {"train": _split(root, root)}
        _check_alone(root, splits["train"])
    chosen = given if len(given) == len(ROLES) else _by_layout(root, splits, given)
    layout = Layout(splits, chosen, () if chosen is given else (_in_words(root, splits, chosen),))
    for split in layout.used.values():
        if stray := split.beside.images:
            raise UserError(
                f"{split.place} must hold folders of classes (got {len(stray):,} images in no class, such as "
                f"{os.path.basename(stray[0])}); move them into folders: {LAYOUT}"
            )
    return layout


def classes_of(root: pathlib.Path, splits: Mapping[str, Split]) -> tuple[str, ...]:
    """The classes of the splits that are used, in natural order: class2 before class10.

    Raises:
        UserError: A name is not UTF-8, a class has no image at all, or another spelling in each split, or
            there are fewer than two classes.
    """
    found = {name: [split for split in splits.values() if name in split.classes] for name in _names(splits)}
    if unreadable := [repr(name) for name in (root.name, *splits, *found) if not _is_text(name)]:
        raise UserError(f"the name of a folder must be UTF-8 (got {some(unreadable)}); rename it")
    for name, places in found.items():
        if not any(split.classes[name].images for split in places):
            left_out = sum((split.classes[name].left_out for split in places), collections.Counter[str]())
            beside = f" but {describe_left_out(left_out)}" if left_out else ""
            folders = some([str(split.place / name) for split in places])
            raise UserError(f"there is no image{beside} in {folders}; add some, or remove the folder")
    names = sorted(found, key=lambda name: (_natural(name), name))
    _check_spelling(names, found)
    if splits and len(names) < 2:
        raise UserError(f"{root} must hold two classes or more (got {some(names) or 'none'}); add another")
    return tuple(names)


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


def _splits_in(expressions: Iterable[str]) -> set[str]:
    """The splits that expressions such as `train[:90%]+test` name."""
    return {re.split(r"[\[\]]", term)[0].strip() for one in expressions for term in one.split("+")}


def _are_splits(folders: Sequence[pathlib.Path], named: set[str]) -> bool:
    """Whether folders are splits, not classes: by their names, and that they hold folders themselves."""
    roles = {folder: _ROLE_OF.get(folder.name.lower()) for folder in folders}
    return "train" in roles.values() or any(
        (role or folder.name in named) and _folders(folder) for folder, role in roles.items()
    )


def _check_alone(root: pathlib.Path, split: Split) -> None:
    """Refuses folders that are neither splits nor classes.

    Raises:
        UserError: The set is one level higher or lower, or there are no classes.
    """
    if _ROLE_OF.get(root.name.lower()) and len(_sets(root.parent)) > 1:
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
    if deeper and split.classes[deeper[0]].images:
        inside = [path.name for path in _folders(root / deeper[0])]
        raise UserError(
            f"config.data.dir must hold {LAYOUT} (got {root}, whose {deeper[0]} holds folders: "
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
    return [path.name for path in _folders(folder) if path.name.lower() in _ROLE_OF and _folders(path)]


def _nested(root: pathlib.Path, depth: int = _DEPTH) -> Iterator[pathlib.Path]:
    """The folders below `root` that hold a split for training."""
    for folder in _folders(root):
        if any(_ROLE_OF[name.lower()] == "train" for name in _sets(folder)):
            yield folder
        elif depth > 1:
            yield from _nested(folder, depth - 1)


def _by_layout(root: pathlib.Path, splits: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """The split expression of each role: the given one, or what the names of the folders say.

    Raises:
        UserError: No folder for training or for testing, or two for one role.
    """
    named, own = _splits_in(given.values()), dict[str, str]()
    for name in sorted(splits):
        role = _ROLE_OF.get(name.lower())
        if role in own and role not in given:
            raise UserError(f"{root} must have one {role} folder (got {own[role]} and {name}); remove one")
        if role:
            own[role] = name
    train = own.get("train")
    if train is None:
        raise UserError(
            f"{root} must have a train folder (got {some(sorted(splits))}); it must hold {LAYOUT}"
        )
    chosen = {role: name for role, name in own.items() if name not in named} | dict(given)
    if "test" not in chosen and "validation" in chosen:
        other = chosen["validation"]
        raise UserError(
            f"{root} must have a test folder beside {train} and {other}; to test on {other}, and validate "
            f"on a tenth of {train}, give --config.data.test={other}"
        )
    if "test" not in chosen:
        parts = {"train": "[:80%]", "validation": "[80%:90%]", "test": "[90%:]"}
    elif "validation" not in chosen:
        parts = {"train": "[:90%]", "validation": "[90%:]"}
    else:
        parts = {"train": ""}
    return {**chosen, **{role: train + part for role, part in parts.items()}, **given}


def _in_words(root: pathlib.Path, splits: Iterable[str], expressions: Mapping[str, str]) -> str:
    roles = ", ".join(f"{role}={expressions[role]}" for role in ROLES)
    unused = sorted(set(splits) - _splits_in(expressions.values()))
    return f"splits of {root}: {roles}" + (f"; not used: {some(unused)}" if unused else "")


def _natural(name: str) -> list[str | int]:
    return [int(part) if k % 2 else part for k, part in enumerate(re.split("([0-9]+)", name))]


def _names(splits: Mapping[str, Split]) -> list[str]:
    return sorted({name for split in splits.values() for name in split.classes})


def _check_spelling(names: Iterable[str], found: Mapping[str, Sequence[Split]]) -> None:
    """Refuses classes that differ in case or in Unicode's forms alone, and are never in the same split."""
    spelled: dict[str, str] = {}
    for name in names:
        other = spelled.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name and not any(name in split.classes for split in found[other]):
            one, two = (f"{each!a} in {found[each][0].place}" for each in (other, name))
            raise UserError(f"a class must have one spelling in all splits (got {one} and {two}); rename one")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
