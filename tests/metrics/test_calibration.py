import numpy as np
import pytest
import scipy.optimize
import scipy.special
from cases import predictions_from

from mnist_jax.metrics.calibration import fit_temperature, with_temperature
from mnist_jax.metrics.confusion import evaluate


def predictions(sharpness, examples=2000, classes=7):
    """Of logits that are `sharpness` times those that the labels were drawn from."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (examples, classes))
    labels = [rng.choice(classes, p=p) for p in scipy.special.softmax(logits, axis=1)]
    return predictions_from(sharpness * logits, np.array(labels))


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_the_temperature_is_that_of_scipys_minimum(sharpness):
    given = predictions(sharpness)
    logits = given.log_probabilities.astype(np.float64)

    def loss(temperature):
        scaled = scipy.special.log_softmax(logits / temperature, axis=1)
        return -scaled[np.arange(len(logits)), given.labels].mean()

    expected = scipy.optimize.minimize_scalar(
        loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}
    )
    found = fit_temperature(given)
    assert found == pytest.approx(expected.x, rel=1e-5)
    assert found == pytest.approx(sharpness, rel=0.1)
    scaled = with_temperature(given, found)
    assert evaluate(scaled).loss == pytest.approx(expected.fun, abs=1e-6)
    np.testing.assert_array_equal(scaled.confusion, given.confusion)
    np.testing.assert_allclose(scaled.probabilities.sum(axis=1), 1, atol=1e-6)


def test_without_a_minimum_the_temperature_is_at_an_end_of_its_range():
    right = predictions_from(np.eye(3), np.arange(3))
    assert fit_temperature(right) == pytest.approx(0.05)
    assert fit_temperature(predictions_from(np.eye(3), np.array([1, 2, 0]))) == pytest.approx(20)


def test_without_a_temperature_predictions_stay_as_they_are():
    given = predictions(1.0, examples=5)
    assert with_temperature(given, None) is given
