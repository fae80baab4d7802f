import numpy as np
import pytest
from cases import predictions_from
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.neighbors import KNeighborsClassifier

from configs import digits
from mnist_jax import data
from mnist_jax.data import normalization
from mnist_jax.data.cache import Arrays
from mnist_jax.studies import explore
from mnist_jax.studies.explore import Place


@pytest.fixture(scope="module")
def dataset():
    return data.load(digits.get_config().data)


def splits(**images) -> data.Dataset:
    """A data set of the given images (N, H, W, C), with labels 0, 1, 0, 1, ... in each split."""
    found = {
        role: Arrays(pixels, (np.arange(len(pixels)) % 2).astype(np.int32)) for role, pixels in images.items()
    }
    return data.Dataset("made/1.0.0", "1.0.0", "", ("a", "b"), **found)


images = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.just(3), st.just(2), st.sampled_from((1, 3)))
)


def test_splits_are_described(dataset):
    assert explore.describe_splits(dataset)[0] == {
        "split": "train",
        "examples": 1197,
        "image": "8 x 8 x 1",
        "pixels": "uint8",
        "lowest": 0,
        "highest": 255,
        "labels": "int32",
        "MiB": 0.1,
    }
    counts = explore.label_counts(dataset)
    assert {role: found.sum() for role, found in counts.items()} == {
        "train": 1197,
        "validation": 300,
        "test": 300,
    }
    assert counts["test"][7] == np.sum(dataset.test.labels == 7)


@given(images)
def test_levels_are_counted_by_channel_and_give_mean_and_deviation(images):
    counts = normalization.pixel_counts(images)
    for channel, found in enumerate(counts):
        levels, expected = np.unique(images[..., channel], return_counts=True)
        assert found.sum() == expected.sum()
        np.testing.assert_array_equal(found[levels], expected)
    means, deviations = normalization.channel_statistics(images)
    np.testing.assert_allclose(means, (images / 255).mean(axis=(0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(deviations, (images / 255).std(axis=(0, 1, 2)), atol=1e-12)


@given(images)
def test_classes_have_their_own_mean_and_deviation(images):
    labels = (np.arange(len(images)) % 2).astype(np.int32)
    means, deviations = explore.class_statistics(Arrays(images, labels), 3)
    for label in range(2):
        own = images[labels == label].astype(float)
        if len(own):
            np.testing.assert_allclose(means[label], own.mean(axis=0), atol=1e-9)
            np.testing.assert_allclose(deviations[label], own.std(axis=0), atol=1e-5)
    assert np.isnan(means[2]).all()


def test_the_nearest_to_the_mean_come_first(dataset):
    means, _ = explore.class_statistics(dataset.train, 10)
    rows = explore.by_distance(dataset.train, 3, means[3])
    assert sorted(rows) == np.flatnonzero(dataset.train.labels == 3).tolist()
    gaps = np.sqrt(((dataset.train.images[rows].astype(float) - means[3]) ** 2).mean(axis=(1, 2, 3)))
    assert (np.diff(gaps) >= 0).all()
    distances = explore.distances_of_means(means)
    assert distances[3, 3] == 0
    np.testing.assert_allclose(distances, distances.T)
    assert distances[1, 2] == pytest.approx(np.sqrt(((means[1] - means[2]) ** 2).mean()))


def test_copies_are_found_within_and_across_splits():
    noise = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1), np.uint8)
    train, validation, test = noise[:20].copy(), noise[20:25].copy(), noise[25:].copy()
    train[7] = train[2]
    test[4] = train[2]
    validation[0] = train[9]
    assert explore.duplicates(splits(train=train, validation=validation, test=test)) == [
        [Place("train", 2, 0), Place("train", 7, 1), Place("test", 4, 0)],
        [Place("train", 9, 1), Place("validation", 0, 0)],
    ]


def test_near_copies_come_first_with_their_true_distance():
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    test = noise[30:].copy()
    test[6] = noise[17]
    test[6, 0, 0, 0] ^= 16
    pairs = explore.closest_pairs(splits(train=noise[:30], validation=noise[:1], test=test))
    assert pairs[0] == (Place("test", 6, 0), Place("train", 17, 1), pytest.approx(16 / np.sqrt(192)))
    assert sorted(pair.first.row for pair in pairs) == list(range(10))
    assert [pair.distance for pair in pairs] == sorted(pair.distance for pair in pairs)


def test_the_nearest_training_image_is_that_of_scikit_learn(dataset):
    pairs = explore.closest_pairs(dataset)
    reference = KNeighborsClassifier(1, algorithm="brute").fit(
        dataset.train.images.reshape(1197, -1), dataset.train.labels
    )
    expected = reference.score(dataset.test.images.reshape(300, -1), dataset.test.labels)
    assert np.mean([pair.first.label == pair.second.label for pair in pairs]) == pytest.approx(
        expected, abs=0.01
    )


def test_a_wrong_label_is_the_most_doubtful():
    labels = np.array([0, 1, 2, 0, 1, 2])
    logits = 5.0 * np.eye(3)[[0, 1, 2, 0, 2, 2]]  # of the fifth the model says 2
    logits[3] /= 4
    found = explore.doubtful(predictions_from(logits, labels))
    assert found[:2].tolist() == [4, 3]


def test_samples_are_of_their_class_and_always_the_same():
    labels = np.array([0, 1, 0, 2, 0, 1])
    found = explore.samples_by_class(labels, (0, 2), 2)
    np.testing.assert_array_equal(found, explore.samples_by_class(labels, (0, 2), 2))
    assert found.shape == (2, 2)
    assert set(labels[found[0]]) == {0}
    assert found[1].tolist() == [3, -1]
