"""MNIST to 99% in seconds: a small CNN that sees three quarters of the images, once, by Muon.

    python main.py --config=configs/mnist_fast.py --workdir=runs/mnist_fast

Test accuracy 99.13% (mean of seeds 0 to 9, deviation 0.06%) in 10 to 13 s on 2 cores of an x86-64 machine,
from the start of the process to the report; 6 s of that are training.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.train = "train[:-1000]"
    config.data.validation = "train[-1000:]"  # looked at once, at the end: there is nothing to choose
    config.model.widths = (16, 32)
    config.model.dense = 64
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 0.012
    config.optimizer.newton_schulz = 3  # all of Muon is 2% of a step
    config.schedule.warmup = 0.123
    config.train.steps = 350
    config.train.label_smoothing = 0.1
    config.evaluation.every_steps = 350
    config.wandb.mode = "disabled"  # its process would take the time of half an epoch
    return config
