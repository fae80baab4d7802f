"""Statistics of a data set before training: NumPy arrays in, NumPy arrays out."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mnist_jax.data import ROLES, Dataset
from mnist_jax.data.cache import Arrays
from mnist_jax.metrics.predictions import Predictions

_ROWS = 5000  # images per block


class Place(NamedTuple):
    """An example: its split, its row in the split, and its label."""

    role: str
    row: int
    label: int


class ImagePair(NamedTuple):
    """Two examples and their distance, see `distance`."""

    first: Place
    second: Place
    distance: float


def describe_splits(dataset: Dataset) -> list[dict[str, Any]]:
    """Size, dimensions, dtypes and range of pixels of each split."""
    return [
        {
            "split": role,
            "examples": len(split.labels),
            "image": " x ".join(map(str, split.images.shape[1:])),
            "pixels": str(split.images.dtype),
            "lowest": int(split.images.min()),
            "highest": int(split.images.max()),
            "labels": str(split.labels.dtype),
            "MiB": round(split.images.nbytes / 2**20, 1),
        }
        for role, split in ((role, getattr(dataset, role)) for role in ROLES)
    ]


def label_counts(dataset: Dataset) -> dict[str, np.ndarray]:
    """Examples of each class in each split, int64 (K,) by role."""
    classes = len(dataset.class_names)
    return {role: np.bincount(getattr(dataset, role).labels, minlength=classes) for role in ROLES}


def class_statistics(split: Arrays, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean image and per-pixel standard deviation of each class, float64 (K, H, W, C) each, in levels.

    Those of a class without examples are NaN.
    """
    shape = (classes, *split.images.shape[1:])
    sums, squares = np.zeros(shape), np.zeros(shape)
    counts = np.bincount(split.labels, minlength=classes).astype(float)
    for start in range(0, len(split.labels), _ROWS):
        labels = split.labels[start : start + _ROWS]
        images = split.images[start : start + _ROWS].astype(np.float64)
        for k in np.unique(labels):
            sums[k] += images[labels == k].sum(axis=0)
            squares[k] += (images[labels == k] ** 2).sum(axis=0)
    with np.errstate(invalid="ignore"):
        means, seconds = (total / counts[:, None, None, None] for total in (sums, squares))
    return means, np.sqrt(np.maximum(seconds - means**2, 0))


def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Root of the mean squared difference of pixels, in levels, over the last three axes."""
    return np.sqrt(np.mean((np.asarray(first, float) - second) ** 2, axis=(-3, -2, -1)))


def distances_of_means(means: np.ndarray) -> np.ndarray:
    """Distances between the mean images of classes, float64 (K, K)."""
    return distance(means[:, None], means[None])


def by_distance(split: Arrays, label: int, mean: np.ndarray) -> np.ndarray:
    """The rows of a class, nearest to its mean image first."""
    rows = np.flatnonzero(split.labels == label)
    distances = np.empty(len(rows))
    for start in range(0, len(rows), _ROWS):
        distances[start : start + _ROWS] = distance(split.images[rows[start : start + _ROWS]], mean)
    return rows[np.argsort(distances, kind="stable")]


def duplicates(dataset: Dataset) -> list[list[Place]]:
    """Groups of examples with the same pixels: those across splits first, then by size."""
    groups: dict[bytes, list[Place]] = {}
    for role in ROLES:
        split = getattr(dataset, role)
        for row, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
            digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            groups.setdefault(digest, []).append(Place(role, row, label))
    copies = [group for group in groups.values() if len(group) > 1]
    return sorted(copies, key=lambda group: (len({place.role for place in group}), len(group)), reverse=True)


def closest_pairs(dataset: Dataset, role: str = "test") -> list[ImagePair]:
    """Each example of a split with its nearest training example, closest pairs first.

    Copies across splits that are not the same to the bit, as CIFAR-10 has them
    (https://arxiv.org/abs/1902.00423), come out on top.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    split, train = getattr(dataset, role), dataset.train
    nearest, _ = pairwise_distances_argmin_min(_flat(split.images), _flat(train.images))
    distances = distance(split.images, train.images[nearest])  # exact, where those are rounded
    return [
        ImagePair(
            Place(role, row, int(split.labels[row])),
            Place("train", int(nearest[row]), int(train.labels[nearest[row]])),
            float(distances[row]),
        )
        for row in np.argsort(distances, kind="stable").tolist()
    ]


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32)


def doubtful(predictions: Predictions) -> np.ndarray:
    """The examples of a split, lowest probability of the label first.

    The model must not have been trained on them. Ranked by the probability of the given label, the
    "self-confidence" of https://arxiv.org/abs/1911.00068.
    """
    given = predictions.log_probabilities[np.arange(len(predictions.labels)), predictions.labels]
    return np.argsort(given, kind="stable")


def samples_by_class(labels: np.ndarray, classes: Sequence[int], count: int) -> np.ndarray:
    """Random rows, always the same, int64 (K, count); -1 where a class has fewer."""
    rng = np.random.default_rng(0)
    found = np.full((len(classes), count), -1)
    for index, label in enumerate(classes):
        rows = rng.permutation(np.flatnonzero(labels == label))[:count]
        found[index, : len(rows)] = rows
    return found
