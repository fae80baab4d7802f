"""Predictions that the tests of metrics share."""

import numpy as np
from hypothesis import strategies as st

from mnist_jax.metrics.predictions import Predictions, predictions_of


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def predictions_from(logits, labels) -> Predictions:
    return predictions_of(log_softmax(np.asarray(logits, np.float64)), np.asarray(labels, np.int32))


@st.composite
def predictions(draw, least_classes=1):
    """Few examples, many classes: absent classes, classes never predicted, ties and N = 1 are common."""
    classes = draw(st.integers(least_classes, 6))
    examples = draw(st.integers(1, 12))
    rows = st.lists(st.integers(-3, 3), min_size=classes, max_size=classes)
    logits = draw(st.lists(rows, min_size=examples, max_size=examples))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=examples, max_size=examples))
    return predictions_from(logits, labels)
