import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax import data
from mnist_jax.config.validation import validate
from mnist_jax.system.errors import UserError
from mnist_jax.training.steps import Model
from mnist_jax.training.trainer import Trainer
from mnist_jax.training.transfer import fitting

pytestmark = pytest.mark.whole


def model(**params):
    return Model(np.int32(3), params, {"norm": {"mean": np.ones(4, np.float32)}})


def test_what_fits_by_name_and_shape_is_taken():
    source = model(a={"kernel": np.full((2, 4), 7.0)}, b={"kernel": np.ones((4, 10))}, c={"bias": np.ones(1)})
    like = model(
        a={"kernel": np.zeros((2, 4), np.float32)},
        b={"kernel": np.zeros((4, 3), np.float32)},
        d={"bias": np.zeros(1, np.float32)},
    )
    taken = fitting(like, source)
    assert taken.arrays.keys() == {"a.kernel", "norm.mean"}
    assert taken.arrays["a.kernel"].dtype == np.float32
    assert (taken.arrays["a.kernel"] == 7).all()
    assert taken.new == ("b.kernel", "d.bias")


@pytest.mark.parametrize("together", [False, True])
def test_every_member_and_its_moving_average_start_from_what_is_taken(tiny_config, together):
    tiny_config.train.ema_decay, tiny_config.model.norm = 0.9, "batch"
    configs = []
    for seed in (0, 1):
        tiny_config.seed = seed
        configs.append(validate(tiny_config))
    trainer = Trainer(configs, data.load(configs[0].data), together=together)
    fresh = trainer.members(trainer.initial())
    source = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, leaf.dtype), trainer.model)
    source.params["output"]["kernel"] = np.zeros((16, 3), np.float32)
    found = trainer.members(trainer.initial(fitting(trainer.model, source)))
    for one, before in zip(found, fresh, strict=True):
        for params in (one.train.params, one.train.ema, one.best.params):
            np.testing.assert_array_equal(
                params["output"].pop("kernel"), before.train.params["output"]["kernel"]
            )
            assert all((leaf == 0.5).all() for leaf in jax.tree.leaves(params))
        assert all((leaf == 0.5).all() for leaf in jax.tree.leaves(one.train.model_state))
        np.testing.assert_array_equal(one.train.key, before.train.key)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.name": "sgd", "model.norm": "batch", "train.ema_decay": 0.9},
        {"optimizer.name": "muon", "optimizer.clip_norm": 1e-3},
    ],
)
def test_frozen_parameters_keep_their_bits_and_have_no_gradient(tiny_config, changes):
    tiny_config.optimizer.weight_decay, tiny_config.train.freeze = 0.1, "^(?!output)"
    tiny_config.update_from_flattened_dict(changes)
    tiny_config.schedule.warmup = 0.0
    trainer = Trainer([validate(tiny_config)], data.load(tiny_config.data))
    states = jax.tree.map(jnp.copy, trainer.initial())
    before = jax.device_get(states.train[0])
    for step, rows in trainer.batches(0):
        states, (metrics,) = trainer.step(states, rows)
        if step >= 3:
            break
    after = jax.device_get(states.train[0])
    for then, now in ((before.params, after.params), (before.ema, after.ema)):
        if then:
            changed, _ = then.pop("output"), now.pop("output")
            assert not np.array_equal(changed["kernel"], states.train[0].params["output"]["kernel"])
        jax.tree.map(np.testing.assert_array_equal, then, now)
    assert metrics["grad_norm"] > 0
    if before.model_state:  # follows the data, as `freezing` says
        assert not np.array_equal(*(jax.tree.leaves(one.model_state)[0] for one in (before, after)))


@pytest.mark.parametrize(("pattern", "count"), [("convolution9", 0), (".", 8)])
def test_a_pattern_that_freezes_nothing_or_all_is_an_error(tiny_config, pattern, count):
    tiny_config.train.freeze, tiny_config.model.norm = pattern, "none"
    with pytest.raises(UserError, match=r"^config.train.freeze must match some parameters[^\n]+$") as caught:
        Trainer([validate(tiny_config)], data.load(tiny_config.data))
    assert f"(got {pattern!r}, which matches {count} of 8)" in str(caught.value)
    assert "output.kernel" in str(caught.value)
