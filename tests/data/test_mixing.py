import jax
import numpy as np
import pytest
import scipy.stats

from configs import default
from mnist_jax.data.mixing import mix

KEY = jax.random.key(3)
BATCH, HEIGHT, WIDTH = 400, 7, 10


def settings(**strengths):
    config = default.get_config().augment
    config.update(strengths)
    return config


def numbered():
    """Images whose every pixel has the number of the image."""
    return np.broadcast_to(
        np.arange(BATCH, dtype=np.float32)[:, None, None, None], (BATCH, HEIGHT, WIDTH, 3)
    ).copy()


def test_without_strength_images_and_labels_stay_as_they_are():
    images = numbered()
    assert mix(KEY, images, settings()) == (images, None)


@pytest.mark.parametrize("alpha", [1e-9, 0.2, 1.0, 5.0, 1e9])
def test_mixup_blends_by_the_share_in_the_target(alpha):
    images = numbered()
    mixed, shares = (np.asarray(array, np.float64) for array in mix(KEY, images, settings(mixup=alpha)))
    assert (shares >= 0.5).all()
    assert (shares <= 1).all()
    own = shares[:, None, None, None]
    np.testing.assert_allclose(mixed, own * images + (1 - own) * images[::-1], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_the_larger_of_a_beta_variable_and_its_complement(alpha):
    _, shares = mix(KEY, numbered(), settings(mixup=alpha))
    beta = scipy.stats.beta(alpha, alpha)
    test = scipy.stats.kstest(np.asarray(shares), lambda x: beta.cdf(x) - beta.cdf(1 - x))
    assert test.pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.2, 1.0, 1e9])
def test_cutmix_pastes_one_box_and_its_exact_area_is_in_the_target(alpha):
    images = numbered()
    mixed, shares = map(np.asarray, mix(KEY, images, settings(cutmix=alpha)))
    pasted = mixed == images[::-1]
    assert ((mixed == images) | pasted).all()
    assert (shares >= 0.5).all()
    for image, share in zip(pasted, shares, strict=True):
        assert share == pytest.approx(1 - image[..., 0].mean(), abs=1e-6)
        rows, columns = image[..., 0].any(1), image[..., 0].any(0)
        assert image[..., 0].sum() == rows.sum() * columns.sum()
        for side in (rows, columns):
            assert np.count_nonzero(np.diff(np.pad(side, 1).astype(int))) in (0, 2)


def test_with_both_each_image_has_one_of_the_two_by_a_coin():
    images = numbered()
    mixed, shares = map(np.asarray, mix(KEY, images, settings(mixup=1.0, cutmix=1.0)))
    whole = (mixed == images) | (mixed == images[::-1])
    assert 140 < whole.all((1, 2, 3)).sum() < 260
    target = shares * images[:, 0, 0, 0] + (1 - shares) * images[::-1, 0, 0, 0]
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), target, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_each_image_is_mixed_in_its_own_way_by_the_key_alone(kind):
    once, shares = mix(KEY, numbered(), settings(**{kind: 1.0}))
    again, _ = mix(KEY, numbered(), settings(**{kind: 1.0}))
    other, _ = mix(jax.random.key(4), numbered(), settings(**{kind: 1.0}))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    assert len(set(np.asarray(shares).tolist())) > 10
