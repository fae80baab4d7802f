import warnings

import numpy as np
import pytest
import sklearn.metrics
from cases import predictions
from hypothesis import given

from mnist_jax.metrics.confusion import evaluate

CLOSE = {"rtol": 0, "atol": 1e-6, "equal_nan": True}


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(predictions())
def test_counts_agree_with_scikit_learn(case):
    labels, predicted = case.labels, case.predicted
    classes = np.arange(case.log_probabilities.shape[1])
    result = evaluate(case)

    def expected(average):
        return sklearn.metrics.precision_recall_fscore_support(
            labels, predicted, labels=classes, average=average, zero_division=np.nan
        )[:3]

    np.testing.assert_allclose([result.precision, result.recall, result.f1], expected(None), **CLOSE)
    macro = [result.macro_precision, result.macro_recall, result.macro_f1]
    np.testing.assert_allclose(macro, expected("macro"), **CLOSE)
    weighted = [result.weighted_precision, result.weighted_recall, result.weighted_f1]
    if np.isnan(
        result.weighted_precision
    ):  # scikit-learn returns 0 if no class with an example was predicted
        assert not set(labels) & set(predicted)
        weighted[0] = 0.0
    np.testing.assert_allclose(weighted, expected("weighted"), **CLOSE)
    np.testing.assert_array_equal(
        result.confusion, sklearn.metrics.confusion_matrix(labels, predicted, labels=classes)
    )
    assert result.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted), abs=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are predicted and have no example
        balanced = sklearn.metrics.balanced_accuracy_score(labels, predicted)
        kappa = sklearn.metrics.cohen_kappa_score(labels, predicted)
    assert result.balanced_accuracy == pytest.approx(balanced, abs=1e-6)
    if np.isnan(result.cohen_kappa):
        assert set(labels) == set(predicted)
        assert len(set(labels)) == 1
    else:
        assert result.cohen_kappa == pytest.approx(kappa, abs=1e-6)
    if np.isnan(result.matthews):
        assert min(len(set(labels)), len(set(predicted))) == 1
    else:
        matthews = sklearn.metrics.matthews_corrcoef(labels, predicted)
        assert result.matthews == pytest.approx(matthews, abs=1e-6)
    assert result.examples == len(labels)
