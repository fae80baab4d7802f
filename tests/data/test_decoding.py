import numpy as np
import pytest

from mnist_jax.data.decoding import fit_square

WIDE = np.full((40, 80, 3), (10, 20, 30), np.uint8)
WIDE[10:30, 20:60] = 255  # an object that the edge does not touch


def test_padding_loses_nothing_and_continues_the_edge():
    found = fit_square(WIDE, 40, "pad")
    assert found.shape == (40, 40, 3)
    np.testing.assert_array_equal(found[:10], np.broadcast_to((10, 20, 30), (10, 40, 3)))
    np.testing.assert_array_equal(found[-10:], np.broadcast_to((10, 20, 30), (10, 40, 3)))
    half = np.isclose(found[..., 0], 255, atol=2)
    assert half[15:25].any(axis=0).sum() == pytest.approx(20, abs=2)  # all of the object, half as large
    assert half.any(axis=1).sum() == pytest.approx(10, abs=2)


def test_cropping_takes_the_middle():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 255
    assert (fit_square(image, 4, "crop") == 255).all()


def test_stretching_fills_the_square():
    found = fit_square(WIDE, 40, "stretch")
    bright = found[..., 0] > 132
    assert bright.any(axis=0).sum() == pytest.approx(20, abs=1)
    assert bright.any(axis=1).sum() == pytest.approx(20, abs=1)


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (7, 5), (64, 64)])
def test_every_shape_becomes_the_square(fit, channels, shape):
    image = np.full((*shape, channels), 77, np.uint8)
    np.testing.assert_array_equal(fit_square(image, 16, fit), np.full((16, 16, channels), 77))
    assert fit_square(image, 0, fit) is image
