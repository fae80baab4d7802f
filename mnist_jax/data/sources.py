"""What a data set is before its splits are chosen; and the one that is always there."""

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from mnist_jax.data.cache import Arrays, content_hash

ROLES = ("train", "validation", "test")
_LISTED = 3  # names in a message


class Source(NamedTuple):
    """A data set before its splits are chosen.

    Attributes:
        name: with its version, such as "mnist/3.0.1".
        lengths: split name -> examples.
        read: split name -> its arrays and their sha256.
        expressions: the split expression of each role, where the config leaves it to the set.
        left_out: how many files of it are not examples, by suffix or reason.
        notes: lines about what was decided for the user.
    """

    name: str
    version: str
    class_names: tuple[str, ...]
    lengths: Mapping[str, int]
    read: Callable[[str], tuple[Arrays, str]]
    expressions: Mapping[str, str] = {}
    left_out: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()


def digits(config: ml_collections.FrozenConfigDict) -> Source:
    """The 1,797 images of 8 x 8 pixels that ship with scikit-learn, in the order of their writers.

    Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", https://doi.org/10.24432/C50P49.
    """
    del config  # there is nothing to choose
    # What `sklearn.datasets.load_digits` reads; its import takes longer than a short run.
    file = importlib.metadata.distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    table = np.loadtxt(str(file), np.int32, delimiter=",")
    images = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    arrays = Arrays(images, table[:, -1])
    return Source(
        name="digits/1.0.0",
        version="1.0.0",
        class_names=tuple("0123456789"),
        lengths={"train": len(images)},
        read=lambda split: (arrays, content_hash(*arrays)),
    )


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
