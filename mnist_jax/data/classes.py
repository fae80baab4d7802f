"""The classes of a folder of images, named by its folders."""

import collections
import pathlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from mnist_jax.data.finding import describe_left_out
from mnist_jax.data.layout import Split
from mnist_jax.data.sources import in_natural_order, some
from mnist_jax.system.errors import UserError


def classes_of(root: pathlib.Path, splits: Mapping[str, Split]) -> tuple[str, ...]:
    """The names of the classes of all splits, in natural order: class2 before class10.

    Raises:
        UserError: A name is not UTF-8, a class has no image or is spelled differently in different splits, or
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
    names = sorted(found, key=lambda name: (in_natural_order(name), name))
    _check_spelling(names, found)
    if splits and len(names) < 2:
        raise UserError(f"{root} must hold at least two classes (got {some(names) or 'none'}); add another")
    return tuple(names)


def _names(splits: Mapping[str, Split]) -> list[str]:
    return sorted({name for split in splits.values() for name in split.classes})


def _check_spelling(names: Iterable[str], found: Mapping[str, Sequence[Split]]) -> None:
    """Refuses classes that differ only in case or Unicode form and never share a split."""
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
