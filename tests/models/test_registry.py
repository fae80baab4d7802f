import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import assert_rounding_alone, disturbed, of_sum

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.models import layers, registry
from mnist_jax.storage import provenance
from mnist_jax.system import devices
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole

IMAGES = jax.random.normal(jax.random.key(1), (6, 28, 28, 1))


def create(shape=(28, 28, 1), **changes):
    config = default.get_config()
    config.update_from_flattened_dict(changes)
    return registry.create_model(validate(config), np.zeros((1, *shape), np.uint8), 10, jax.random.key(0))


def apply(model, images=IMAGES, **options):
    return registry.apply_model(*model, images, **{"train": False, **options})


def test_the_default_is_the_reference_network():
    _, params, _ = create()
    convolutions = 9 * 32 + 32 + 9 * 32 * 64 + 64
    assert provenance.count_params(params) == convolutions + 3136 * 256 + 256 + 256 * 10 + 10


@pytest.mark.rounding
def test_the_network_computes_what_numpy_does():
    graphdef, params, state = create(**{"model.widths": (4,), "model.dense": 8})
    logits, _ = apply((graphdef, params, state))
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    padded = np.pad(np.asarray(IMAGES, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    conv = np.einsum("bhwcij,ijco->bhwo", windows, p["convs"][0]["kernel"]) + p["convs"][0]["bias"]
    pooled = np.maximum(conv, 0).reshape(6, 14, 2, 14, 2, 4).mean((2, 4)).reshape(6, -1)
    hidden = np.maximum(pooled @ p["dense"]["kernel"].T + p["dense"]["bias"], 0)
    expected = hidden @ p["output"]["kernel"] + p["output"]["bias"]
    assert_rounding_alone(logits, expected, apply((graphdef, disturbed(params), state))[0])


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parameters_and_logits_are_float32(monkeypatch, norm, pooling, dtype):
    monkeypatch.setattr(
        devices, "options_of_what_runs_once", dict
    )  # JAX takes none in a program that is traced

    def created_and_applied():
        graphdef, params, state = create(**{"model.norm": norm, "model.pooling": pooling, "dtype": dtype})
        return params, state, registry.apply_model(graphdef, params, state, IMAGES, train=False)

    params, state, (logits, after) = jax.eval_shape(created_and_applied)  # which compiles nothing
    assert logits.shape == (6, 10)
    leaves = jax.tree.leaves((params, state, logits, after))
    assert len(leaves) > 6
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_bfloat16_is_used_and_is_close():
    graphdef, params, state = create()
    exact, _ = apply((graphdef, params, state))
    rounded, _ = apply(create(dtype="bfloat16"))
    assert not np.array_equal(exact, rounded)
    almost, _ = apply((graphdef, disturbed(params, 2.0**-8), state))
    assert_rounding_alone(rounded, exact, almost, roundings=4)  # one for each layer


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (8, 8, 1), (32, 32, 3)])
def test_any_size_of_image(shape):
    logits, _ = apply(create(shape, **{"model.widths": (4, 4, 4)}), jnp.ones((2, *shape)))
    assert logits.shape == (2, 10)


