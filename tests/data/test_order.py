"""The balanced order; test_dataset.py has that of permutations."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.data.order import BalancedOrder

labels_of = st.lists(st.sampled_from([0, 1, 4]), min_size=1, max_size=80).map(np.array)


@given(labels_of, st.integers(0, 99), st.integers(1, 12), st.integers(0, 300), st.integers(1, 9))
def test_the_balanced_order_is_a_function_of_seed_and_step(labels, seed, batch_size, start, count):
    together = BalancedOrder(labels).batches(seed, start, count, batch_size=batch_size)
    assert together.dtype == np.int32
    assert together.shape == (count, batch_size)
    for step in reversed(range(count)):
        alone = BalancedOrder(labels).batches(seed, start + step, 1, batch_size=batch_size)
        np.testing.assert_array_equal(alone[0], together[step])


@given(labels_of, st.integers(0, 99))
def test_each_round_has_each_class_once_and_each_pass_each_example_once(labels, seed):
    classes = np.unique(labels)
    stream = BalancedOrder(labels).batches(seed, 0, 200, batch_size=len(classes))
    assert (np.sort(labels[stream], axis=1) == classes).all()
    for label in classes:
        own = np.flatnonzero(labels == label)
        passes = stream[labels[stream] == label]
        whole = passes[: len(passes) // len(own) * len(own)].reshape(-1, len(own))
        assert (np.sort(whole, axis=1) == own).all()


def test_rounds_passes_and_seeds_have_orders_of_their_own():
    labels = np.repeat([0, 1], [400, 20])
    stream = BalancedOrder(labels).batches(0, 0, 2, batch_size=420)
    turns = labels[stream.ravel()].reshape(-1, 2)
    assert 150 < turns[:, 0].sum() < 270  # of 420 rounds, half begin with either class
    rare = stream.ravel()[labels[stream.ravel()] == 1].reshape(-1, 20)
    assert len({each.tobytes() for each in rare}) == len(rare)
    assert not np.array_equal(stream, BalancedOrder(labels).batches(1, 0, 2, batch_size=420))
