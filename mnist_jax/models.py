"""The Flax NNX models, used functionally: a static graphdef beside pytrees of params and model state."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx

PyTree = Any


class CNN(nnx.Module):
    """Convolutions that each halve the image, then two dense layers.

    `__call__` takes float images (B, H, W, C), already normalized, and gives float32 logits (B, K).
    """

    def __init__(
        self,
        config: ml_collections.FrozenConfigDict,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        rngs: nnx.Rngs,
    ):
        model, dtype = config.model, jnp.dtype(config.dtype)
        height, width, channels = image_shape
        convs, norms = [], []
        for features in model.widths:
            convs.append(
                nnx.Conv(
                    channels,
                    features,
                    (model.kernel, model.kernel),
                    # A convolution's bias before a norm would be subtracted again.
                    use_bias=model.norm == "none",
                    kernel_init=nnx.initializers.he_normal(),
                    dtype=dtype,
                    rngs=rngs,
                )
            )
            norms.append(_norm(model.norm, features, dtype, rngs))
            height, width, channels = max(height // 2, 1), max(width // 2, 1), features
        self.convs, self.norms = nnx.List(convs), nnx.List(norms)
        self.dense = nnx.Linear(
            height * width * channels,
            model.dense,
            kernel_init=nnx.initializers.he_normal(),
            dtype=dtype,
            rngs=rngs,
        )
        self.output = nnx.Linear(model.dense, num_classes, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(model.dropout)
        self.pool = {"average": jnp.mean, "max": jnp.max}[model.pooling]

    def __call__(self, images: jax.Array, *, train: bool, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = images
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x)
            x = norm(x, use_running_average=not train) if isinstance(norm, nnx.BatchNorm) else norm(x)
            x = _pool(nnx.relu(x), self.pool)
        x = x.reshape(x.shape[0], -1)
        x = self.dropout(x, deterministic=not train, rngs=rngs)
        x = nnx.relu(self.dense(x))
        x = self.dropout(x, deterministic=not train, rngs=rngs)
        return self.output(x).astype(jnp.float32)


def create_model(
    config: ml_collections.FrozenConfigDict,
    image_shape: tuple[int, int, int],
    num_classes: int,
    key: jax.Array,
) -> tuple[nnx.GraphDef, PyTree, PyTree]:
    """A freshly initialized model as (graphdef, params, model_state).

    `params` and `model_state` (running statistics of batch norm) are nested dicts of float32 arrays.
    """
    model = CNN(config, image_shape, num_classes, rngs=nnx.Rngs(params=key))
    graphdef, params, *rest = nnx.split(model, nnx.Param, ...)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(rest[0])


def apply_model(
    graphdef: nnx.GraphDef,
    params: PyTree,
    model_state: PyTree,
    images: jax.Array,
    *,
    train: bool,
    rngs: nnx.Rngs | None = None,
) -> tuple[jax.Array, PyTree]:
    """Logits (B, K) of float images (B, H, W, C), and the model state after them."""
    model = nnx.merge(graphdef, params, model_state)
    logits = model(images, train=train, rngs=rngs)
    return logits, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))


def _norm(name: str, features: int, dtype: jnp.dtype, rngs: nnx.Rngs):
    if name == "batch":
        return nnx.BatchNorm(features, momentum=0.9, dtype=dtype, rngs=rngs)
    if name == "group":
        return nnx.GroupNorm(features, num_groups=math.gcd(features, 8), dtype=dtype, rngs=rngs)
    return nnx.identity


def _pool(x: jax.Array, reduce) -> jax.Array:
    """Pools 2 x 2 windows, the last odd row or column left out.

    By reshape: on CPU ten times faster than `reduce_window`, whose gradient for the maximum is a scatter.
    A side of one pixel stays.
    """
    batch, height, width, channels = x.shape
    down, right = min(height, 2), min(width, 2)
    x = x[:, : height // down * down, : width // right * right]
    x = x.reshape(batch, height // down, down, width // right, right, channels)
    return reduce(x, axis=(2, 4))
