import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.evaluation import evaluate


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@st.composite
def predictions(draw):
    """Few examples, many classes: absent classes, classes never predicted, ties and N = 1 are common."""
    classes = draw(st.integers(1, 6))
    examples = draw(st.integers(1, 12))
    rows = st.lists(st.integers(-3, 3), min_size=classes, max_size=classes)
    logits = np.array(draw(st.lists(rows, min_size=examples, max_size=examples)), np.float64)
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=examples, max_size=examples))
    return log_softmax(logits), np.array(labels, np.int32)


@given(predictions())
def test_metrics_agree_with_scikit_learn(case):
    log_probabilities, labels = case
    classes = np.arange(log_probabilities.shape[1])
    predicted = log_probabilities.argmax(axis=1)
    result = evaluate(log_probabilities, labels)
    per_class = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    macro = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, average="macro", zero_division=np.nan
    )
    close = {"rtol": 0, "atol": 1e-6, "equal_nan": True}
    np.testing.assert_allclose(result.precision, per_class[0], **close)
    np.testing.assert_allclose(result.recall, per_class[1], **close)
    np.testing.assert_allclose(result.f1, per_class[2], **close)
    np.testing.assert_allclose(
        [result.macro_precision, result.macro_recall, result.macro_f1], macro[:3], **close
    )
    np.testing.assert_array_equal(
        result.confusion, sklearn.metrics.confusion_matrix(labels, predicted, labels=classes)
    )
    assert result.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted), abs=1e-6)
    if len(classes) > 1:
        expected = sklearn.metrics.log_loss(labels, np.exp(log_probabilities), labels=classes)
        assert result.loss == pytest.approx(expected, abs=1e-6)
    assert result.examples == len(labels)


def test_a_class_without_examples_and_predictions_is_undefined():
    result = evaluate(log_softmax(np.array([[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]])), np.array([0, 1]))
    np.testing.assert_array_equal(np.isnan(result.precision), [False, True, True])
    np.testing.assert_array_equal(np.isnan(result.recall), [False, False, True])
    assert result.macro_recall == 0.5


def test_as_dict_names_the_classes():
    result = evaluate(log_softmax(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])), np.array([0, 1, 1]))
    record = result.as_dict(["cat", "dog"])
    assert record["accuracy"] == pytest.approx(2 / 3)
    assert record["per_class"][1] == {
        "class": "dog",
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "support": 2,
    }
    assert record["confusion"].tolist() == [[1, 0], [1, 1]]
