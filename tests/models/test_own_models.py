import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.models import registry
from mnist_jax.system.errors import UserError

IMAGES = jax.random.normal(jax.random.key(1), (64, 4, 4, 1))


class Noisy(nnx.Module):
    """Layers that have state, and that differ between training and evaluation."""

    def __init__(self, image_shape, num_classes, width=8, *, rngs):
        self.hidden = nnx.Linear(int(np.prod(image_shape)), width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, momentum=0.5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.output = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.output(self.dropout(self.norm(self.hidden(x.reshape(x.shape[0], -1)))))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(registry, "MODELS", dict(registry.MODELS))
    registry.register_model("noisy", Noisy)


def create(name="noisy", kwargs=""):
    config = default.get_config()
    config.model.name, config.model.kwargs = name, kwargs
    return registry.create_model(validate(config), np.zeros((1, 4, 4, 1), np.uint8), 3, jax.random.key(0))


def test_evaluation_is_that_of_the_module_alone():
    graph, params, state = create()
    alone = Noisy((4, 4, 1), 3, rngs=nnx.Rngs(jax.random.key(0)))
    alone.eval()
    logits, after = registry.apply_model(graph, params, state, IMAGES, train=False)
    np.testing.assert_array_equal(logits, alone(IMAGES))
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_training_draws_from_its_key_alone_and_moves_the_statistics():
    graph, params, state = create()

    def train(key, state=state):
        return registry.apply_model(graph, params, state, IMAGES, train=True, key=jax.random.key(key))

    (first, after), (again, _), (other, _) = train(3), train(3), train(4)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    hidden = IMAGES.reshape(64, -1) @ params["model"]["hidden"]["kernel"] + params["model"]["hidden"]["bias"]
    mean = np.asarray(hidden, np.float64).mean(axis=0) / 2  # momentum 0.5, from 0
    np.testing.assert_allclose(after["model"]["norm"]["mean"], mean, atol=64 * 2.0**-24 * 8)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(state))  # no random keys


def test_keyword_arguments_reach_the_model():
    _, params, _ = create(kwargs="width=5")
    assert params["model"]["hidden"]["kernel"].shape == (16, 5)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ("widht=5", "takes no widht; did you mean width"),
        ("rngs=5", "takes no rngs"),
        ("width", "must be keyword arguments"),
        ("width=print()", "must be keyword arguments"),
        ("width=1)+g(x=2", "must be keyword arguments"),
        ("**{}", "must be keyword arguments"),
    ],
)
def test_keyword_arguments_that_do_not_fit_are_one_line(kwargs, said):
    with pytest.raises(UserError, match=said) as refused:
        create(kwargs=kwargs)
    assert "\n" not in str(refused.value)


def test_a_model_that_returns_other_than_logits_is_refused():
    class Wrong(Noisy):
        def __call__(self, x):
            return super().__call__(x)[:, :2]

    registry.register_model("wrong", Wrong)
    with pytest.raises(UserError, match=r"logits of shape \(2, 3\).*\(got \(2, 2\)\)"):
        create("wrong")


class OfLinen(linen.Module):
    pass


@pytest.mark.parametrize("model", [OfLinen, int, "noisy", None])
def test_what_is_not_an_nnx_module_is_refused(model):
    with pytest.raises(UserError, match=r"must be a (class of )?flax\.nnx\.Module"):
        registry.register_model("mine", model)


def test_the_names_of_built_in_models_are_taken_and_others_unknown():
    with pytest.raises(UserError, match="is built in"):
        registry.register_model("cnn", Noisy)
    with pytest.raises(UserError, match=r"must be one of cnn, .*noisy \(got 'mine'\).*--import=MODULE"):
        create("mine")
