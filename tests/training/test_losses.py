import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.system.errors import UserError
from mnist_jax.training.losses import batch_loss, class_weights


def config_of(**train):
    config = default.get_config()
    config.train.update(train)
    return validate(config)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_balanced_weights_are_those_of_scikit_learn(labels):
    labels = np.array(labels)
    found = class_weights(config_of(balance="loss"), labels, 7)
    present = np.unique(labels)
    expected = compute_class_weight("balanced", classes=present, y=labels)
    np.testing.assert_allclose(found[present], expected, rtol=1e-6)
    assert not np.delete(found, present).any()


def test_weights_are_as_given_one_a_class():
    labels = np.array([0, 1, 2])
    assert class_weights(config_of(), labels, 3) is None
    assert class_weights(config_of(balance="sampling"), labels, 3) is None
    assert class_weights(config_of(class_weights=(1.0, 2.0, 0.5)), labels, 3).tolist() == [1, 2, 0.5]
    expected = r"^config.train.class_weights must have one entry for each of the 3 classes \(got 2\)$"
    with pytest.raises(UserError, match=expected):
        class_weights(config_of(class_weights=(1.0, 2.0)), labels, 3)


def test_numbers_and_balanced_weights_exclude_each_other():
    with pytest.raises(UserError, match=r"^config.train.class_weights must be \(\) with[^\n]+$"):
        config_of(class_weights=(1.0,), balance="loss")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_and_its_gradient_are_those_of_the_definition(smoothing, weighted, mixed):
    """In float64 numpy: the mean over the batch of w_i times loss_i, and its gradient written out."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
    shares = rng.uniform(0.5, 1, 9) if mixed else np.ones(9)
    weights = np.array([0.5, 3.0, 1.0, 2.0]) if weighted else np.ones(4)
    exact = shares[:, None] * np.eye(4)[labels] + (1 - shares)[:, None] * np.eye(4)[labels[::-1]]
    of_examples = exact @ weights
    targets = exact * (1 - smoothing) + smoothing / 4
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = np.mean(of_examples * -(targets * log_probabilities).sum(1))
    slope = of_examples[:, None] * (np.exp(log_probabilities) - targets) / 9

    def loss(values):
        return batch_loss(
            values,
            jnp.asarray(labels),
            jnp.float32(shares) if mixed else None,
            smoothing,
            np.float32(weights) if weighted else None,
        )

    found, gradient = jax.value_and_grad(loss)(jnp.float32(logits))
    assert found == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, slope, atol=1e-6)
