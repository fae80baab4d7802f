"""Training that starts from another model: it takes the arrays that fit."""

from typing import Any, NamedTuple

import jax
import numpy as np

from mnist_jax.training.freezing import dotted
from mnist_jax.training.steps import Model, TrainState

PyTree = Any


class Taken(NamedTuple):
    """The arrays that a state takes from another model.

    arrays: by dotted name, of parameters and model state. new: the names of those that keep their own values.
    """

    arrays: dict[str, np.ndarray]
    new: tuple[str, ...]


def fitting(like: Model, source: Model) -> Taken:
    """The arrays of `source` that a model also has, with the same name and shape.

    like: arrays or `jax.ShapeDtypeStruct`, of one model.
    """
    wanted, given = _by_name(like), _by_name(source)
    fits = [name for name, leaf in wanted.items() if name in given and given[name].shape == leaf.shape]
    arrays = {name: np.asarray(given[name], wanted[name].dtype) for name in fits}
    return Taken(arrays, tuple(sorted(wanted.keys() - arrays.keys())))


def started_from(state: TrainState, taken: Taken) -> TrainState:
    """A state before its first step, with the arrays taken; a moving average starts from its parameters."""

    def replaced(tree: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(lambda path, leaf: taken.arrays.get(dotted(path), leaf), tree)

    params = replaced(state.params)
    return state._replace(
        params=params, model_state=replaced(state.model_state), ema=params if state.ema else {}
    )


def _by_name(model: Model) -> dict[str, Any]:
    trees = model.params, model.model_state
    return {dotted(path): leaf for tree in trees for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
