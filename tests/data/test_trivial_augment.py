import jax
import numpy as np
import pytest

from mnist_jax.data.trivial_augment import trivial_augment

KEY = jax.random.key(1)


def random_images(count):
    return np.repeat(np.random.default_rng(0).uniform(0.2, 0.7, (1, 12, 10, 3)), count, 0).astype(np.float32)


def test_it_is_one_change_an_image_drawn_by_the_key():
    images = random_images(84)
    changed = np.asarray(trivial_augment(KEY, images))
    np.testing.assert_array_equal(changed, trivial_augment(KEY, images))
    assert (changed >= 0).all()
    assert (changed <= 1 + 1e-6).all()
    same = np.abs(changed - images).max((1, 2, 3)) < 1e-5
    assert 1 <= same.sum() <= 25  # one change of 14 does nothing, and most others at one strength of 31
    solarized = np.where(changed == images, 0, changed - (1 - images))
    assert (~same & (np.abs(solarized).max((1, 2, 3)) < 1e-5)).any()
    assert len({image.tobytes() for image in changed}) > 40


@pytest.mark.long
def test_accelerators_compute_the_same(monkeypatch):
    images = random_images(8)
    changed = trivial_augment(KEY, images)
    monkeypatch.setattr("mnist_jax.system.cpu.active", lambda: False)
    np.testing.assert_allclose(trivial_augment(KEY, images), changed, atol=1.5 / 255)
