"""Builds configs that are valid field by field: each gives an experiment or a one-line error."""

import itertools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import assert_rounding_alone, disturbed

from configs import digits
from mnist_jax import data
from mnist_jax.config.fields import FIELDS
from mnist_jax.config.population import members_in
from mnist_jax.config.validation import validate
from mnist_jax.system.errors import UserError
from mnist_jax.training.trainer import Trainer

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
# Paths, and models that are too large to build in a test.
LEFT_OUT = {"data.name", "data.dir", "data.data_dir", "data.manual_dir", "data.cache_dir"}
LARGE = {"model.widths", "model.kernel", "model.depth", "model.dense", "train.batch_size"}


def values(field):
    """Values that its rule accepts."""
    rule = FIELDS[field].rule
    named = rule.expects.removeprefix("one of ").split(", ")
    small = [one for one in NUMBERS if field not in LARGE or one < 100]
    tuples = st.lists(st.sampled_from([*small, *TEXTS]), max_size=3).map(tuple)
    return st.one_of(st.sampled_from([*small, *TEXTS, *named, True, False]), tuples).filter(rule.accepts)


CHANGED = sorted(FIELDS.keys() - LEFT_OUT)
changes = st.lists(st.sampled_from(CHANGED), min_size=1, max_size=3, unique=True).flatmap(
    lambda fields: st.fixed_dictionaries({field: values(field) for field in fields})
)


@settings(max_examples=12)
@given(changes)
def test_any_valid_config_is_built_or_refused_in_one_line(changed):
    config = ml_collections.ConfigDict(digits.get_config().to_dict(), type_safe=False)
    config.model.update(widths=(4, 4), dense=4)
    config.update_from_flattened_dict(changed)
    refused = None
    try:
        config = validate(config)
        dataset = data.load(config.data)
        trainer = Trainer([config], dataset)
    except UserError as error:
        refused = str(error)
    if refused is not None:
        assert "\n" not in refused
        return
    state, metrics = trainer.lowered()[0].out_info
    assert jax.tree.map(np.shape, state) == jax.tree.map(np.shape, trainer.template.train)
    assert all(values.shape == (1, 1) for values in metrics.values())


@pytest.mark.parametrize(
    ("field", "pixels"),
    [
        ("augment.crop", 8),
        ("augment.crop", 2**31 - 1),
        ("augment.shift", 8.0),
        ("augment.cutout", 8),
        ("evaluation.shift", 8),
    ],
)
def test_a_distance_beyond_the_image_is_refused(field, pixels):
    config = digits.get_config()
    config.update_from_flattened_dict({field: pixels})
    with pytest.raises(UserError, match=rf"^config.{field} must be less than .* 8 x 8 pixels \(got "):
        Trainer([validate(config)], data.load(config.data))


def test_a_run_too_long_to_be_planned_is_told():
    config = digits.get_config()
    config.train.epochs = 2**31 - 1
    with pytest.raises(UserError, match=r"would pause more than 1,000,000 times; shorten it"):
        Trainer([validate(config)], data.load(config.data))


def population_of(config, **fields):
    """The configs of the members, and their data."""
    config.population.update(fields)
    configs = [member.config for member in members_in(validate(config))]
    return configs, data.load(configs[0].data)


def some_steps(trainer, count, change=lambda state: state):
    """Parameters of each model after some steps, and the metrics of each step, (P,)."""
    own = jax.tree.map(jnp.copy, trainer.initial())  # a step overwrites it
    states, metrics = own._replace(train=tuple(map(change, own.train))), []
    for _, rows in itertools.islice(trainer.batches(0), count):
        states, parts = trainer.step(states, rows)
        metrics.append({key: np.concatenate([part[key] for part in parts])[:, 0] for key in parts[0]})
    return [one.train.params for one in trainer.members(states)], metrics


