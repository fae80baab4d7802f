import jax
import numpy as np

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.models import registry


def test_it_is_dense_layers_on_the_pixels():
    config = default.get_config()
    config.model.update({"name": "mlp", "widths": (6, 7)})
    graph, params, state = registry.create_model(
        validate(config), np.zeros((1, 4, 4, 2), np.uint8), 3, jax.random.key(0)
    )
    images = jax.random.normal(jax.random.key(1), (5, 4, 4, 2))
    x = np.asarray(images, np.float64).reshape(5, -1)
    for layer in params["layers"].values():
        x = np.maximum(x @ np.asarray(layer["kernel"], np.float64).T + layer["bias"], 0)
    expected = x @ np.asarray(params["output"]["kernel"], np.float64) + params["output"]["bias"]
    found, _ = registry.apply_model(graph, params, state, images, train=False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3 * 32 * 2.0**-24 * np.abs(expected).max() * 8)
