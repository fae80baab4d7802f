"""MNIST to 99% in seconds: a small CNN that sees little more than each image once.

    python main.py --config=configs/mnist_fast.py --workdir=runs/mnist_fast

Test accuracy 99.05% (mean of seeds 0 to 9, deviation 0.03%; seed 0: 99.11%) in 11 s on 2 cores of an x86-64
machine, from the start of the process to the report; 6 s of that are training.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.train = "train[:-1000]"
    config.data.validation = "train[-1000:]"  # looked at once, at the end: there is nothing to choose
    config.model.widths = (16, 32)
    config.model.dense = 64
    config.optimizer.learning_rate = 0.15
    config.schedule.warmup = 0.2
    config.train.batch_size = 64
    config.train.steps = 1150  # a quarter more than an epoch
    config.train.label_smoothing = 0.1
    config.evaluation.every_steps = 1150
    config.wandb.mode = "disabled"  # its process would take the time of half an epoch
    return config