VALUES = {
    "seed": (3, 4),
    "momentum": (0.9, 0.0),
    "weight_decay": (0.0, 1e-3),
    "label_smoothing": (0.0, 0.1),
    "dropout": (0.0, 0.3),
}
MIXED = {
    "augment.mixup": 1.0,
    "augment.cutmix": 1.0,
    "augment.resized_crop": 0.5,
    "augment.contrast": 0.3,
    "train.balance": "sampling",
    "train.class_weights": (1.0, 2.0) * 5,
}
OTHERS = pytest.mark.long  # whose numbers work in the same way


@pytest.mark.parametrize(
    ("name", "rates", "changes"),
    [
        ("sgd", (0.02, 0.05), {}),
        ("adamw", (0.002, 0.001), {"schedule.name": "cosine", "train.ema_decay": 0.9}),
        pytest.param(
            "sgd",
            (0.02, 0.05),
            MIXED | {"train.accumulate": 2, "train.freeze": "dense"},
            marks=pytest.mark.rounding,
        ),
        pytest.param(
            "lamb", (0.002, 0.001), {"schedule.name": "step", "schedule.boundaries": (1.0,)}, marks=OTHERS
        ),
        pytest.param(
            "adadelta", (0.2, 0.1), {"schedule.name": "constant", "schedule.warmup": 0.0}, marks=OTHERS
        ),
        pytest.param("lion", (2e-4, 1e-4), {"schedule.name": "linear", "model.norm": "batch"}, marks=OTHERS),
        pytest.param(
            "sgd",
            (0.02, 0.05),
            {"model.name": "airbench", "model.depth": 1, "optimizer.clip_norm": 1.0},
            marks=OTHERS,
        ),
        pytest.param("muon", (0.01, 0.005), {"optimizer.newton_schulz": 1}, marks=OTHERS),
    ],
)
def test_a_member_is_what_it_would_be_alone(tiny_config, name, rates, changes):
    tiny_config.update_from_flattened_dict({"optimizer.name": name, **changes})
    configs, dataset = population_of(tiny_config, learning_rate=rates, **VALUES)
    alone = Trainer(configs[1:], dataset)
    expected, almost = some_steps(alone, 4), some_steps(alone, 4, disturbed)
    for together in (False, True):
        trainer = Trainer(configs, dataset, together=together)
        jax.tree.map(
            np.testing.assert_array_equal,
            trainer.members(trainer.initial())[1],
            alone.packed(alone.initial()),
        )
        params, metrics = some_steps(trainer, 4)
        found = params[1:], [{key: values[1:] for key, values in step.items()} for step in metrics]
        assert_rounding_alone(found, expected, almost)


def test_members_that_differ_in_seeds_alone_have_the_bits_of_a_run_alone(tiny_config):
    configs, dataset = population_of(tiny_config, seeds=2)
    trainer = Trainer(configs, dataset, together=False)
    (expected,), _ = some_steps(Trainer(configs[1:], dataset), 4)
    jax.tree.map(np.testing.assert_array_equal, some_steps(trainer, 4)[0][1], expected)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"optimizer.name": "sgd", "optimizer.clip_norm": 1.0}, marks=pytest.mark.rounding),
        {"optimizer.name": "adamw", "optimizer.skip_nonfinite": 3},
    ],
)
def test_gradients_of_two_half_batches_make_the_update_of_the_whole_one(tiny_config, changes):
    """Including schedule, warm-up and moving average; no example depends on the rest of its batch."""
    tiny_config.augment.crop, tiny_config.train.ema_decay, tiny_config.train.steps = 0, 0.9, 20
    tiny_config.schedule.update(name="cosine", unit="run", warmup=0.2)
    tiny_config.update_from_flattened_dict({"optimizer.learning_rate": 0.01, **changes})

    def train(batch_size, accumulate, change=lambda state: state):
        tiny_config.train.update(batch_size=batch_size, accumulate=accumulate, steps=10 * accumulate)
        trainer = Trainer([validate(tiny_config)], data.load(tiny_config.data))
        states, metrics = jax.tree.map(jnp.copy, trainer.initial()), []
        states = states._replace(train=tuple(map(change, states.train)))
        for _, rows in itertools.islice(trainer.batches(0), 6 * accumulate):
            states, (values,) = trainer.step(states, rows)
            metrics.append({key: float(values[key][0, 0]) for key in ("loss", "learning_rate")})
        merged = [
            {key: np.mean([of[key] for of in metrics[k : k + accumulate]]) for key in metrics[0]}
            for k in range(0, len(metrics), accumulate)
        ]
        return states.train[0].params, states.train[0].ema, merged

    assert_rounding_alone(train(16, 2), train(32, 1), train(32, 1, disturbed))


