import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import assert_rounding_alone, disturbed

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.models import layers, registry

pytestmark = pytest.mark.whole

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 12, 12, 3), np.uint8)
PIXELS[..., 1] = PIXELS[..., 0] // 2 + PIXELS[..., 1] // 2  # channels that go together


def create(images=PIXELS, **changes):
    config = default.get_config()
    config.model.update({"name": "airbench", "norm": "batch", "widths": (8, 16), "pooling": "max", **changes})
    return registry.create_model(validate(config), images, 10, jax.random.key(0))


def test_whitened_patches_are_uncorrelated_and_of_equal_variance():
    images = PIXELS.astype(np.float32) / 255 - 0.5
    filters = np.asarray(layers.patch_whitening(jnp.asarray(images), 2, 5e-4))
    assert filters.shape == (2, 2, 3, 12)
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2)).astype(np.float64)
    whitened = np.einsum("bhwcij,ijco->bhwo", windows, filters).reshape(-1, 12)
    np.testing.assert_allclose(whitened.T @ whitened / len(whitened), np.eye(12), atol=0.05)
    lengths = np.linalg.norm(filters.reshape(12, 12), axis=0)
    assert list(lengths) == sorted(lengths)  # the shorter, the larger the variance it brings to one


def test_the_whitening_comes_from_the_images_and_is_not_trained():
    _, params, state = create()
    assert state["whitening"].shape == (2, 2, 3, 24)
    np.testing.assert_array_equal(state["whitening"][..., :12], -state["whitening"][..., 12:])
    assert "whitening" not in params
    _, other, changed = create(255 - PIXELS // 3)
    assert not np.array_equal(state["whitening"], changed["whitening"])
    jax.tree.map(np.testing.assert_array_equal, params, other)


def test_without_whitening_the_first_block_sees_the_pixels():
    graphdef, params, state = create(whitening=False, norm="none")
    assert state == {}
    assert "shift" not in params
    assert params["blocks"][0]["convs"][0]["kernel"].shape == (3, 3, 3, 8)
    logits, _ = registry.apply_model(graphdef, params, state, jnp.ones((2, 12, 12, 3)), train=True)
    assert logits.shape == (2, 10)


@pytest.mark.parametrize(("shape", "depth"), [((1, 1, 1), 1), ((1, 1, 1), 3), ((3, 5, 2), 3), ((8, 8, 1), 1)])
def test_any_size_of_image_and_depth(shape, depth):
    images = np.random.default_rng(1).integers(0, 256, (4, *shape), np.uint8)
    model = create(images, depth=depth)
    logits, _ = registry.apply_model(*model, jnp.asarray(images, jnp.float32), train=True)
    assert logits.shape == (4, 10)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()


def test_a_residual_adds_what_the_first_convolution_gives():
    images = jax.random.normal(jax.random.key(1), (4, 12, 12, 3))
    plain, residual = create(depth=2), create(depth=2, residual=True)
    jax.tree.map(np.testing.assert_array_equal, plain[1], residual[1])
    without_last = jax.tree.map(jnp.copy, residual[1])
    for number in (0, 1):
        # The last convolution gives nothing.
        norms = without_last["blocks"][number]["norms"]
        norms[1] = jax.tree.map(jnp.zeros_like, norms[1])
    shallow = create(depth=1)
    params = shallow[1] | {"shift": residual[1]["shift"], "output": residual[1]["output"]}
    for number in (0, 1):
        for part in ("convs", "norms"):
            params["blocks"][number][part] = {0: residual[1]["blocks"][number][part][0]}
    expected, _ = registry.apply_model(shallow[0], params, shallow[2], images, train=True)
    logits, _ = registry.apply_model(residual[0], without_last, residual[2], images, train=True)
    almost, _ = registry.apply_model(shallow[0], disturbed(params), shallow[2], images, train=True)
    assert_rounding_alone(logits, expected, almost)


@pytest.mark.parametrize("whitening", [True, False])
def test_a_stem_takes_patches_of_pixels_and_whitens_them(whitening):
    graphdef, params, state = create(stem=2, whitening=whitening)
    channels = 24 if whitening else 12
    assert params["blocks"][0]["convs"][0]["kernel"].shape == (3, 3, channels, 8)
    logits, _ = registry.apply_model(graphdef, params, state, jnp.ones((2, 12, 12, 3)), train=True)
    assert logits.shape == (2, 10)
    if whitening:
        patches = PIXELS.reshape(300, 6, 2, 6, 2, 3).swapaxes(2, 3).reshape(-1, 12) / 255.0
        mean, std = 0.1307, 0.3081
        whitened = (patches - mean) / std @ np.asarray(state["whitening"])[0, 0, :, :12]
        np.testing.assert_allclose(whitened.T @ whitened / len(whitened), np.eye(12), atol=0.05)
