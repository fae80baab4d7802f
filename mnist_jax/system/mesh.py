"""How arrays lie on several devices: a mesh of one axis, over which each batch is split.

https://docs.jax.dev/en/latest/notebooks/Distributed_arrays_and_automatic_parallelization.html
"""

from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mnist_jax.system.errors import UserError

PyTree = Any

AXIS = "data"
_LEAST = 1024  # numbers of an array that is worth splitting


def make_mesh(config: ml_collections.FrozenConfigDict) -> Mesh:
    """The devices that share each batch: `config.mesh.data` of those of all processes, 0 for all.

    Raises UserError: there are fewer, or a batch cannot be shared evenly.
    """
    devices, asked = jax.devices(), config.mesh.data
    if asked > len(devices):
        raise UserError(
            f"config.mesh.data is {asked}, but there are {len(devices)} devices; 0 takes them all"
        )
    count, batch_size = asked or len(devices), config.train.batch_size
    if batch_size % count:
        raise UserError(
            f"config.train.batch_size is {batch_size}, which {count} devices cannot share evenly; take a "
            "multiple of their number, or fewer devices by config.mesh.data"
        )
    return Mesh(np.array(devices[:count]), (AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int) -> NamedSharding:
    """An array whose `axis` is shared out."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def state_shardings(mesh: Mesh, state: PyTree, *, shard_params: bool) -> PyTree:
    """How each array of a training state lies: whole on each device, or with `shard_params` in shares.

    In shares, as ZeRO has it (https://arxiv.org/abs/1910.02054), are parameters, their average and the
    optimizer's arrays, along the longest axis that can be shared evenly; what is small stays whole.
    """

    def sharding(leaf: jax.Array) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
        if not shard_params or mesh.size == 1 or leaf.size < _LEAST or not axes:
            return replicated(mesh)
        return split(mesh, max(axes, key=lambda axis: leaf.shape[axis]))

    return jax.tree.map(sharding, state)


def whole(tree: PyTree, mesh: Mesh) -> PyTree:
    """Arrays that may lie in shares, so that this process can read them whole."""
    if all(leaf.is_fully_addressable for leaf in jax.tree.leaves(tree)):
        return tree
    return jax.jit(lambda arrays: arrays, out_shardings=replicated(mesh))(tree)


def place(tree: PyTree, shardings: PyTree) -> PyTree:
    """Arrays that every process has alike, laid out; each process sends its devices their part."""

    def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])

    return jax.tree.map(put, tree, shardings)
