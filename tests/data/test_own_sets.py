import numpy as np
import pytest

from configs import default
from mnist_jax import data
from mnist_jax.config.validation import validate
from mnist_jax.data import dataset
from mnist_jax.data.cache import content_hash
from mnist_jax.system.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 3), np.uint8)
LABELS = np.arange(20) % 3


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setattr(dataset, "SOURCES", dict(dataset.SOURCES))


def load(given, train="train[:10]", validation="train[10:15]", test="train[15:]", **named):
    dataset.register_data("mine", given if callable(given) else lambda config: given, **named)
    config = default.get_config()
    config.data.update({"name": "mine", "train": train, "validation": validation, "test": test})
    return data.load(validate(config).data)


def test_arrays_are_the_split_train():
    found = load((IMAGES, LABELS))
    np.testing.assert_array_equal(found.validation.images, IMAGES[10:15])
    np.testing.assert_array_equal(found.test.labels, LABELS[15:])
    assert (found.name, found.class_names, found.image_shape) == ("mine", ("0", "1", "2"), (4, 5, 3))


def test_splits_and_class_names():
    splits = {"train": (IMAGES[:15], LABELS[:15]), "held_out": (IMAGES[15:], LABELS[15:])}
    found = load(splits, "train[:10]", "train[10:]", "held_out", class_names=["a", "b", "c"])
    np.testing.assert_array_equal(found.test.images, IMAGES[15:])
    assert found.class_names == ("a", "b", "c")


def test_the_fingerprint_is_that_of_the_content():
    one = load((IMAGES, LABELS)).fingerprint
    assert load((IMAGES.copy(), LABELS.astype(np.int64))).fingerprint == one
    other = IMAGES.copy()
    other[3, 1, 2, 0] ^= 1
    assert load((other, LABELS)).fingerprint != one


def test_grey_images_get_a_channel_and_config_data_is_given():
    seen = []

    def own(config):
        seen.append(config.dir)
        return IMAGES[..., 0], LABELS

    found = load(own)
    assert found.image_shape == (4, 5, 1)
    assert seen == [""]
    assert content_hash(found.train.images) == content_hash(IMAGES[:10, ..., :1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (IMAGES, "must be images and labels"),
        ((IMAGES / 255, LABELS), r"must be uint8, from 0 to 255 \(got float64\)"),
        ((IMAGES[0, 0], LABELS), r"must have shape \(N, H, W\)"),
        ((IMAGES, LABELS[:-1]), "must be 20 integers"),
        ((IMAGES, LABELS / 1), "must be 20 integers"),
        ((IMAGES, LABELS - 1), "must be integers from 0"),
        ((IMAGES[:0], LABELS[:0]), "must be integers from 0"),
        ({"train": (IMAGES, LABELS), "test": (IMAGES[:, 1:], LABELS)}, "must have images of one shape"),
        ({}, "must have images of one shape"),
        (None, "must be images and labels"),
    ],
)
def test_other_than_images_and_labels_is_one_line(given, said):
    with pytest.raises(UserError, match=said) as refused:
        load(given)
    assert "\n" not in str(refused.value)


def test_too_few_class_names():
    with pytest.raises(UserError, match=r"must have 3 class names.*\(got 2\)"):
        load((IMAGES, LABELS), class_names=["a", "b"])


def test_an_error_of_the_function_is_one_line():
    def broken(config):
        raise ValueError("no\nsuch file")

    with pytest.raises(UserError, match=r"'mine' cannot be loaded: ValueError: no"):
        load(broken)


def test_built_in_names_are_taken():
    with pytest.raises(UserError, match="is built in"):
        dataset.register_data("digits", lambda config: (IMAGES, LABELS))
    with pytest.raises(UserError, match="must be registered with a function"):
        dataset.register_data("mine", (IMAGES, LABELS))
