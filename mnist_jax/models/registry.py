"""The Flax NNX models, used functionally: a static graph and pytrees of params and model state."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import nnx

from mnist_jax.data.pixels import normalize, to_float
from mnist_jax.models.airbench import Airbench
from mnist_jax.models.cnn import CNN
from mnist_jax.models.mlp import MLP
from mnist_jax.models.own_models import Adapter, OwnModel, check_model
from mnist_jax.models.resnet import ResNet
from mnist_jax.system.errors import UserError

PyTree = Any

MODELS: dict[str, Callable[..., nnx.Module]] = {
    "cnn": CNN,
    "airbench": Airbench,
    "mlp": MLP,
    "resnet": ResNet,
}
_BUILT_IN = frozenset(MODELS)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Graph:
    """The static part of a model.

    graphdef: of nnx. streams: paths of the random streams that its layers draw from; none for built-in
    models, which receive their keys as arguments.
    """

    graphdef: nnx.GraphDef[Any]
    streams: tuple[tuple[Any, ...], ...]


def register_model(name: str, model: OwnModel) -> None:
    """Makes a model available as `config.model.name`, in every command that takes a model.

    Args:
        name: of the model.
        model: a `flax.nnx.Module` class, called as `model(image_shape, num_classes, rngs=rngs, **kwargs)`
            with image_shape (H, W, C) and the keyword arguments of `config.model.kwargs`. An instance takes
            normalized float32 images (B, H, W, C) and returns logits (B, num_classes).

    Raises:
        UserError: a built-in model has that name, or `model` is not such a class.
    """
    if name in _BUILT_IN:
        raise UserError(f"the model {name!r} is built in; register yours under another name")
    check_model(name, model)
    MODELS[name] = functools.partial(Adapter, model)


def require_model(name: str, imports: Sequence[str] = ()) -> None:
    """Checks that there is a model of this name.

    Args:
        name: of the model.
        imports: the modules that a run used, for the error.

    Raises:
        UserError: there is none.
    """
    if name not in MODELS:
        flags = " ".join(f"--import={module}" for module in imports) or "--import=MODULE"
        raise UserError(
            f"config.model.name must be one of {', '.join(MODELS)} (got {name!r}); a model of your own needs "
            f"{flags}, the module that registers it"
        )


def module_of_model(name: str) -> str | None:
    """The module that defines a registered model; None for a built-in one."""
    model = MODELS.get(name)
    return model.args[0].__module__ if isinstance(model, functools.partial) else None


def create_model(
    config: ml_collections.FrozenConfigDict, images: jax.Array, num_classes: int, key: jax.Array
) -> tuple[Graph, PyTree, PyTree]:
    """A freshly initialized model as (graph, params, model_state), to be traced.

    images: uint8 (N, H, W, C) of the training split, which may initialize a model. `params` and `model_state`
    (running statistics of batch norm, fixed weights) are nested dicts of float32 arrays.
    """
    require_model(config.model.name)
    examples = normalize(to_float(images), config)
    rngs = nnx.Rngs(key) if config.model.name not in _BUILT_IN else nnx.Rngs(params=key)
    model = MODELS[config.model.name](config, examples, num_classes, rngs=rngs)
    graphdef, *states = nnx.split(model, nnx.Param, nnx.RngState, ...)
    params, random, rest = states
    streams = tuple(path[:-1] for path, _ in nnx.to_flat_state(random) if path[-1] == "key")
    return Graph(graphdef, streams), nnx.to_pure_dict(params), nnx.to_pure_dict(rest)


def abstract_model(
    config: ml_collections.FrozenConfigDict, image_shape: tuple[int, int, int], num_classes: int
) -> tuple[Graph, PyTree, PyTree]:
    """The result of `create_model` for images (H, W, C), with `jax.ShapeDtypeStruct` instead of arrays."""
    images = jax.ShapeDtypeStruct((1, *image_shape), np.uint8)
    create = functools.partial(create_model, config, num_classes=num_classes)
    return jax.eval_shape(lambda key, images: create(images=images, key=key), jax.random.key(0), images)


def apply_model(
    graph: Graph,
    params: PyTree,
    model_state: PyTree,
    images: jax.Array,
    *,
    train: bool,
    dropout: float | jax.Array = 0.0,
    key: jax.Array | None = None,
) -> tuple[jax.Array, PyTree]:
    """Logits (B, K) of float images (B, H, W, C), and the model state after them.

    dropout: the rate of built-in models. key: to draw from in training.
    """
    model = nnx.merge(graph.graphdef, params, _random_state(graph, key), model_state)
    rngs = None if key is None else nnx.Rngs(dropout=key)
    logits = model(images, train=train, rate=dropout, rngs=rngs)
    state = nnx.state(model, nnx.Not(nnx.Any(nnx.Param, nnx.RngState)))
    return logits, nnx.to_pure_dict(state)


def _random_state(graph: Graph, key: jax.Array | None) -> PyTree:
    """The random streams of a model's layers, all from one key: a step's randomness depends on it alone."""
    state: dict[Any, Any] = {}
    for number, path in enumerate(graph.streams):
        *parents, last = path
        node = state
        for part in parents:
            node = node.setdefault(part, {})
        own = jax.random.fold_in(jax.random.key(0) if key is None else key, number)
        node[last] = {"key": own, "count": jax.numpy.zeros((), jax.numpy.uint32)}
    return state
