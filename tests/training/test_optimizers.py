import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import default
from mnist_jax.cli import config_flag
from mnist_jax.config.validation import validate
from mnist_jax.system import installation
from mnist_jax.system.errors import UserError
from mnist_jax.training import optimizers

PEAK, STEPS_PER_EPOCH, TOTAL = 0.5, 20, 200


def schedule_of(**changes):
    config = default.get_config()
    config.optimizer.learning_rate = PEAK
    config.schedule.unit, config.schedule.warmup = "epochs", 2.0
    config.update_from_flattened_dict({f"schedule.{key}": value for key, value in changes.items()})
    schedule = optimizers.create_schedule(validate(config), STEPS_PER_EPOCH, TOTAL)
    return np.array([float(schedule(step)) for step in range(TOTAL)])


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle", "linear", "step"])
@pytest.mark.parametrize(("unit", "warmup"), [("epochs", 2.0), ("steps", 40.0), ("run", 0.2)])
def test_warm_up_rises_from_zero_to_the_peak(name, unit, warmup):
    boundaries = {"epochs": 7.5, "steps": 150.0, "run": 0.75}
    rates = schedule_of(name=name, unit=unit, warmup=warmup, boundaries=(boundaries[unit],))
    assert rates[0] == 0
    assert (np.diff(rates[:41]) > 0).all()
    assert rates[40] == pytest.approx(PEAK)
    assert rates.max() == pytest.approx(PEAK)


def test_the_shapes_after_the_warm_up():
    t = np.arange(160) / 160
    half_cosine = (1 + np.cos(np.pi * t)) / 2
    warm = {"warmup": 2.0, "end_factor": 0.1}
    np.testing.assert_allclose(schedule_of(name="constant", **warm)[40:], PEAK)
    np.testing.assert_allclose(schedule_of(name="linear", **warm)[40:], PEAK * (1 - 0.9 * t), rtol=1e-5)
    for name in ("cosine", "one_cycle"):
        np.testing.assert_allclose(
            schedule_of(name=name, **warm)[40:], PEAK * (0.1 + 0.9 * half_cosine), rtol=1e-4
        )
    rise = schedule_of(name="one_cycle", **warm)[:40]
    np.testing.assert_allclose(rise, PEAK * (1 - np.cos(np.pi * np.arange(40) / 40)) / 2, atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 3.0])
def test_steps_fall_at_their_boundaries(warmup):
    rates = schedule_of(name="step", warmup=warmup, boundaries=(5.0, 8.0), factor=0.1)
    np.testing.assert_allclose(
        rates[[99, 100, 159, 160, 199]], PEAK * np.array([1, 0.1, 0.1, 0.01, 0.01]), rtol=1e-5
    )


