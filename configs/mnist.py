"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28 pixels.

python main.py --config=configs/mnist.py --workdir=runs/mnist
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.augment.shift = 2.0
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    return config
