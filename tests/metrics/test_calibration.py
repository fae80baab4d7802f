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
        smoothing = 1 / (len(logits) + 2)
        of_label = scaled[np.arange(len(logits)), given.labels]
        return -((1 - smoothing) * of_label + smoothing * scaled.mean(axis=1)).mean()

    expected = scipy.optimize.minimize_scalar(
        loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}
    )
    found = fit_temperature(given)
    assert found == pytest.approx(expected.x, rel=1e-5)
    assert found == pytest.approx(sharpness, rel=0.1)
    scaled = with_temperature(given, found)
    assert evaluate(scaled).loss < evaluate(given).loss + 1e-4
    np.testing.assert_array_equal(scaled.confusion, given.confusion)
    np.testing.assert_allclose(scaled.probabilities.sum(axis=1), 1, atol=1e-6)


def test_examples_that_are_all_right_do_not_make_the_model_certain():
    right = predictions_from(np.eye(3), np.arange(3))
    smoothed = 1 - 1 / 5 + 1 / 15  # the probability of the label after smoothing
    assert fit_temperature(right) == pytest.approx(1 / np.log(2 * smoothed / (1 - smoothed)), rel=1e-6)


def test_a_masked_class_has_a_temperature():
    masked = predictions_from(np.array([[3.0, 1.0, 0.0], [0.5, 1.0, 0.0]]), np.array([0, 0]))
    masked.log_probabilities[:, 2] = -np.inf
    assert 0.05 <= fit_temperature(masked) <= 20


def test_without_a_minimum_the_temperature_is_at_the_end_of_its_range():
    assert fit_temperature(predictions_from(np.eye(3), np.array([1, 2, 0]))) == pytest.approx(20)


def test_without_a_temperature_predictions_stay_as_they_are():
    given = predictions(1.0, examples=5)
    assert with_temperature(given, None) is given
