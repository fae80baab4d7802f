"""Data sets: three splits that share no example, decoded once, and fed to the device in a known order.

Door: `load(config.data)` returns a `Dataset`. Its sources: the bundled digits
(`sources`), original files (`canonical`), TFDS (`tfds_sets`), folders of images (`folders`) and tables
(`tables`).
"""

from mnist_jax.data.dataset import Dataset, load, module_of_data, version_of
from mnist_jax.data.sources import ROLES

__all__ = ["ROLES", "Dataset", "load", "module_of_data", "version_of"]
