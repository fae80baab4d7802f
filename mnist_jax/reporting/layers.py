"""The layers of a model as a table, for `--summary`."""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from flax import nnx

from mnist_jax.models import MODELS
from mnist_jax.system.terminal import Terminal, TextTable


class Layer(NamedTuple):
    """A module of a model that has arrays of its own.

    Attributes:
        name: its path in the model, such as "convs/0".
        kind: its class.
        output: the shape of what it returns for one image; () where it was not called.
        arrays: name -> shape of its parameters.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    arrays: dict[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        """The number of its parameters."""
        return sum(map(math.prod, self.arrays.values()))


def layers(
    config: ml_collections.FrozenConfigDict, image_shape: tuple[int, ...], num_classes: int
) -> list[Layer]:
    """The layers in the order of their calls, from shapes alone.

    Args:
        config: with `data.mean` and `data.std` of the data set.
        image_shape: (H, W, C).
        num_classes: the number of logits.
    """
    found: list[Layer] = []

    def describe(images: jax.Array, seed: jax.Array) -> None:
        model = MODELS[config.model.name](config, images, num_classes, rngs=nnx.Rngs(seed))
        modules = {id(module): module for _, module in nnx.iter_modules(model)}
        with _noted_outputs(modules) as outputs:
            model(images, train=False)
        names = {id(module): "/".join(map(str, path)) for path, module in nnx.iter_modules(model)}
        for key in dict.fromkeys([*outputs, *modules]):
            own = {name: of.shape for name, of in vars(modules[key]).items() if isinstance(of, nnx.Param)}
            if own:
                kind = type(modules[key]).__name__
                found.append(Layer(names[key] or "(model)", kind, outputs.get(key, ()), own))

    images = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    jax.eval_shape(describe, images, jax.random.key(0))
    return found


@contextlib.contextmanager
def _noted_outputs(modules: dict[int, nnx.Module]) -> Iterator[dict[int, tuple[int, ...]]]:
    """Notes the shape of what each of these modules returns while the context lasts."""
    outputs: dict[int, tuple[int, ...]] = {}

    def noting(call: Any) -> Any:
        @functools.wraps(call)
        def noted(self: nnx.Module, *arguments: Any, **options: Any) -> Any:
            result = call(self, *arguments, **options)
            outputs[id(self)] = getattr(result, "shape", (0,))[1:]
            return result

        return noted

    with contextlib.ExitStack() as stack:
        for kind in {type(module) for module in modules.values() if callable(module)}:
            call = kind.__call__
            if "__call__" in vars(kind):
                stack.callback(setattr, kind, "__call__", call)
            else:
                stack.callback(delattr, kind, "__call__")
            kind.__call__ = noting(call)  # type: ignore[method-assign]
        yield outputs


def print_layers(found: list[Layer], title: str) -> None:
    """Prints the table, with the number of parameters in all."""
    table = TextTable(title, show_footer=True)
    table.add_column("layer", "total", overflow="fold")
    table.add_column("kind")
    table.add_column("output")
    table.add_column("arrays", overflow="fold")
    total = f"{sum(layer.parameters for layer in found):,}"
    table.add_column("parameters", total, justify="right", no_wrap=True)
    for layer in found:
        arrays = ", ".join(f"{name} {_shape(shape)}" for name, shape in layer.arrays.items())
        table.add_row(layer.name, layer.kind, _shape(layer.output), arrays, f"{layer.parameters:,}")
    Terminal().print(table)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
