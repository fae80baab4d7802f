import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.metrics import curves, intervals
from mnist_jax.metrics.confusion import confusion_scores, count_scores


@given(trials=st.integers(1, 10_000), share=st.floats(0, 1))
def test_wilson_is_that_of_scipy(trials, share):
    successes = round(trials * share)
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose(intervals.wilson(successes, trials), expected, atol=1e-9)


def test_no_trial_has_no_interval():
    assert np.isnan(intervals.wilson(0, 0)).all()


def test_rates_have_wilson_intervals_and_the_rest_is_bootstrapped():
    confusion = np.array([[90, 10, 0], [5, 95, 0], [0, 0, 0]])
    rates = intervals.of_rates(confusion)
    assert rates["accuracy"] == intervals.wilson(185, 200)
    assert rates["recall/1"] == intervals.wilson(95, 100)
    assert rates["precision/0"] == intervals.wilson(90, 95)
    assert np.isnan(rates["recall/2"]).all()
    scores = intervals.of_confusion_scores(confusion, count_scores)
    assert not {"accuracy", "precision/0", "recall/0"} & scores.keys()
    assert {"macro_f1", "f1/0", "cohen_kappa", "matthews", "balanced_accuracy"} <= scores.keys()


def test_the_bootstrap_over_cells_is_the_one_over_examples():
    """Against scipy's bootstrap of the examples themselves."""
    confusion = np.array([[80, 20], [10, 190]])
    examples = np.repeat(np.arange(4), confusion.ravel())

    def macro_f1(sample):
        return confusion_scores(np.bincount(sample, minlength=4).reshape(2, 2))["macro_f1"]

    expected = scipy.stats.bootstrap(
        (examples,), macro_f1, vectorized=False, method="percentile", n_resamples=2000, rng=1
    ).confidence_interval
    found = intervals.of_confusion_scores(confusion, count_scores)["macro_f1"]
    np.testing.assert_allclose(found, expected, atol=0.006)


def test_the_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(3).normal(5, 2, 1000)
    means = intervals.of_examples(lambda w: {"mean": intervals.weighted_means((values,), w)[0]}, 1000)
    low, high = means["mean"]
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.02)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(1000), rel=0.1)


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99])
def test_wilson_covers_the_truth_about_95_times_in_100(rate):
    draws = np.random.default_rng(0).binomial(300, rate, 2000)
    covered = [low <= rate <= high for low, high in (intervals.wilson(draw, 300) for draw in draws)]
    assert 0.93 <= np.mean(covered) <= 0.975


def test_the_interval_of_an_auc_is_scipys_bootstrap():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    scores = rng.normal(size=300) + labels
    expected = scipy.stats.bootstrap(
        (labels, scores),
        sklearn.metrics.roc_auc_score,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=1000,
        rng=1,
    ).confidence_interval

    def auc(weights):
        return {"auc": curves.ranking_areas(labels[:, None] == 1, scores[:, None])(weights)[0][:, 0]}

    np.testing.assert_allclose(intervals.of_examples(auc, 300)["auc"], expected, atol=0.01)
