import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import assert_rounding_alone, disturbed

from mnist_jax import models
from mnist_jax.config.validation import validate
from mnist_jax.data.augment import views
from mnist_jax.data.feeding import Rows
from mnist_jax.data.pixels import normalize, to_float
from mnist_jax.metrics.predictions import predictions_of
from mnist_jax.system import cpu, devices
from mnist_jax.system.mesh import make_mesh, place, replicated, state_shardings
from mnist_jax.training import optimizers, steps

pytestmark = pytest.mark.whole

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.integers(0, 256, (64, 8, 8, 1), np.uint8))
LABELS = jnp.asarray(RNG.integers(0, 10, 64, np.int32))
INDICES = RNG.integers(0, 64, (6, 16), np.int32)
PLAIN = {"augment.crop": 0}
ROUNDINGS = (
    6 * 40
)  # in `run`: six steps, each with some forty operations, gradients among them, one after another


def setup(config, **changes):
    config.update_from_flattened_dict(changes)
    config = validate(config)
    schedule = optimizers.create_schedule(config, 10, 100)
    optimizer = optimizers.create_optimizer(config, schedule)
    graphdef, state = steps.make_create_state(config, 10, optimizer)(
        jax.random.key(config.seed), np.zeros((1, 8, 8, 1), np.uint8)
    )
    mesh = make_mesh(config)
    # As after a step, otherwise the second step would compile again.
    state = place(state, state_shardings(mesh, state, shard_params=False))
    train_chunk = steps.compiled(
        steps.make_train_chunk(config, graphdef, optimizer, schedule), mesh, replicated(mesh)
    )
    return config, graphdef, state, train_chunk


def copy(state):
    return jax.tree.map(jnp.copy, state)


def run(train_chunk, state, indices=INDICES, chunk=1):
    metrics = []
    for start in range(0, len(indices), chunk):
        state, values = train_chunk(state, Rows(IMAGES, LABELS, indices[start : start + chunk]))
        metrics.append(jax.device_get(values))
    return state, {key: np.concatenate([values[key] for values in metrics]) for key in metrics[0]}


def test_a_chunk_of_steps_is_those_steps_one_by_one(tiny_config):
    """With everything that a step draws at random or stores beside the parameters."""
    changes = {"model.norm": "batch", "model.dropout": 0.3, "train.ema_decay": 0.9, "augment.rotation": 10.0}
    _, _, state, train_chunk = setup(tiny_config, **changes)
    one_by_one = run(train_chunk, copy(state))
    chunked = run(train_chunk, copy(state), chunk=3)
    assert int(chunked[0].step) == 6
    assert_rounding_alone(chunked, one_by_one, run(train_chunk, disturbed(state)))


@pytest.mark.parametrize("norm", ["none", pytest.param("group", marks=pytest.mark.long), "batch"])
def test_what_is_set_for_speed_changes_rounding_only(tiny_config, monkeypatch, norm):
    monkeypatch.setattr(cpu, "batch_parts", lambda size: 3)
    _, _, state, train_chunk = setup(tiny_config, **{"model.norm": norm})
    fast = run(train_chunk, copy(state))
    monkeypatch.setattr(devices, "compiler_options", dict)
    monkeypatch.setattr(cpu, "active", lambda: False)
    monkeypatch.setattr(cpu, "batch_parts", lambda size: 1)
    _, _, state, train_chunk = setup(tiny_config, **{"model.norm": norm})
    plain = run(train_chunk, copy(state))
    assert not np.array_equal(fast[0].params["dense"]["kernel"], plain[0].params["dense"]["kernel"])
    assert_rounding_alone(fast, plain, run(train_chunk, disturbed(state)))


def test_steps_are_bit_for_bit_repeatable_and_follow_the_seed(tiny_config):
    _, _, state, train_chunk = setup(tiny_config, **{"model.dropout": 0.3})
    first, _ = run(train_chunk, copy(state))
    again, _ = run(train_chunk, copy(state))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    _, _, other_state, other_chunk = setup(tiny_config, seed=1)
    assert not np.array_equal(state.params["output"]["kernel"], other_state.params["output"]["kernel"])
    assert not np.array_equal(state.key, other_state.key)
    del other_chunk


def test_one_step_is_the_gradient_of_smoothed_cross_entropy(tiny_config):
    """Against the loss written out in float64 numpy, differentiated by central differences."""
    changes = {**PLAIN, "train.label_smoothing": 0.1, "optimizer.momentum": 0.0, "optimizer.nesterov": False}
    config, graphdef, state, train_chunk = setup(
        tiny_config, **changes, **{"schedule.name": "constant", "schedule.warmup": 0.0}
    )
    rows = INDICES[0]
    pixels = (np.asarray(IMAGES[rows], np.float64) / 255 - config.data.mean[0]) / config.data.std[0]
    targets = np.eye(10)[LABELS[rows]] * 0.9 + 0.01

    @jax.jit
    def logits_of(params):
        return models.apply_model(graphdef, params, {}, jnp.asarray(pixels, jnp.float32), train=True)[0]

    def loss(bias):
        params = {
            **state.params,
            "output": {**state.params["output"], "bias": jnp.asarray(bias, jnp.float32)},
        }
        logits = np.asarray(logits_of(params), np.float64)
        log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return -(targets * log_probabilities).sum(1).mean()

    bias = np.zeros(10)
    slope = np.array([(loss(bias + e) - loss(bias - e)) / 0.02 for e in 0.01 * np.eye(10)])
    before = loss(bias)
    new_state, metrics = train_chunk(copy(state), Rows(IMAGES, LABELS, INDICES[:1]))
    np.testing.assert_allclose(new_state.params["output"]["bias"], -0.1 * slope, atol=1e-4)
    assert metrics["loss"][0] == pytest.approx(before, rel=1e-5)
    assert metrics["learning_rate"][0] == pytest.approx(0.1)
    moved = jax.tree.leaves(jax.tree.map(lambda a, b: a - b, state.params, new_state.params))
    norm = np.sqrt(sum(np.sum(np.asarray(part, np.float64) ** 2) for part in moved)) / 0.1
    assert metrics["grad_norm"][0] == pytest.approx(norm, rel=1e-4)


