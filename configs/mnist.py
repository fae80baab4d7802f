"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28 pixels.

    python main.py --config=configs/mnist.py --workdir=runs/mnist

Test accuracy 99.47% (mean of seeds 0 to 2, deviation 0.04%; seed 0: 99.51%) in 2 to 3 minutes on 2 cores of
an x86-64 machine, start-up included.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.augment.shift = 2.0
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    return config
