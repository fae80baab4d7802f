"""A data set before its splits are chosen; and the bundled one."""

import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from mnist_jax.data.cache import Arrays, content_hash
from mnist_jax.data.decoding import fit_square
from mnist_jax.data.rendering import Rendering

ROLES = ("train", "validation", "test")
_LISTED = 3  # names in a message


class Source(NamedTuple):
    """A data set before its splits are chosen.

    Attributes:
        name: with its version, such as "mnist/3.0.1".
        lengths: split name -> examples.
        read: split name -> its arrays and their sha256.
        expressions: the split expression of each role, if the config leaves it to the set.
        left_out: how many files of it are not examples, by suffix or reason.
        notes: lines about decisions made for the user.
        rendering: returns how image files become its pixels; None for other sources.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    lengths: Mapping[str, int]
    read: Callable[[str], tuple[Arrays, str]]
    expressions: Mapping[str, str] = {}
    left_out: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    rendering: Callable[[], Rendering | None] = lambda: None


def digits(config: ml_collections.FrozenConfigDict) -> Source:
    """The 1,797 images of 8 x 8 pixels that ship with scikit-learn, in the order of their writers.

    Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", https://doi.org/10.24432/C50P49.
    """
    # The file that `sklearn.datasets.load_digits` reads; importing it takes longer than a short run.
    file = importlib.metadata.distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(str(file), np.int32, delimiter=",")
    images = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    if config.image_size:
        images = np.stack([fit_square(image, config.image_size, config.fit) for image in images])
    arrays = Arrays(images, table[:, -1])
    return Source(
        name="digits/1.0.0",
        version="1.0.0",
        class_names=tuple("0123456789"),
        lengths={"train": len(images)},
        read=lambda split: (arrays, content_hash(*arrays)),
    )


def some(names: Sequence[str]) -> str:
    """The first names and the number of others."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def in_natural_order(name: str) -> list[str | int]:
    """A key that sorts numbers within names by their value: class2 before class10, -1 before 0."""
    if re.fullmatch(r"-?[0-9]+(\.0*)?", name, re.ASCII):
        return ["", int(name.split(".")[0])]
    return [int(part) if k % 2 else part for k, part in enumerate(re.split("([0-9]+)", name))]
