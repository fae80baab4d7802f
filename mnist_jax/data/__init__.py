"""Data sets: three splits that share no example, decoded once, and brought to the device in a known order.

Door: `load(config.data)` returns a `Dataset`. A set is bundled (`sources`), prepared from its original files
(`canonical`) or by TFDS (`tfds_sets`), or a folder of images (`folders`).
"""

from mnist_jax.data.dataset import ROLES, Dataset, load, module_of_data

__all__ = ["ROLES", "Dataset", "load", "module_of_data"]
