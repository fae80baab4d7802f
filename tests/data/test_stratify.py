import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import digits
from mnist_jax import data
from mnist_jax.config.validation import validate
from mnist_jax.data.cache import content_hash
from mnist_jax.data.stratify import fold_of, interleaved
from mnist_jax.system.errors import UserError

labels_of_a_set = st.lists(st.integers(0, 5), min_size=1, max_size=300).map(np.array)


@given(labels_of_a_set, st.integers(0, 300), st.integers(0, 300))
def test_every_slice_of_the_order_has_each_class_in_proportion(labels, start, stop):
    order = interleaved(labels)
    assert sorted(order) == list(range(len(labels)))
    start, stop = sorted((min(start, len(labels)), min(stop, len(labels))))
    found = np.bincount(labels[order[start:stop]], minlength=6)
    due = np.bincount(labels, minlength=6) * (stop - start) / len(labels)
    assert (np.abs(found - due) < 6).all()  # each of the other five classes shifts a boundary by one at most


def test_the_order_is_not_that_of_rows_and_a_new_row_leaves_the_others_in_order():
    labels = np.arange(200) % 3
    order = interleaved(labels[:-1])
    assert not np.array_equal(order, np.sort(order))
    longer = interleaved(labels)
    for label in range(3):
        mine = [row for row in order if labels[row] == label]
        assert [row for row in longer if labels[row] == label and row != 199] == mine


def test_the_order_is_the_same_on_every_machine_and_version():
    assert interleaved(np.array([0, 1, 0, 1, 0, 0])).tolist() == [0, 1, 2, 5, 3, 4]
    assert fold_of(np.array([0, 1, 0, 1, 0, 0]), 2, 7).tolist() == [1, 0, 1, 1, 0, 0]


@given(labels_of_a_set, st.integers(2, 10), st.integers(0, 99))
def test_folds_differ_by_one_example_at_most_in_all_and_of_each_class(labels, folds, seed):
    fold = fold_of(labels, folds, seed)
    assert fold.shape == labels.shape
    for of in (labels >= 0, *(labels == label for label in range(6))):
        sizes = np.bincount(fold[of], minlength=folds)
        assert len(sizes) == folds
        assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(fold, fold_of(labels, folds, seed))


def load(**changes):
    config = digits.get_config()
    config.data.update(changes)
    return data.load(validate(config).data)


def test_every_example_validates_in_one_fold_and_trains_in_the_others():
    whole = load()
    rows = {image.tobytes() for image in np.concatenate([whole.train.images, whole.validation.images])}
    validated = []
    for fold in range(5):
        one = load(folds=5, fold=fold)
        assert len(one.train.labels) + len(one.validation.labels) == 1497
        mine = [image.tobytes() for image in one.validation.images]
        train = {image.tobytes() for image in one.train.images}
        assert train | set(mine) == rows
        validated += mine
        np.testing.assert_array_equal(one.test.images, whole.test.images)
        assert one.fingerprint == whole.fingerprint
        assert one.expressions["validation"] == f"fold {fold} of 5 of train[:1197]+train[1197:1497]"
    assert len(validated) == 1497
    assert set(validated) == rows


def test_folds_are_drawn_by_their_seed_and_not_by_the_cut_between_the_splits():
    one = content_hash(load(folds=3, fold=1).validation.images)
    assert content_hash(load(folds=3, fold=1, fold_seed=1).validation.images) != one
    cut = {"train": "train[:1000]", "validation": "train[1000:1497]"}
    assert content_hash(load(folds=3, fold=1, **cut).validation.images) == one


@pytest.mark.parametrize("fields", [{"folds": 1}, {"folds": 3, "fold": 3}, {"fold": 1}])
def test_folds_that_cannot_be(fields):
    with pytest.raises(UserError, match=r"^config.data.fold must be less than config.data.folds, which"):
        load(**fields)