def test_an_update_that_is_not_finite_is_skipped_where_asked(tiny_config):
    changes = {"optimizer.skip_nonfinite": 2, "model.norm": "batch", "optimizer.momentum": 0.9}
    _, _, state, train_chunk = setup(tiny_config, **changes)
    state, _ = run(train_chunk, state, INDICES[:2])
    params, statistics = jax.device_get((state.params, state.model_state))
    overflowing = state._replace(params=jax.tree.map(lambda leaf: leaf * 1e38, copy(state.params)))
    after, metrics = run(train_chunk, copy(overflowing), INDICES[2:3])
    assert not np.isfinite(metrics["grad_norm"]).any()
    jax.tree.map(np.testing.assert_array_equal, after.params, overflowing.params)
    jax.tree.map(np.testing.assert_array_equal, after.model_state, statistics)
    again, metrics = run(train_chunk, after._replace(params=jax.tree.map(jnp.array, params)), INDICES[3:4])
    assert np.isfinite(metrics["loss"]).all()
    rates = [float(optimizers.create_schedule(validate(tiny_config), 10, 100)(step)) for step in (2, 3)]
    assert metrics["learning_rate"] == pytest.approx(rates[0])  # as the one that was left out would have had
    assert rates[0] != rates[1]
    assert not np.array_equal(jax.tree.leaves(again.params)[0], jax.tree.leaves(params)[0])


def test_the_moving_average_forgets_the_start(tiny_config):
    _, _, state, train_chunk = setup(tiny_config, **{"train.ema_decay": 0.25})
    expected = jax.tree.map(np.asarray, state.params)
    state = copy(state)
    for step in range(4):
        state, _ = train_chunk(state, Rows(IMAGES, LABELS, INDICES[step : step + 1]))
        decay = min(0.25, (1 + step) / (10 + step))
        expected = jax.tree.map(
            lambda old, new, d=decay: d * old + (1 - d) * np.asarray(new), expected, state.params
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.ema, expected)
    assert state.model.params is state.ema


def test_predictions_are_log_probabilities_of_the_normalized_images(tiny_config):
    config, graphdef, state, _ = setup(tiny_config, **{"data.mean": (0.5,), "data.std": (0.25,)})
    predict = steps.make_predict(config, graphdef, make_mesh(config))
    counted, confusion = np.array([True, True, False, True, True]), jnp.zeros((10, 10), jnp.int32)
    rows = Rows(IMAGES, LABELS, np.arange(5))
    confusion, log_probabilities = predict(state.params, state.model_state, confusion, rows, counted)
    normalized = (np.asarray(IMAGES[:5], np.float32) / 255 - 0.5) / 0.25
    logits, _ = models.apply_model(graphdef, state.params, state.model_state, normalized, train=False)
    np.testing.assert_allclose(log_probabilities, jax.nn.log_softmax(logits), atol=1e-5)
    np.testing.assert_allclose(np.exp(log_probabilities).sum(1), 1, atol=1e-5)
    expected = predictions_of(np.asarray(log_probabilities)[counted], np.asarray(LABELS[:5])[counted])
    np.testing.assert_array_equal(confusion, expected.confusion)


def test_probabilities_are_averaged_over_the_views_of_an_image(tiny_config):
    config, graphdef, state, _ = setup(tiny_config, **{"evaluation.shift": 1, "evaluation.flip": True})
    counted, confusion = np.ones(5, bool), jnp.zeros((10, 10), jnp.int32)
    rows = Rows(IMAGES, LABELS, np.arange(5))
    predict = steps.make_predict(config, graphdef, make_mesh(config))
    _, log_probabilities = predict(state.params, state.model_state, confusion, rows, counted)
    looks = views(to_float(IMAGES[:5]), config.evaluation)
    logits = [
        models.apply_model(graphdef, state.params, state.model_state, normalize(look, config), train=False)[0]
        for look in looks
    ]
    expected = np.mean([jax.nn.softmax(each) for each in logits], axis=0)
    np.testing.assert_allclose(np.exp(log_probabilities), expected, rtol=1e-5)


@pytest.mark.parametrize("changes", [{"augment.shift": 2.0}, {"model.dropout": 0.5}, {"augment.mixup": 1.0}])
def test_augmentation_and_dropout_differ_from_step_to_step(tiny_config, changes):
    """The same batch again, with a learning rate that changes nothing, has another loss."""
    standstill = {"optimizer.learning_rate": 1e-30, "schedule.name": "constant", "schedule.warmup": 0.0}
    _, _, state, train_chunk = setup(tiny_config, **PLAIN, **standstill)
    _, metrics = run(train_chunk, copy(state), np.repeat(INDICES[:1], 4, axis=0))
    assert len(set(metrics["loss"].tolist())) == 1
    _, _, state, train_chunk = setup(tiny_config, **(PLAIN | standstill | changes))
    _, metrics = run(train_chunk, copy(state), np.repeat(INDICES[:1], 4, axis=0))
    assert len(set(metrics["loss"].tolist())) == 4
