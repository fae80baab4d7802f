"""MNIST to 99% in seconds: a small CNN that sees half of the images, once, by Muon.

    python main.py --config=configs/mnist_fast.py --workdir=runs/mnist_fast

It works on patches of 2 x 2 pixels, which makes a step 1.6 times as fast as one on single pixels, and starts
with filters that whiten the images, so that 230 steps suffice. README.md has its accuracy and time.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.train = "train[:-1000]"
    config.data.validation = "train[-1000:]"  # looked at once, at the end: there is nothing to choose
    config.model.stem = 2
    config.model.whitening_init = True
    config.model.widths = (24, 64)
    config.model.dense = 128
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 0.02
    config.optimizer.newton_schulz = 3  # all of Muon is a tenth of a step
    config.schedule.warmup = 0.123
    config.train.steps = 230
    config.train.label_smoothing = 0.1
    config.evaluation.every_steps = 230
    config.wandb.mode = "disabled"  # its process would take the time of half an epoch
    return config
