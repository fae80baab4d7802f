import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import digits
from mnist_jax import data
from mnist_jax.data import order, splits
from mnist_jax.system.errors import UserError

sizes = st.integers(1, 200)
batches = st.integers(1, 64)


@given(seed=st.integers(0, 2**31 - 1), batch_size=batches, size=sizes, epochs=st.integers(1, 4))
def test_every_example_is_seen_once_an_epoch(seed, batch_size, size, epochs):
    steps = -(-epochs * size // batch_size)
    stream = order.batch_indices(seed, 0, steps, batch_size=batch_size, size=size).ravel()
    for epoch in range(epochs):
        assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(
    seed=st.integers(0, 99),
    start=st.integers(0, 500),
    count=st.integers(1, 20),
    batch_size=batches,
    size=sizes,
)
def test_the_order_is_a_function_of_seed_and_step(seed, start, count, batch_size, size):
    together = order.batch_indices(seed, start, count, batch_size=batch_size, size=size)
    assert together.dtype == np.int32
    assert together.shape == (count, batch_size)
    alone = [
        order.batch_indices(seed, start + i, 1, batch_size=batch_size, size=size)[0] for i in range(count)
    ]
    np.testing.assert_array_equal(together, alone)


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = order.batch_indices(0, 0, 2, batch_size=1000, size=1000)
    other = order.batch_indices(1, 0, 1, batch_size=1000, size=1000)[0]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def load(**changes):
    config = digits.get_config()
    config.update_from_flattened_dict({f"data.{key}": value for key, value in changes.items()})
    return data.load(config.data)


bounds = st.one_of(
    st.just(""),
    st.integers(-250, 250).map(str),
    st.integers(-110, 110).map("{}%".format),
    st.sampled_from(["-0", "007", "12.5%", "1_0", "-100%", "x", "1shard", "+5", "3 "]),
)
terms = st.one_of(
    st.sampled_from(["train", "test", "all", "tr", "", "train[5]", "train[:", "train[:][:]", " train"]),
    st.builds("{}[{}:{}]".format, st.sampled_from(["train", "test"]), bounds, bounds),
)


@given(st.lists(terms, min_size=1, max_size=3), st.sampled_from(["+", " + "]), sizes, sizes)
def test_splits_mean_what_they_mean_to_tfds(some, plus, train, test):
    lengths = {"train": train, "test": test}
    ranges = splits.plain_ranges(plus.join(some), lengths)
    assert ranges is None or ranges == splits.ranges_by_tfds(plus.join(some), lengths)


@pytest.mark.parametrize(
    "expression", ["train", "train[:-50]", "train[10:20]+test", "train[90%:] + test[:-5%]"]
)
def test_usual_splits_do_without_tfds(expression):
    assert splits.plain_ranges(expression, {"train": 100, "test": 100})


def test_the_digits_are_loaded_without_tfds(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    load()


def test_splits_are_slices_in_order():
    whole = load(train="train[:1000]", validation="train[1000:1200]", test="train[1200:]")
    parts = load(train="train[500:1000]+train[:500]", validation="train[1000:1100]", test="train[90%:]")
    assert [len(split.labels) for split in (whole.train, whole.validation, whole.test)] == [1000, 200, 597]
    np.testing.assert_array_equal(parts.train.images, np.roll(whole.train.images, 500, axis=0))
    np.testing.assert_array_equal(parts.test.labels, whole.test.labels[-180:])
    assert whole.fingerprint == parts.fingerprint


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"train": "trian"},
            "config.data.train is 'trian': no such split of digits/1.0.0, which has train (1,797",
        ),
        ({"test": "train[1700:9999]"}, "config.data.test is 'train[1700:9999]': no such split"),
        ({"test": "train["}, "config.data.test is 'train['"),
        ({"test": ""}, "config.data.test is '': no such split of digits/1.0.0"),  # has no folders to follow
        ({"test": "train[7:7]"}, "must have an example of"),
        ({"test": "all[:5]"}, "config.data.test is 'all[:5]': no such split"),
        ({"test": "train[:1shard]"}, "config.data.test is 'train[:1shard]': no such split"),
        (
            {"test": "train[1497:]+train[1700:]"},
            "config.data.test (train[1497:]+train[1700:]) hold 97 examples",
        ),
        (
            {"test": "train[1000:]"},
            "config.data.train (train[:1197]) and config.data.test (train[1000:]) hold 197",
        ),
        ({"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}, "config.data.mean has 3 entries"),
    ],
)
def test_wrong_splits_are_told_in_one_line(changes, expected):
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        load(**changes)
    assert expected in str(caught.value)
