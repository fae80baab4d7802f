"""Fashion-MNIST: ten kinds of clothing from Zalando's catalogue, in MNIST's format.

    python main.py --config=configs/fashion_mnist.py --workdir=runs/fashion_mnist

Accuracy and time are not measured yet: the machine that the other configs were measured on cannot
download the set.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "fashion_mnist"
    config.data.mean = (0.2860,)
    config.data.std = (0.3530,)
    config.augment.shift = 2.0
    config.augment.flip = True
    config.model.norm = "batch"
    return config
