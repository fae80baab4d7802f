"""Against reference implementations, and against the promised error rates on simulated models."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from mnist_jax.metrics.significance import holm, mcnemar, paired_bootstrap, welch

pytestmark = pytest.mark.whole

scores = st.lists(st.floats(0, 1, allow_subnormal=False).map(lambda x: round(x, 4)), min_size=2, max_size=6)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 50), st.integers(0, 50))
def test_mcnemar_is_that_of_statsmodels(only_first, only_second, both, neither):
    first = np.repeat([True, False, True, False], [only_first, only_second, both, neither])
    second = np.repeat([False, True, True, False], [only_first, only_second, both, neither])
    found = mcnemar(first, second)
    table = [[both, only_first], [only_second, neither]]
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p == pytest.approx(reference_mcnemar(table, exact=True).pvalue, abs=1e-9)


@given(scores, scores)
def test_welch_is_that_of_statsmodels(first, second):
    found = welch(first, second)
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        assert np.isnan(found.p)
        return
    means = CompareMeans(DescrStatsW(first), DescrStatsW(second))
    _, p, _ = means.ttest_ind(usevar="unequal")
    assert found.p == pytest.approx(p, abs=1e-9)
    assert found.interval == pytest.approx(means.tconfint_diff(usevar="unequal"), abs=1e-9)


@pytest.mark.parametrize(("first", "second"), [([0.9], [0.8, 0.7]), ([], []), ([0.5, 0.5], [0.7, 0.7])])
def test_welch_says_nothing_of_too_few_seeds(first, second):
    found = welch(first, second)
    assert np.isnan([found.p, *found.interval]).all()


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_holm_is_that_of_statsmodels(size):
    """Small values, ones, and ties."""
    for values in (0.01 * np.random.default_rng(size).random(size), np.arange(size) // 2 / 20, np.ones(size)):
        assert holm(list(values)) == pytest.approx(multipletests(values, method="holm")[1], abs=1e-9)


def test_holm_leaves_out_what_is_undefined():
    assert holm([0.01, float("nan"), 0.04]) == pytest.approx([0.02, float("nan"), 0.04], nan_ok=True)
    assert holm([]) == []


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_the_bootstrap_is_about_the_difference_of_mean_scores(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 300)
    models = [np.where(rng.random(300) < right, labels, rng.integers(0, 4, 300)) for right in (0.9, 0.8, 0.6)]
    (found,) = paired_bootstrap(labels, models, [((0, 1), (2,))])
    for name, score in (
        ("accuracy", accuracy_score),
        ("macro_f1", lambda y, p: f1_score(y, p, average="macro")),
    ):
        values = [score(labels, model) for model in models]
        low, high = found[name]
        assert low < (values[0] + values[1]) / 2 - values[2] < high
        assert high - low < 0.2


def test_the_bootstrap_agrees_with_one_written_plainly():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 200)
    first, second = (np.where(rng.random(200) < 0.8, labels, rng.integers(0, 3, 200)) for _ in range(2))
    (found,) = paired_bootstrap(labels, [first, second], [((0,), (1,))])
    gaps = {"accuracy": [], "macro_f1": []}
    for _ in range(600):
        drawn = rng.integers(0, 200, 200)
        y, a, b = labels[drawn], first[drawn], second[drawn]
        gaps["accuracy"].append(accuracy_score(y, a) - accuracy_score(y, b))
        gaps["macro_f1"].append(f1_score(y, a, average="macro") - f1_score(y, b, average="macro"))
    for name, values in gaps.items():
        assert found[name] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.018)


def test_the_bootstrap_of_many_classes_takes_little_memory():
    """Matrices of confusion of all resamples would take 800 MB."""
    rng = np.random.default_rng(0)
    labels, first, second = rng.integers(0, 1000, (3, 500))
    tracemalloc.start()
    try:
        paired_bootstrap(labels, [first, second], [((0,), (1,))])
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_the_same_models_do_not_differ():
    labels = np.arange(10) % 3
    (found,) = paired_bootstrap(labels, [labels, labels], [((0,), (1,))])
    assert found == {"accuracy": (0.0, 0.0), "macro_f1": (0.0, 0.0)}


def test_equal_models_are_told_apart_as_rarely_as_promised():
    """600 simulated pairs of models that are equally good: at most 5% may be found different."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)

    def model():
        return np.where(rng.random(400) < 0.85, labels, (labels + rng.integers(1, 5, 400)) % 5)

    pairs = [(model(), model()) for _ in range(600)]
    by_mcnemar = np.mean([mcnemar(a == labels, b == labels).p < 0.05 for a, b in pairs])
    assert by_mcnemar <= 0.05
    flat = [one for pair in pairs[:200] for one in pair]
    found = paired_bootstrap(labels, flat, [((2 * k,), (2 * k + 1,)) for k in range(200)])
    for name in ("accuracy", "macro_f1"):
        missed = sum(not low <= 0 <= high for low, high in (one[name] for one in found))
        # Binomial: more than 18 of 200 at a rate of 5% happen once in a hundred times.
        assert missed <= stats.binom.ppf(0.99, 200, 0.05)


def test_many_equal_settings_are_told_apart_as_rarely_as_promised():
    """Welch over five seeds of six settings, corrected over 15 pairs: any false find in at most 5%."""
    rng = np.random.default_rng(0)
    families = 0
    for _ in range(400):
        settings = rng.normal(0.99, 0.001, (6, 5))
        p = [welch(settings[i], settings[j]).p for i in range(6) for j in range(i)]
        families += min(holm(p)) < 0.05
    assert families <= stats.binom.ppf(0.99, 400, 0.05)
    found = [welch(rng.normal(0.99, 0.001, 5), rng.normal(0.98, 0.001, 5)).p < 0.05 for _ in range(50)]
    assert np.mean(found) > 0.95  # and real differences are found
