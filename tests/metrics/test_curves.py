import numpy as np
import sklearn.metrics
from cases import predictions
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_jax.metrics import curves


@settings(max_examples=40)  # scikit-learn takes its time
@given(case=predictions(least_classes=2), data=st.data())
def test_areas_under_curves_of_weighted_examples_are_those_of_scikit_learn(case, data):
    size, classes = case.log_probabilities.shape
    weights = data.draw(st.lists(st.lists(st.integers(0, 3), min_size=size, max_size=size), min_size=1))
    is_class = case.labels[:, None] == np.arange(classes)
    found = curves.ranking_areas(is_class, case.log_probabilities)(np.array(weights, np.float32))
    for r, weight in enumerate(weights):
        for k in range(classes):
            drawn = np.flatnonzero(weight)
            if len(set(is_class[drawn, k])) < 2:
                assert np.isnan(found[0][r, k])
                continue
            arguments = is_class[:, k], case.log_probabilities[:, k]
            auc = sklearn.metrics.roc_auc_score(*arguments, sample_weight=weight)
            precision = sklearn.metrics.average_precision_score(*arguments, sample_weight=weight)
            np.testing.assert_allclose([found[0][r, k], found[1][r, k]], [auc, precision], atol=1e-6)
