"""Kuzushiji-MNIST: ten cursive Japanese characters, in MNIST's format.

    python main.py --config=configs/kmnist.py --workdir=runs/kmnist

Accuracy and time are not measured yet: the machine that the other configs were measured on cannot
download the set.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "kmnist"
    config.data.mean = (0.1918,)
    config.data.std = (0.3483,)
    config.augment.shift = 2.0
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    config.model.norm = "batch"
    return config