@pytest.mark.parametrize("name", [path.stem for path in installation.configs_folder().glob("[a-z]*.py")])
def test_a_run_of_one_epoch_has_a_schedule(name):
    config = config_flag.get_config(name)
    config.train.steps = 0
    config.train.epochs, config.train.min_steps = 1, 0
    schedule = optimizers.create_schedule(validate(config), STEPS_PER_EPOCH, STEPS_PER_EPOCH)
    assert schedule(STEPS_PER_EPOCH // 2) > 0


def test_boundaries_may_fall_on_one_step():
    rates = schedule_of(name="step", warmup=0.0, boundaries=(5.0, 5.01), factor=0.1)
    np.testing.assert_allclose(rates[[99, 100]], PEAK * np.array([1, 0.01]), rtol=1e-5)


def test_a_boundary_in_the_warm_up_is_refused():
    with pytest.raises(UserError, match=r"must not be in the warm-up of 3 epochs \(got 2\.9\)"):
        schedule_of(name="step", warmup=3.0, boundaries=(2.9, 5.0))
    assert schedule_of(name="step", warmup=3.0, boundaries=(3.0,), factor=0.1)[60] == pytest.approx(PEAK / 10)


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(
        UserError, match=r"config.schedule.warmup is 10 epochs, 200 steps, but the run has only 200"
    ):
        schedule_of(warmup=10.0)


def train_steps(gradients, count=1, **changes):
    """Parameters after `count` steps from kernels of ones and biases of ones."""
    config = default.get_config()
    config.update_from_flattened_dict({f"optimizer.{key}": value for key, value in changes.items()})
    optimizer = optimizers.create_optimizer(validate(config), optax.constant_schedule(0.1))
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    state = optimizer.init(params)
    for _ in range(count):
        updates, state = optimizer.update(gradients(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("name", ["sgd", "adamw", "adadelta", "lamb", "lion", "muon"])
def test_weight_decay_falls_on_kernels_alone(name):
    params = train_steps(lambda p: jax.tree.map(jnp.zeros_like, p), name=name, weight_decay=0.1)
    np.testing.assert_array_equal(params["bias"], 1)
    assert (params["kernel"] < 1).all()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adadelta", "lamb", "lion", "muon"])
def test_every_optimizer_goes_downhill(name):
    def loss(params):
        return sum(jnp.sum((leaf - 0.5) ** 2) for leaf in jax.tree.leaves(params))

    start = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    assert loss(train_steps(jax.grad(loss), count=3, name=name, eps=1e-6)) < loss(start)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adam", lambda c: optax.adam(0.1, b1=c["b1"], b2=c["b2"], eps=c["eps"])),
        ("adamw", lambda c: optax.adamw(0.1, b1=c["b1"], b2=c["b2"], eps=c["eps"], weight_decay=0)),
        ("lamb", lambda c: optax.lamb(0.1, b1=c["b1"], b2=c["b2"], eps=c["eps"])),
        ("lion", lambda c: optax.lion(0.1, b1=c["b1"], b2=c["b2"], weight_decay=0)),
        ("adadelta", lambda c: optax.adadelta(0.1, rho=c["rho"], eps=c["eps"])),
    ],
)
def test_the_constants_of_the_config_are_used(name, reference):
    constants = {"b1": 0.6, "b2": 0.7, "eps": 0.01, "rho": 0.5}

    def gradients(params):
        return jax.tree.map(
            lambda leaf: jnp.sin(7 * leaf) + 0.1 * jnp.arange(leaf.size).reshape(leaf.shape), params
        )

    optimizer = reference(constants)
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    state = optimizer.init(params)
    for _ in range(4):
        updates, state = optimizer.update(gradients(params), state, params)
        params = optax.apply_updates(params, updates)
    found = train_steps(gradients, count=4, name=name, **constants)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, params)


def test_muon_moves_kernels_by_orthogonal_matrices_and_biases_as_adam_does():
    rng = np.random.default_rng(0)
    left, right = np.linalg.qr(rng.normal(size=(36, 8)))[0], np.linalg.qr(rng.normal(size=(8, 8)))[0]
    gradient = left * np.geomspace(1e-3, 1, 8) @ right
    gradients = {"kernel": jnp.asarray(gradient.reshape(3, 3, 4, 8)), "bias": jnp.array([0.01, -3.0])}
    config = default.get_config()
    config.optimizer.update(name="muon", newton_schulz=12, nesterov=False)
    optimizer = optimizers.create_optimizer(validate(config), optax.constant_schedule(0.1))
    updates, _ = optimizer.update(gradients, optimizer.init(gradients), gradients)
    moved = np.asarray(updates["kernel"], np.float64).reshape(36, 8)
    stretches = np.linalg.svd(moved, compute_uv=False)
    assert stretches.max() / stretches.min() < 2  # the gradient's are a thousand times apart
    np.testing.assert_allclose(moved, -(left @ right) * 0.1 * 0.2 * 6, atol=0.04)  # of rms 0.2 for 36 rows
    np.testing.assert_allclose(updates["bias"], [-0.1, 0.1], rtol=1e-5)


def test_nesterov_momentum_is_the_textbook_one():
    def params_after(nesterov):
        return float(train_steps(lambda p: jax.tree.map(jnp.ones_like, p), 2, nesterov=nesterov)["bias"][0])

    assert params_after(False) == pytest.approx(1 - 0.1 * (1 + 1.9))
    assert params_after(True) == pytest.approx(1 - 0.1 * (1.9 + 1 + 0.9 * 1.9))


def test_gradients_are_clipped_to_the_norm():
    params = train_steps(
        lambda p: {"kernel": jnp.full((3, 2), 30.0), "bias": jnp.full(2, 40.0)},
        clip_norm=1.0,
        momentum=0.0,
        nesterov=False,
    )
    moved = jax.tree.map(lambda leaf: 1 - leaf, params)
    assert float(optax.tree.norm(moved)) == pytest.approx(0.1, rel=1e-5)
