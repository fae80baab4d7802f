import numpy as np
import pytest

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.data.normalization import normalization, normalized


def test_it_is_that_of_numpy():
    images = np.random.default_rng(0).integers(0, 200, (50, 6, 7, 3), np.uint8)
    mean, std = normalization(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), atol=1e-6)


def test_images_of_one_level_are_not_divided_by_zero():
    assert normalization(np.full((3, 2, 2, 1), 51, np.uint8)) == ((0.2,), (pytest.approx(1 / 255, abs=1e-6),))


def test_numbers_of_the_config_come_first():
    config = default.get_config()
    assert normalized(validate(config), (0.5,), (0.25,)).data.mean == (0.1307,)
    config.data.mean = config.data.std = ()
    found = normalized(validate(config), (0.5,), (0.25,)).data
    assert (found.mean, found.std) == ((0.5,), (0.25,))
