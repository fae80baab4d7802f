"""Examples that are in more than one split, and make its results too good."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mnist_jax.data.cache import Arrays
from mnist_jax.data.dataset import Dataset


def copies(dataset: Dataset) -> dict[str, int]:
    """How many examples have the pixels of an example of an earlier split.

    Returns:
        For "validation" those that are in training, for "test" those that are in training or validation.
    """
    train, validation, test = map(_hashes, (dataset.train, dataset.validation, dataset.test))
    return {
        "validation": int(np.isin(validation, train).sum()),
        "test": int(np.isin(test, np.concatenate([train, validation])).sum()),
    }


def describe_copies(data: Mapping[str, Any]) -> str | None:
    """A line for the user if splits share pixels; None otherwise.

    data: as in run.json, with the result of `copies`.
    """
    shared = [
        f"{count:,} of {data['splits'][role]['examples']:,} {role} examples"
        for role, count in data["copies"].items()
        if count
    ]
    if not shared:
        return None
    return (
        f"{' and '.join(shared)} have the pixels of examples of an earlier split and do not test new "
        "images; `mnist-jax explore` shows them"
    )


def _hashes(split: Arrays) -> np.ndarray:
    """int64 (N,): equal for equal pixels, valid in this process only."""
    return np.fromiter(
        (hash(image.tobytes()) for image in np.asarray(split.images)), np.int64, len(split.labels)
    )
