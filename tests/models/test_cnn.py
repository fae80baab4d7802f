import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.models import registry

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 9, 10, 1), np.uint8)


def create(images=PIXELS, **changes):
    config = default.get_config()
    config.model.update({"widths": (8, 12), "dense": 16, **changes})
    return registry.create_model(validate(config), images, 10, jax.random.key(0))


@pytest.mark.parametrize(("shape", "stem"), [((9, 10, 1), 4), ((2, 3, 3), 2), ((1, 1, 1), 2)])
def test_patches_are_the_pixels_of_the_first_convolution(shape, stem):
    images = np.random.default_rng(1).integers(0, 256, (4, *shape), np.uint8)
    graph, params, state = create(images, stem=stem, whitening_init=True)
    side = min(stem, *shape[:2])
    assert params["convs"][0]["kernel"].shape == (3, 3, side**2 * shape[2], 8)
    logits, _ = registry.apply_model(graph, params, state, jnp.asarray(images, jnp.float32), train=True)
    assert logits.shape == (4, 10)
    assert np.isfinite(logits).all()


def test_the_first_convolution_starts_by_whitening_and_is_trained():
    _, params, state = create(whitening_init=True)
    kernel = params["convs"][0]["kernel"]
    assert state == {}  # all of it is trained
    np.testing.assert_array_equal(kernel[..., :4], -kernel[..., 4:8])
    _, plain, _ = create()
    assert not np.array_equal(kernel, plain["convs"][0]["kernel"])
    np.testing.assert_array_equal(params["convs"][1]["kernel"], plain["convs"][1]["kernel"])
    # 3 x 3 pixels have 9 filters and their negatives; of 24 the last 6 are drawn.
    _, wide, _ = create(whitening_init=True, widths=(24,))
    _, drawn, _ = create(widths=(24,))
    of_wide, of_drawn = wide["convs"][0]["kernel"], drawn["convs"][0]["kernel"]
    np.testing.assert_array_equal(of_wide[..., 18:], of_drawn[..., 18:])
    np.testing.assert_array_equal(of_wide[..., :9], -of_wide[..., 9:18])
