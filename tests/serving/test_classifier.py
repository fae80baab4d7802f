import json

import numpy as np
import pytest
from rounding import assert_rounding_alone, disturbed

from mnist_jax import data
from mnist_jax.config.validation import from_record, validate
from mnist_jax.evaluation import evaluate_checkpoint
from mnist_jax.loop import train_and_evaluate
from mnist_jax.metrics.predictions import load_predictions
from mnist_jax.serving.classifier import BATCH, load_classifier, load_trained
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole


@pytest.fixture(params=["tiny_run", "airbench_run"])
def workdir(request):
    return request.getfixturevalue(request.param)


@pytest.mark.rounding
def test_it_says_what_the_run_said_of_its_test_split_without_the_data(workdir):
    record = json.loads((workdir / "run.json").read_text())
    test = data.load(validate(from_record(record["config"])).data).test
    step, expected = load_predictions(workdir / "predictions.npz")
    classifier = load_classifier(workdir)
    assert (classifier.step, classifier.data_name) == (step, "digits")
    assert classifier.class_names == tuple("0123456789")
    found = classifier.probabilities(test.images)
    # In batches of another size, which XLA may sum in another order.
    trained = load_trained(workdir)
    model = trained.model._replace(params=disturbed(trained.model.params))
    almost = np.exp(np.asarray(trained.classify(model, test.images), np.float64))
    assert_rounding_alone(found, expected.probabilities, almost)


def test_an_image_has_the_same_answer_alone_and_among_others(workdir):
    classifier = load_classifier(workdir)
    images = np.random.default_rng(0).integers(0, 256, (BATCH + 3, *classifier.image_shape), np.uint8)
    together = classifier.probabilities(images)
    for place in (0, BATCH - 1, BATCH + 2):
        np.testing.assert_array_equal(classifier.probabilities(images[place : place + 1])[0], together[place])
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)


def test_a_checkpoint_that_is_not_there_and_a_folder_without_a_run(workdir, tmp_path):
    with pytest.raises(UserError, match=r"--checkpoint must be a step in .* .got 7.; it has: 38, 75"):
        load_classifier(workdir, step=7)
    assert load_classifier(workdir, step=38).step == 38
    with pytest.raises(UserError, match="holds no run"):
        load_classifier(tmp_path)


def test_a_folder_whose_run_was_taken_apart_is_told_and_left_alone(tiny_run, tmp_path):
    record = json.loads((tiny_run / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="has no checkpoints"):
        load_classifier(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    del record["data"]["splits"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"is damaged \(Object missing required field `splits`"):
        load_classifier(tmp_path)


def test_probabilities_are_calibrated_as_those_of_the_run(tiny_config, tmp_path):
    """By `evaluation.temperature`: in the record, the predictions of test, the classifier and the export."""
    tiny_config.evaluation.temperature = True
    tiny_config.train.label_smoothing = 0.2
    record = train_and_evaluate(tiny_config, tmp_path)
    _, predictions = load_predictions(tmp_path / "predictions.npz")
    plain = load_trained(tmp_path)
    assert plain.temperature == record["temperature"] != 1
    images = data.load(validate(tiny_config).data).test.images
    np.testing.assert_allclose(load_classifier(tmp_path)(images), predictions.probabilities, atol=2e-5)
    found = evaluate_checkpoint(tmp_path, tiny_config)
    assert found["temperature"] == pytest.approx(record["temperature"], rel=1e-4)
    assert found["metrics"]["loss"] == pytest.approx(record["metrics"]["test"]["loss"], rel=1e-4)
    assert "fitted on validation" in (tmp_path / "report.html").read_text()
