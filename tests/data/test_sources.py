import numpy as np
import sklearn.datasets

from configs import default
from mnist_jax.data.decoding import fit_square
from mnist_jax.data.sources import digits


def test_digits_are_those_of_scikit_learn():
    source = digits(default.get_config().data)
    arrays, _ = source.read("train")
    bunch = sklearn.datasets.load_digits()
    assert arrays.images.shape == (1797, 8, 8, 1)
    np.testing.assert_allclose(arrays.images[..., 0] / 255, bunch.images / 16, atol=0.5 / 255)
    np.testing.assert_array_equal(arrays.labels, bunch.target)
    assert source.class_names == tuple("0123456789")


def test_digits_have_the_size_that_the_config_asks_for():
    config = default.get_config().data
    config.image_size = 16
    large, _ = digits(config).read("train")
    assert large.images.shape == (1797, 16, 16, 1)
    small, _ = digits(default.get_config().data).read("train")
    np.testing.assert_array_equal(large.images[5], fit_square(small.images[5], 16, "pad"))
    np.testing.assert_array_equal(large.labels, small.labels)
