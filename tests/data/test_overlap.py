import numpy as np
import pytest

from mnist_jax import data
from mnist_jax.data.cache import Arrays
from mnist_jax.data.dataset import Dataset
from mnist_jax.data.overlap import copies, describe_copies


@pytest.fixture
def dataset():
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), np.uint8)
    splits = (Arrays(images[start : start + 20].copy(), np.zeros(20, np.int32)) for start in (0, 20, 40))
    return Dataset("set/1", "1", "f" * 64, ("a", "b"), *splits)


def described(dataset):
    sizes = {role: {"examples": len(getattr(dataset, role).labels)} for role in data.ROLES}
    return {"splits": sizes, "copies": copies(dataset)}


def test_splits_that_share_nothing_give_no_line(dataset):
    assert copies(dataset) == {"validation": 0, "test": 0}
    assert describe_copies(described(dataset)) is None


def test_copies_are_counted_whatever_their_label(dataset):
    dataset.validation.images[3] = dataset.train.images[7]
    dataset.test.images[[0, 1]] = dataset.train.images[9]
    dataset.test.images[2] = dataset.validation.images[5]
    dataset.test.images[4] = dataset.test.images[5]  # in one split, which is no leak
    dataset.test.labels[0] = 1
    assert copies(dataset) == {"validation": 1, "test": 3}
    line = describe_copies(described(dataset))
    assert line.startswith("1 of 20 validation examples and 3 of 20 test examples have the pixels of")
