import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from mnist_jax.data.augment import augment, views

pytestmark = pytest.mark.whole

KEY = jax.random.key(3)


def settings(**strengths):
    config = default.get_config().augment
    config.update(strengths)
    return config


def random_images(batch=16, height=12, width=10, channels=1):
    return jax.random.uniform(jax.random.key(0), (batch, height, width, channels))


def test_without_strength_images_stay_as_they_are():
    images = random_images()
    assert augment(KEY, images, settings()) is images


@pytest.mark.parametrize(
    "strengths",
    [
        {"shift": 2.0},
        {"rotation": 20.0},
        {"scale": 0.3},
        {"cutout": 5},
        {"flip": True},
        {"shear": 0.3},
        {"elastic": 1.0},
        {"crop": 4},
    ],
)
def test_each_image_is_changed_in_its_own_way_by_the_key_alone(strengths):
    images = jnp.repeat(random_images(batch=1, channels=3), 64, axis=0)
    once = augment(KEY, images, settings(**strengths))
    assert once.shape == images.shape
    assert once.dtype == images.dtype
    np.testing.assert_array_equal(once, augment(KEY, images, settings(**strengths)))
    assert len({image.tobytes() for image in np.asarray(once)}) > (1 if "flip" in strengths else 30)
    assert not np.array_equal(once, augment(jax.random.key(4), images, settings(**strengths)))
    assert once.min() >= 0
    assert once.max() <= images.max() + 1e-6


@pytest.mark.parametrize(
    ("shift", "rotation", "scale"), [(1.5, 0.0, 0.0), (0.0, 25.0, 0.0), (0.0, 0.0, 0.2), (1.5, 25.0, 0.2)]
)
def test_the_warp_is_a_similarity_within_the_limits(shift, rotation, scale):
    """Bilinear sampling of an image whose pixels hold their own coordinates shows where each came from."""
    side, batch = 21, 200
    y, x = jnp.meshgrid(jnp.arange(side) - 10.0, jnp.arange(side) - 10.0, indexing="ij")
    coordinates = jnp.stack([y, x, jnp.ones_like(y)], axis=-1)[None].repeat(batch, axis=0)
    warped = np.asarray(augment(KEY, coordinates, settings(shift=shift, rotation=rotation, scale=scale)))
    inner = np.s_[8:13, 8:13]
    target = np.stack([*np.meshgrid(np.arange(-2, 3), np.arange(-2, 3), indexing="ij"), np.ones((5, 5))], -1)
    found = []
    for image in warped:
        np.testing.assert_allclose(image[inner][..., 2], 1, atol=1e-5)
        matrix, residual, *_ = np.linalg.lstsq(
            target.reshape(-1, 3), image[inner][..., :2].reshape(-1, 2), rcond=None
        )
        assert residual.max() < 1e-6
        (yy, yx), (xy, xx), offset = matrix
        np.testing.assert_allclose([yy, yx], [xx, -xy], atol=1e-4)
        found.append([1 / np.hypot(yy, yx), np.degrees(np.arctan2(yx, yy)), *offset])
    factors, angles, *offsets = np.asarray(found).T
    for values, centre, limit in [
        (factors, 1, scale),
        (angles, 0, rotation),
        (offsets[0], 0, shift),
        (offsets[1], 0, shift),
    ]:
        assert np.abs(values - centre).max() <= limit + 1e-3
        assert np.abs(values - centre).max() >= 0.9 * limit
        assert abs(values.mean() - centre) <= 0.2 * limit + 1e-3


def test_what_comes_in_from_outside_is_black():
    white = jnp.ones((50, 8, 8, 1))
    shifted = np.asarray(augment(KEY, white, settings(shift=3.0)))
    assert (shifted.min(axis=(1, 2, 3)) == 0).mean() > 0.8
    np.testing.assert_allclose(shifted[:, 3:5, 3:5], 1, atol=1e-6)


def test_flip_mirrors_about_half_of_the_images():
    images = random_images(batch=400)
    flipped = np.asarray(augment(KEY, images, settings(flip=True)))
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 0.4 < mirrored.mean() < 0.6


def test_cutout_blacks_out_one_square():
    white = jnp.ones((300, 12, 12, 3))
    cut = np.asarray(augment(KEY, white, settings(cutout=4))) == 0
    np.testing.assert_array_equal(cut[..., 0], cut[..., 2])
    areas = cut[..., 0].sum(axis=(1, 2))
    assert areas.max() == 16
    assert areas.min() >= 4  # a corner
    rows, columns = cut[..., 0].any(axis=2).sum(axis=1), cut[..., 0].any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(rows * columns, areas)


def test_a_crop_is_the_image_moved_by_whole_pixels_and_reflected_at_its_border():
    images = np.asarray(random_images(batch=64))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    found = set()
    for number, cropped in enumerate(np.asarray(augment(KEY, images, settings(crop=1)))):
        cuts = {(y, x): padded[number, y : y + 12, x : x + 10] for y in range(3) for x in range(3)}
        (corner,) = [corner for corner, cut in cuts.items() if np.array_equal(cut, cropped)]
        found.add(corner)
    assert len(found) == 9


def displacements(**strengths):
    """Where each pixel of 200 warped images comes from, less where it is: (200, 9, 9, 2) of the middle."""
    y, x = jnp.meshgrid(jnp.arange(21.0), jnp.arange(21.0), indexing="ij")
    coordinates = jnp.stack([y, x], axis=-1)
    warped = augment(KEY, jnp.repeat(coordinates[None], 200, axis=0), settings(**strengths))
    return np.asarray(warped - coordinates)[:, 6:15, 6:15]


def test_shear_moves_rows_sideways_in_proportion_to_their_height():
    moved = displacements(shear=0.3)
    np.testing.assert_allclose(moved[..., 0], 0, atol=1e-4)
    slopes = moved[:, 0, 0, 1] / -4
    expected = slopes[:, None, None] * np.arange(-4, 5)[:, None]
    np.testing.assert_allclose(moved[..., 1], np.broadcast_to(expected, (200, 9, 9)), atol=1e-4)
    assert 0.27 < np.abs(slopes).max() <= 0.3


def test_elastic_displacements_are_smooth_and_as_large_as_asked():
    moved = displacements(elastic=0.5)
    assert 0.3 < moved.std() < 0.6
    assert abs(moved.mean()) < 0.05
    assert np.abs(np.diff(moved, axis=1)).std() < 0.3 * moved.std()
    assert np.array_equal(displacements(elastic=0.0), np.zeros_like(moved))


def test_views_are_the_image_moved_and_mirrored():
    images = random_images(batch=3)
    config = default.get_config().evaluation
    (same,) = views(images, config)
    np.testing.assert_array_equal(same, images)
    config.update(shift=2, flip=True)
    looks = np.asarray(views(images, config))
    assert looks.shape == (18, *images.shape)
    np.testing.assert_array_equal(looks[0], images)
    np.testing.assert_array_equal(looks[9:], looks[:9, :, :, ::-1])
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = {padded[:, y : y + 12, x : x + 10].tobytes() for y in (0, 2, 4) for x in (0, 2, 4)}
    assert {look.tobytes() for look in looks[:9]} == expected
