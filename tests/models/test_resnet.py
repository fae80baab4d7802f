import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.models import layers, registry


def create(shape=(8, 8, 3), **changes):
    config = default.get_config()
    config.model.update({"name": "resnet", "widths": (4, 8), "norm": "batch", **changes})
    return registry.create_model(validate(config), np.zeros((1, *shape), np.uint8), 5, jax.random.key(0))


def test_space_to_depth_takes_whole_patches():
    images = jnp.arange(2 * 5 * 6 * 3).reshape(2, 5, 6, 3)
    found = layers.space_to_depth(images, 2)
    assert found.shape == (2, 2, 3, 12)
    for row in range(2):
        for column in range(3):
            patch = images[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(found[:, row, column], patch.reshape(2, -1))


def test_blocks_change_nothing_at_first():
    """A deep network starts as a shallow one."""
    _, deep, _ = create(depth=3)
    graph, params, state = create(depth=1)
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    wide_graph, _, wide_state = create(depth=3)
    shared = {"stem": params["stem"], "norm": params["norm"], "output": params["output"]}
    deep = {**deep, **shared, "blocks": {**deep["blocks"], 3: params["blocks"][1]}}
    shallow = {**params, "blocks": {**params["blocks"]}}
    expected, _ = registry.apply_model(graph, shallow, state, images, train=False)
    found, _ = registry.apply_model(wide_graph, deep, wide_state, images, train=False)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("stem", [1, 2, 4])
@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 5, 1)])
def test_every_size_gives_logits_and_gradients(stem, norm, shape):
    graph, params, state = create(shape, stem=stem, norm=norm)
    images = jax.random.normal(jax.random.key(1), (2, *shape))

    def loss(params):
        logits, _ = registry.apply_model(graph, params, state, images, train=True)
        assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)
        return (logits**2).sum()

    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_patches_are_no_larger_than_the_image():
    graph, params, state = create((5, 7, 1), stem=64, norm="none")
    logits, _ = registry.apply_model(graph, params, state, jnp.ones((2, 5, 7, 1)), train=False)
    assert logits.shape == (2, 5)