def test_steps_between_updates_change_no_parameters(tiny_config):
    tiny_config.train.update(accumulate=4, ema_decay=0.9)
    trainer = Trainer([validate(tiny_config)], data.load(tiny_config.data))
    states = jax.tree.map(jnp.copy, trainer.initial())
    seen = [jax.device_get((states.train[0].params, states.train[0].ema))]
    for _, rows in itertools.islice(trainer.batches(0), 8):
        states, _ = trainer.step(states, rows)
        seen.append(jax.device_get((states.train[0].params, states.train[0].ema)))
    same = [
        all(jax.tree.leaves(jax.tree.map(np.array_equal, *pair))) for pair in itertools.pairwise(seen[4:])
    ]
    assert same == [True, True, True, False]  # the first update has learning rate 0
    assert trainer.plan.total_steps == 76  # of 75 steps, in whole updates


@pytest.mark.long
def test_a_chunk_of_steps_is_those_steps(tiny_config):
    configs, dataset = population_of(tiny_config, seeds=2)
    one_by_one = Trainer(configs, dataset, together=True)
    tiny_config.train.steps_per_call = 3
    configs, dataset = population_of(tiny_config, seeds=2)
    chunks = Trainer(configs, dataset, together=True)
    ((step, rows),) = itertools.islice(chunks.batches(0), 1)
    states, (metrics,) = chunks.step(chunks.initial(), rows)
    assert metrics["loss"].shape == (2, step)
    expected, almost = some_steps(one_by_one, step)[0], some_steps(one_by_one, step, disturbed)[0]
    assert_rounding_alone([one.train.params for one in chunks.members(states)], expected, almost)


@pytest.mark.parametrize("together", [False, True])
def test_the_better_models_are_kept_and_come_back_from_a_checkpoint(tiny_config, together):
    tiny_config.train.ema_decay = 0.9
    configs, dataset = population_of(tiny_config, seeds=2)
    trainer = Trainer(configs, dataset, together=together)
    initial = trainer.initial()
    before = trainer.members(jax.tree.map(jnp.copy, initial))
    moved = initial._replace(train=jax.tree.map(lambda leaf: leaf + 1, initial.train))
    kept = trainer.keep_best(moved, [True, False])
    first, second = trainer.members(kept)
    jax.tree.map(np.testing.assert_array_equal, first.best, first.train.model)
    assert int(first.best.step) == 1
    jax.tree.map(np.testing.assert_array_equal, second.best, before[1].best)
    # What is saved does not depend on how the models are trained.
    packed = trainer.packed(kept)
    other = Trainer(configs, dataset, together=not together)
    restored = other.members(other.unpacked(packed))
    jax.tree.map(np.testing.assert_array_equal, restored, [first, second])


@pytest.mark.parametrize(("seeds", "together"), [(1, None), (3, False), (3, True)])
def test_the_template_is_the_initial_state_without_its_numbers(tiny_config, seeds, together):
    tiny_config.optimizer.name, tiny_config.train.ema_decay = "adamw", 0.9
    trainer = Trainer(*population_of(tiny_config, seeds=seeds), together=together)

    def facts(state):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), state)

    assert facts(trainer.template) == facts(trainer.packed(trainer.initial()))
