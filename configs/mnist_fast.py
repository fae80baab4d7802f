"""MNIST to 99% in seconds: a small CNN that sees two fifths of the images, once, by Muon.

    python main.py --config=configs/mnist_fast.py --workdir=runs/mnist_fast

Its pixels are patches of 2 x 2, which makes a step cheaper, and its first layer starts as filters that whiten
the images, so that 180 steps suffice. Test accuracy 99.16% (mean of seeds 0 to 9, deviation 0.04%) in 4.2 to
6.3 s, from the start of the process to its end, as busy as the machine was: 2 cores of an AMD EPYC (Zen 4).
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
    config.model.activation = "gelu"
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 0.025
    config.optimizer.newton_schulz = 3  # all of Muon is 6 to 9% of a step
    config.schedule.name = "linear"
    config.schedule.warmup = 0.123
    config.train.steps = 180
    config.train.label_smoothing = 0.1
    config.wandb.mode = "disabled"  # its process would take the time of half an epoch
    return config
