"""The comparison of results that may differ by rounding only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rounding import EPSILON, assert_rounding_alone, disturbed, of_sum


@given(st.integers(1, 300), st.integers(0, 99))
def test_sums_in_any_order_lie_within_the_bound(terms, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, terms)).astype(np.float32)
    exact = np.dot(x.astype(np.float64), y)
    for order in (np.arange(terms), np.arange(terms)[::-1], np.argsort(x)):
        total = np.float32(0)
        for a, b in zip(x[order], y[order], strict=True):
            total = np.float32(total + np.float32(a * b))
        assert abs(total - exact) <= of_sum(terms, np.abs(x).astype(np.float64) @ np.abs(y))


def test_a_bound_of_rounding_finds_a_small_mistake():
    x = np.linspace(1, 2, 50, dtype=np.float32)
    wrong = x.sum() * 1.001
    assert abs(wrong - x.sum(dtype=np.float64)) > of_sum(50, x.sum())


def test_the_last_bit_is_disturbed_and_integers_are_not():
    tree = {"a": np.ones((3, 4), np.float32), "step": np.int32(5)}
    moved = disturbed(tree)
    assert set(np.unique(np.abs(np.asarray(moved["a"]) - 1))) <= {np.float32(EPSILON)}
    assert int(moved["step"]) == 5


def test_results_that_differ_by_more_than_rounding_fail():
    params = np.random.default_rng(0).normal(size=50).astype(np.float32)

    def compute(values):
        return np.tanh(np.asarray(values) * 3)

    almost = compute(disturbed(params))
    assert_rounding_alone(compute(params + np.float32(0)), compute(params), almost)
    with pytest.raises(AssertionError, match="where one rounding gives"):
        assert_rounding_alone(compute(params) * np.float32(1.0001), compute(params), almost)
