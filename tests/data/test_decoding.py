import numpy as np

from mnist_jax.data.decoding import fit_square


def test_fitting_crops_about_the_centre():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 255
    assert (fit_square(image, 4) == 255).all()
    assert fit_square(image, 0) is image
