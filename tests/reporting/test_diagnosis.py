import numpy as np
import pytest

from configs import default
from mnist_jax.metrics.predictions import predictions_of
from mnist_jax.reporting.diagnosis import diagnose

FALLING = [
    {"split": "train", "step": 100, "loss": 2.3, "accuracy": 0.2},
    {"split": "validation", "step": 100, "loss": 2.0, "accuracy": 0.2},
    {"split": "train", "step": 200, "loss": 0.4, "accuracy": 0.9},
]


def said(right, examples=100, commonest=0.5, rows=FALLING, **changes):
    """Of a model that is right so often, on a set of two classes, one of them with a share of `commonest`."""
    labels = (np.arange(examples) >= commonest * examples).astype(np.int32)
    predicted = np.where(np.arange(examples) < right, labels, 1 - labels)
    tested = predictions_of(np.log(np.eye(2)[predicted] * 0.8 + 0.1), labels)
    config = default.get_config()
    config.update_from_flattened_dict(changes)
    return diagnose(config, rows, np.repeat([0, 1], [60, 40]), tested)


def test_a_run_that_learned_is_left_alone():
    assert said(90) is None
    assert said(59) is None  # p = 0.044 of 59 or more heads in 100 tosses
    assert said(90, rows=FALLING[:1]) is None


@pytest.mark.parametrize(("right", "commonest"), [(58, 0.5), (50, 0.5), (10, 0.5), (95, 0.95)])
def test_a_run_no_better_than_the_commonest_class(right, commonest):
    line = said(right, commonest=commonest)
    said_of = "is not significantly better than always naming the commonest class"
    assert f"{right / 100:.4f} {said_of} ({commonest:.4f})" in line
    assert "\n" not in line


def test_a_loss_that_does_not_fall():
    rows = [{**FALLING[0]}, {**FALLING[-1], "loss": 2.3}]
    assert "the training loss did not fall (2.3000 to 2.3000)" in said(90, rows=rows)


def test_the_remedies_fit_the_run():
    learned = said(50)
    assert "whose accuracy is 0.9000" in learned
    assert "learning_rate" not in learned
    short = said(50, rows=[{**FALLING[0], "step": 40}])
    assert "a longer run than 40 steps: --config.train.steps=1000" in short
    assert "--config.optimizer.learning_rate=0.01" in short
    long = said(50, rows=[{**FALLING[0], "step": 4000}], **{"model.norm": "batch"})
    assert "longer" not in long
    assert "norm" not in long
    assert all(2 <= line.split("; try ")[1].count(", or ") + 1 <= 3 for line in (learned, short, long))


def test_a_class_that_the_test_split_lacks():
    assert said(100, commonest=0.0) is None
    assert "is not significantly better" in said(0, commonest=0.0)