@pytest.mark.rounding
@pytest.mark.parametrize(
    ("name", "reduce", "start"), [("average", jax.lax.add, 0.0), ("max", jax.lax.max, -jnp.inf)]
)
@pytest.mark.parametrize("side", [6, 7])
def test_pooling_is_that_of_reduce_window(name, reduce, start, side):
    x = jax.random.normal(jax.random.key(2), (2, side, side, 3))

    def windowed(x):
        reduced = jax.lax.reduce_window(x, start, reduce, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return reduced if name == "max" else reduced / 4

    expected, expected_gradient = jax.vjp(windowed, x)
    pooled, gradient = jax.vjp(lambda x: layers.pool(x, name), x)
    of_pooled = jax.random.normal(jax.random.key(3), pooled.shape)
    # A gradient is a number of of_pooled, or a quarter of one, which is exact.
    np.testing.assert_array_equal(gradient(of_pooled)[0], expected_gradient(of_pooled)[0])
    if name == "max":
        np.testing.assert_array_equal(pooled, expected)
    else:
        assert (np.abs(pooled - expected) <= of_sum(4, layers.pool(jnp.abs(x), name))).all()


@pytest.mark.rounding
@pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (5, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_convolution_by_patches_is_a_convolution(kernel, channels):
    x = jax.random.normal(jax.random.key(3), (4, 9, 7, channels))
    weights = jax.random.normal(jax.random.key(4), (*kernel, channels, 5))

    def convolved(x, weights):
        return jax.lax.conv_general_dilated(
            x, weights, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
        )

    apart = np.abs(layers.convolve_patches(x, weights) - convolved(x, weights))
    assert (apart <= of_sum(weights[..., 0].size, convolved(jnp.abs(x), jnp.abs(weights)))).all()


@pytest.mark.rounding
@pytest.mark.parametrize("shape", [(5, 7, 3, 4), (300, 6)])
def test_a_bias_is_added_and_its_gradient_is_the_sum_over_pixels(shape):
    x, weights = jax.random.normal(jax.random.key(6), (2, *shape))
    bias = jax.random.normal(jax.random.key(7), shape[-1:])
    y, backward = jax.vjp(layers.biased, x, bias)
    np.testing.assert_array_equal(y, x + bias)
    x_gradient, bias_gradient = backward(weights)
    np.testing.assert_array_equal(x_gradient, weights)
    rows = np.asarray(weights, np.float64).reshape(-1, shape[-1])
    assert (np.abs(bias_gradient - rows.sum(0)) <= of_sum(len(rows), np.abs(rows).sum(0))).all()


@pytest.mark.rounding
def test_parts_of_a_batch_are_that_batch():
    model = create()
    images = jax.random.normal(jax.random.key(5), (300, 28, 28, 1))
    whole = jnp.concatenate([apply(model, images[start : start + 50])[0] for start in range(0, 300, 50)])
    almost, _ = apply((model[0], disturbed(model[1]), model[2]), images)
    assert_rounding_alone(whole, apply(model, images)[0], almost)


@pytest.mark.parametrize(
    ("model", "shape"), [("cnn", (2, 2, 1)), ("cnn", (3, 3, 1)), ("airbench", (3, 2, 1))]
)
@pytest.mark.parametrize(
    "norm", [{"model.norm": "group"}, {"model.norm": "batch", "train.batch_size": 1}], ids=["group", "batch"]
)
def test_a_norm_of_single_values_is_refused(model, shape, norm):
    """It makes each of them 0, and the model predicts the same for every image."""
    changes = {"model.name": model, "model.widths": (8, 8), **norm}
    with pytest.raises(UserError, match=r"^config.model.norm must not be .* 8 channels of 1 x 1 pixels"):
        create(shape, **changes)
    create(shape, **changes | {"model.widths": (8,)} if model == "cnn" else changes | {"model.norm": "none"})


def test_batch_norm_learns_its_statistics_in_training_only():
    graphdef, params, state = create(**{"model.norm": "batch"})
    _, evaluated = registry.apply_model(graphdef, params, state, IMAGES, train=False)
    _, trained = registry.apply_model(graphdef, params, state, IMAGES, train=True)
    same = jax.tree.map(np.array_equal, state, evaluated)
    assert all(jax.tree.leaves(same))
    assert not any(jax.tree.leaves(jax.tree.map(np.array_equal, state, trained)))
    assert jax.tree.structure(state) == jax.tree.structure(trained)


def test_dropout_is_a_function_of_the_key_in_training_only():
    model = create()

    def train(seed):
        return apply(model, train=True, dropout=0.5, key=jax.random.key(seed))[0]

    np.testing.assert_array_equal(train(0), train(0))
    assert not np.array_equal(train(0), train(1))
    np.testing.assert_array_equal(apply(model)[0], apply(model)[0])
