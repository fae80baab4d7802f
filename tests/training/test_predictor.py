import jax
import ml_collections
import numpy as np
import pytest

from mnist_jax.config.validation import validate
from mnist_jax.data.cache import Arrays
from mnist_jax.metrics.predictions import predictions_of
from mnist_jax.models import create_model
from mnist_jax.system.mesh import make_mesh
from mnist_jax.training.predictor import Predictor, model_template
from mnist_jax.training.steps import Model, make_classify

pytestmark = pytest.mark.whole

RNG = np.random.default_rng(0)
ARRAYS = Arrays(RNG.integers(0, 256, (50, 8, 8, 1), np.uint8), RNG.integers(0, 10, 50, np.int32))


@pytest.fixture
def made(tiny_config):
    """The config, the graphdef, and a model."""
    config = validate(tiny_config)
    graphdef, params, model_state = create_model(config, ARRAYS.images, 10, jax.random.key(0))
    return config, graphdef, Model(np.int32(3), params, model_state)


@pytest.mark.parametrize(("size", "batch_size"), [(50, 50), (50, 1000), (50, 7), (1, 7), (49, 7)])
@pytest.mark.parametrize("placement", ["device", "host"])
def test_every_example_is_predicted_once_and_in_order(made, size, batch_size, placement):
    config, graphdef, model = made
    changed = ml_collections.ConfigDict(config.to_dict())
    changed.evaluation.batch_size, changed.data.placement = batch_size, placement
    config = validate(changed)
    predict = Predictor(config, graphdef, 10, make_mesh(config))
    split = Arrays(*(field[:size] for field in ARRAYS))
    found = predict(split, model)
    np.testing.assert_array_equal(found.labels, split.labels)
    np.testing.assert_array_equal(found.confusion, predictions_of(*found[1::-1]).confusion)
    one_by_one = make_classify(config, graphdef)(model.params, model.model_state, split.images)
    # Other batches sum in another order: 64 terms per sum, five layers.
    np.testing.assert_allclose(found.log_probabilities, one_by_one, rtol=0, atol=64 * 5 * 2.0**-24 * 8)


@pytest.mark.parametrize("name", ["cnn", "airbench"])
def test_the_abstract_model_has_the_names_shapes_and_dtypes_of_one_that_is_made(tiny_config, name):
    tiny_config.model.name, tiny_config.model.norm = name, "batch"
    config = validate(tiny_config)
    graphdef, params, model_state = create_model(config, ARRAYS.images, 10, jax.random.key(0))
    like_graphdef, like = model_template(config, (8, 8, 1), 10, make_mesh(config))
    assert like_graphdef == graphdef

    def facts(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)

    assert facts((like.params, like.model_state)) == facts((params, model_state))
