"""Data sets: three splits that share no example, decoded once, and brought to the device in a known order.

Door: `load(config.data)` returns a `Dataset`. A set is bundled (`sources`), prepared from its original files
(`canonical`) or by TFDS (`tfds_sets`), a folder of images (`folders`) or a table (`tables`).
"""

from mnist_jax.data.dataset import Dataset, load, module_of_data, version_of
from mnist_jax.data.sources import ROLES

__all__ = ["ROLES", "Dataset", "load", "module_of_data", "version_of"]
