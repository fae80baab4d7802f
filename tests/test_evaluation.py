import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.evaluation import evaluate, evaluate_in_detail

CLOSE = {"rtol": 0, "atol": 1e-6, "equal_nan": True}


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@st.composite
def predictions(draw, least_classes=1):
    """Few examples, many classes: absent classes, classes never predicted, ties and N = 1 are common."""
    classes = draw(st.integers(least_classes, 6))
    examples = draw(st.integers(1, 12))
    rows = st.lists(st.integers(-3, 3), min_size=classes, max_size=classes)
    logits = np.array(draw(st.lists(rows, min_size=examples, max_size=examples)), np.float64)
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=examples, max_size=examples))
    return log_softmax(logits), np.array(labels, np.int32)


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(predictions())
def test_counts_agree_with_scikit_learn(case):
    log_probabilities, labels = case
    classes = np.arange(log_probabilities.shape[1])
    predicted = log_probabilities.argmax(axis=1)
    result = evaluate(log_probabilities, labels)

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
    ):  # scikit-learn says 0 where no class with an example was predicted
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


@pytest.mark.filterwarnings("ignore:No positive class found")
@given(predictions(least_classes=2))
def test_probabilities_agree_with_scikit_learn(case):
    log_probabilities, labels = case
    probabilities = np.exp(log_probabilities)
    classes = np.arange(probabilities.shape[1])
    result = evaluate_in_detail(log_probabilities, labels)
    loss = sklearn.metrics.log_loss(labels, probabilities, labels=classes)
    assert result.evaluation.loss == pytest.approx(loss, abs=1e-6)
    one_hot = np.eye(len(classes))[labels]
    assert result.brier == pytest.approx(((probabilities - one_hot) ** 2).sum(1).mean(), abs=1e-6)
    for k in classes:
        is_class = labels == k
        if is_class.all() or not is_class.any():
            assert np.isnan(result.roc_auc[k])
            assert result.curves[k] is None
            continue
        auc = sklearn.metrics.roc_auc_score(is_class, probabilities[:, k])
        assert result.roc_auc[k] == pytest.approx(auc, abs=1e-6)
        precision = sklearn.metrics.average_precision_score(is_class, probabilities[:, k])
        assert result.average_precision[k] == pytest.approx(precision, abs=1e-6)
        assert np.trapezoid(result.curves[k].roc[1], result.curves[k].roc[0]) == pytest.approx(auc, abs=1e-6)
    defined = result.roc_auc[~np.isnan(result.roc_auc)]
    assert result.macro_roc_auc == pytest.approx(defined.mean() if defined.size else np.nan, nan_ok=True)


@given(predictions(least_classes=3))
def test_top_k_counts_the_label_among_the_likeliest(case):
    log_probabilities, labels = case
    result = evaluate_in_detail(log_probabilities, labels)
    assert set(result.top_k) == {k for k in (2, 3, 5) if k < log_probabilities.shape[1]}
    for k, share in result.top_k.items():
        ahead = [
            sum((p > row[label]) | ((p == row[label]) & (c < label)) for c, p in enumerate(row))
            for row, label in zip(np.exp(log_probabilities), labels, strict=True)
        ]
        assert share == pytest.approx(np.mean(np.array(ahead) < k))


def test_top_k_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    log_probabilities, labels = log_softmax(rng.normal(size=(500, 10))), rng.integers(0, 10, 500)
    for k, share in evaluate_in_detail(log_probabilities, labels).top_k.items():
        expected = sklearn.metrics.top_k_accuracy_score(labels, log_probabilities, k=k)
        assert share == pytest.approx(expected, abs=1e-6)


def test_calibration_is_the_gap_between_confidence_and_accuracy():
    """90 examples at confidence 0.8 of which 45 are right, and 10 at 0.6 of which 6 are."""
    confidence = np.repeat([0.8, 0.6], [90, 10])
    right = np.concatenate([np.arange(90) < 45, np.arange(10) < 6])
    log_probabilities = np.log(np.stack([confidence, 1 - confidence], axis=1))
    result = evaluate_in_detail(log_probabilities, np.where(right, 0, 1))
    assert result.calibration_error == pytest.approx(0.9 * 0.3 + 0.1 * 0.0)
    filled = result.reliability[result.reliability[:, 0] > 0]
    np.testing.assert_allclose(filled, [[10, 0.6, 0.6], [90, 0.8, 0.5]])


@pytest.mark.parametrize("labels", [[0], [1]])
def test_one_example(labels):
    result = evaluate_in_detail(log_softmax(np.array([[1.0, 0.0, 0.0]])), np.array(labels))
    assert result.evaluation.accuracy == float(labels == [0])
    assert np.isnan(result.roc_auc).all()
    record = result.as_dict(["a", "b", "c"])
    assert "class 'c' has no example: its recall, ROC-AUC and curves are undefined" in record["notes"]
    assert "class 'c' was never predicted: its precision is undefined" in record["notes"]


def test_two_classes_have_named_cells():
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    result = evaluate_in_detail(log_softmax(logits), np.array([0, 1, 1, 0, 1]))
    record = result.as_dict(["cat", "dog"])
    assert record["binary"] == {"positive": "dog", "TP": 2, "FP": 1, "FN": 1, "TN": 1}
    assert record["per_class"][1]["class"] == "dog"
    assert record["per_class"][1]["support"] == 3
    assert record["per_class"][1]["recall"] == pytest.approx(2 / 3)
    assert record["micro_f1"] == record["accuracy"] == 0.6
    assert record["notes"] == []
