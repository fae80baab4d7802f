"""Configs that are valid field by field, built: each gives an experiment or a line."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import digits
from mnist_jax import data
from mnist_jax.config.fields import RULES, validate
from mnist_jax.data.feeding import Rows
from mnist_jax.system.errors import UserError
from mnist_jax.training import experiment

pytestmark = pytest.mark.whole

NUMBERS = (0, 1, 2, 3, 5, 8, 64, 1000, 2**31 - 1, 0.0, 1e-30, 1e-9, 0.1, 0.5, 0.999, 1.0, 1.5, 10.0, 1e9)
TEXTS = (
    "",
    "x",
    "train",
    "train[:10]",
    "train[0:0]",
    "train[:999%]",
    "train[500:] ",
    "train+test",
    "☃",
    "a\nb",
)
# What only says where things are, and models that are too large to be built in a test.
LEFT_OUT = {"data.name", "data.dir", "data.data_dir", "data.manual_dir", "data.cache_dir"}
LARGE = {"model.widths", "model.kernel", "model.depth", "model.dense", "train.batch_size"}


def values(field):
    """Values that its rule accepts."""
    rule = RULES[field]
    named = rule.expects.removeprefix("one of ").split(", ")
    small = [one for one in NUMBERS if field not in LARGE or one < 100]
    tuples = st.lists(st.sampled_from([*small, *TEXTS]), max_size=3).map(tuple)
    return st.one_of(st.sampled_from([*small, *TEXTS, *named, True, False]), tuples).filter(rule.accepts)


FIELDS = sorted(RULES.keys() - LEFT_OUT)
changes = st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3, unique=True).flatmap(
    lambda fields: st.fixed_dictionaries({field: values(field) for field in fields})
)


@settings(max_examples=20)
@given(changes)
def test_any_valid_config_is_built_or_refused_in_one_line(changed):
    config = ml_collections.ConfigDict(digits.get_config().to_dict(), type_safe=False)
    config.model.update(widths=(4, 4), dense=4)
    config.update_from_flattened_dict(changed)
    refused = None
    try:
        config = validate(config)
        dataset = data.load(config.data)
        parts = experiment.build(config, dataset)
    except UserError as error:
        refused = str(error)
    if refused is not None:
        assert "\n" not in refused
        return
    examples, size = dataset.train.images.shape[0], config.train.batch_size
    rows = Rows(
        jax.ShapeDtypeStruct(dataset.train.images.shape, jnp.uint8),
        jax.ShapeDtypeStruct((examples,), jnp.int32),
        jax.ShapeDtypeStruct((1, size), jnp.int32),
    )
    state, metrics = jax.eval_shape(parts.train_chunk, parts.state, rows)
    assert jax.tree.map(np.shape, state) == jax.tree.map(np.shape, parts.state)
    assert all(values.shape == (1,) for values in metrics.values())


@pytest.mark.parametrize("crop", [8, 2**31 - 1])
def test_a_crop_beyond_the_image_is_told(crop):
    config = digits.get_config()
    config.augment.crop = crop
    with pytest.raises(UserError, match=rf"^config.augment.crop is {crop}, but the images are 8 x 8 pixels"):
        experiment.build(validate(config), data.load(config.data))


def test_a_run_too_long_to_be_planned_is_told():
    config = digits.get_config()
    config.train.epochs = 2**31 - 1
    with pytest.raises(UserError, match=r"would pause more than 1,000,000 times; shorten it"):
        experiment.build(validate(config), data.load(config.data))
