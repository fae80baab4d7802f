"""The layout of arrays on several devices: a mesh of one axis, over which each batch is split.

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
_LEAST = 1024  # the smallest size of an array that is split


def make_mesh(config: ml_collections.FrozenConfigDict) -> Mesh:
    """The devices that share each batch: `config.mesh.data` devices of all processes, 0 for all devices.

    Raises UserError: there are fewer, or they cannot share a batch evenly.
    """
    devices, asked = jax.devices(), config.mesh.data
    if asked > len(devices):
        raise UserError(
            f"config.mesh.data must be at most {len(devices)}, the number of devices (got {asked}); 0: all"
        )
    count, batch_size = asked or len(devices), config.train.batch_size
    if batch_size % count:
        raise UserError(
            f"config.train.batch_size must be a multiple of the {count} devices (got {batch_size}); "
            "change it, or use fewer devices with config.mesh.data"
        )
    return Mesh(np.array(devices[:count]), (AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int) -> NamedSharding:
    """An array split along `axis`."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def state_shardings(mesh: Mesh, state: PyTree, *, shard_params: bool) -> PyTree:
    """The layout of each array of a training state: whole on each device, or with `shard_params` split.

    As in ZeRO (https://arxiv.org/abs/1910.02054), parameters, their average and the optimizer's arrays are
    split, along the longest axis that can be split evenly; small arrays stay whole.
    """

    def sharding(leaf: jax.Array) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
        if not shard_params or mesh.size == 1 or leaf.size < _LEAST or not axes:
            return replicated(mesh)
        return split(mesh, max(axes, key=lambda axis: leaf.shape[axis]))

    return jax.tree.map(sharding, state)


def whole(tree: PyTree, mesh: Mesh) -> PyTree:
    """Arrays that can be split, as whole arrays that this process can read."""
    if all(leaf.is_fully_addressable for leaf in jax.tree.leaves(tree)):
        return tree
    return jax.jit(lambda arrays: arrays, out_shardings=replicated(mesh))(tree)


def place(tree: PyTree, shardings: PyTree) -> PyTree:
    """Puts arrays that are equal in all processes on devices; each process sends its devices their part."""

    def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])

    return jax.tree.map(put, tree, shardings)
