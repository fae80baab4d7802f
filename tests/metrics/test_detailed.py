import numpy as np
import pytest
import sklearn.metrics
from cases import predictions, predictions_from
from hypothesis import example, given

from mnist_jax.metrics.curves import ranking_curves
from mnist_jax.metrics.detailed import evaluate_in_detail
from mnist_jax.storage.record import plain
from mnist_jax.system.files import sealed


@pytest.mark.filterwarnings("ignore:No positive class found")
@given(predictions(least_classes=2))
def test_probabilities_agree_with_scikit_learn(case):
    labels, probabilities = case.labels, case.probabilities
    classes = np.arange(probabilities.shape[1])
    result = evaluate_in_detail(case, bootstrap=False)
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
    result = evaluate_in_detail(case, bootstrap=False)
    assert set(result.top_k) == {k for k in (2, 3, 5) if k < case.log_probabilities.shape[1]}
    for k, share in result.top_k.items():
        ahead = [
            sum((p > row[label]) | ((p == row[label]) & (c < label)) for c, p in enumerate(row))
            for row, label in zip(case.probabilities, case.labels, strict=True)
        ]
        assert share == pytest.approx(np.mean(np.array(ahead) < k))


def test_top_k_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    case = predictions_from(rng.normal(size=(500, 10)), rng.integers(0, 10, 500))
    for k, share in evaluate_in_detail(case).top_k.items():
        expected = sklearn.metrics.top_k_accuracy_score(case.labels, case.log_probabilities, k=k)
        assert share == pytest.approx(expected, abs=1e-6)


def test_calibration_is_the_gap_between_confidence_and_accuracy():
    """90 examples at confidence 0.8 of which 45 are right, and 10 at 0.6 of which 6 are."""
    confidence = np.repeat([0.8, 0.6], [90, 10])
    right = np.concatenate([np.arange(90) < 45, np.arange(10) < 6])
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    result = evaluate_in_detail(predictions_from(logits, np.where(right, 0, 1)))
    assert result.calibration_error == pytest.approx(0.9 * 0.3 + 0.1 * 0.0)
    filled = result.reliability[result.reliability[:, 0] > 0]
    np.testing.assert_allclose(filled, [[10, 0.6, 0.6], [90, 0.8, 0.5]])


@pytest.mark.parametrize("labels", [[0], [1]])
def test_one_example(labels):
    result = evaluate_in_detail(predictions_from([[1.0, 0.0, 0.0]], labels))
    assert result.evaluation.accuracy == float(labels == [0])
    assert np.isnan(result.roc_auc).all()
    record = result.as_dict(["a", "b", "c"])
    assert (
        "class 'c' has no example: its recall, ROC-AUC, average precision and curves are undefined"
        in record["notes"]
    )
    assert "class 'c' was never predicted: its precision is undefined" in record["notes"]


def test_two_classes_have_named_cells():
    logits = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    result = evaluate_in_detail(predictions_from(logits, [0, 1, 1, 0, 1]))
    record = result.as_dict(["cat", "dog"])
    assert record["binary"] == {"positive": "dog", "TP": 2, "FP": 1, "FN": 1, "TN": 1}
    assert record["per_class"][1]["class"] == "dog"
    assert record["per_class"][1]["support"] == 3
    assert record["per_class"][1]["recall"] == pytest.approx(2 / 3)
    assert record["micro_f1"] == record["accuracy"] == 0.6
    assert record["notes"] == []


def test_the_record_of_a_thousand_classes_stays_small():
    rng = np.random.default_rng(0)
    case = predictions_from(rng.normal(size=(2000, 1000)), rng.integers(0, 1000, 2000))
    details = evaluate_in_detail(case, bootstrap=False)
    for name in ("f1", "roc_auc", "average_precision"):  # as the bootstrap has them
        details.intervals.update({f"{name}/{k}": (1 / 3, 2 / 3) for k in range(1000)})
    record = {"metrics": {"test": plain(details.as_dict([f"class_{k:05}" for k in range(1000)]))}}
    assert len(sealed(record)) < 1e6


@given(predictions(least_classes=2))
@example(predictions_from(np.random.default_rng(0).normal(size=(300, 3)), np.arange(300) % 3))
def test_curves_are_scikit_learns_up_to_full_recall(case):
    for k, curve in enumerate(ranking_curves(case)):
        is_class, scores = case.labels == k, case.probabilities[:, k]
        if curve is None:
            continue
        np.testing.assert_array_equal(curve.roc, sklearn.metrics.roc_curve(is_class, scores)[:2])
        precision, recall, _ = sklearn.metrics.precision_recall_curve(is_class, scores)
        points = set(zip(recall.tolist(), precision.tolist(), strict=True))
        assert set(map(tuple, curve.pr.T.tolist())) <= points
        assert len(curve.pr[0]) == 1 + np.argmax(np.sort(recall) == 1)  # none of them is left out
        assert (curve.pr[0, 0], curve.pr[0, -1]) == (0, 1)
        assert (np.diff(curve.pr[0]) >= 0).all()
        assert curve.thinned("pr", 20).shape == (2, min(20, curve.pr.shape[1]))
        np.testing.assert_array_equal(curve.thinned("pr", 20)[:, [0, -1]], curve.pr[:, [0, -1]])
        np.testing.assert_array_equal(curve.thinned("roc", 10**6), curve.roc)


def test_every_metric_of_a_real_result_has_an_interval_that_holds_it():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    logits = rng.normal(size=(400, 4)) + 2 * (labels[:, None] == np.arange(4))
    result = evaluate_in_detail(predictions_from(logits, labels))
    record = result.as_dict("abcd")
    names = [name for name, value in record.items() if isinstance(value, float) and "micro" not in name]
    assert len(names) > 12
    for name in {*names} - {"calibration_error"}:  # which resampling would overstate
        low, high = result.intervals[name]
        assert low < record[name] < high, name
    for row_number, row in enumerate(record["per_class"]):
        for name in ("precision", "recall", "f1", "roc_auc", "average_precision"):
            low, high = result.intervals[f"{name}/{row_number}"]
            assert low < row[name] < high


@given(case=predictions())
def test_whatever_is_undefined_has_a_note(case):
    names = [f"name{k}" for k in range(case.log_probabilities.shape[1])]
    record = plain(evaluate_in_detail(case, bootstrap=False).as_dict(names))
    notes = " ".join(record["notes"])
    for key, words in (("cohen_kappa", "kappa"), ("matthews", "Matthews")):
        if record[key] is None:
            assert words in notes
    for row in record["per_class"]:
        for key, words in (("precision", "precision"), ("recall", "recall"), ("roc_auc", "ROC-AUC")):
            if row[key] is None:
                assert any(row["class"] in note and words in note for note in record["notes"])
    if not record["notes"]:
        assert None not in [*record.values()]
