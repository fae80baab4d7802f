"""CIFAR-10: 50,000 training and 10,000 test photographs of ten kinds of things, 32 x 32 pixels in colour.

    python main.py --config=configs/cifar10.py --workdir=runs/cifar10

Test accuracy 89.0% (seed 0 alone) in 16 minutes on 2 cores of an x86-64 machine with AMX, on a copy of the
set that was stored as JPEG: that machine cannot download the original. On a CPU with neither AMX
nor AVX512_BF16 add `--config.dtype=float32`; it takes longer there.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.dtype = "bfloat16"
    config.data.name = "cifar10"
    config.data.train = "train[:-2000]"
    config.data.validation = "train[-2000:]"
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.std = (0.2470, 0.2435, 0.2616)
    config.augment.crop = 2
    config.augment.flip = True
    config.model.name = "airbench"
    config.model.widths = (64, 128, 256)
    config.model.activation = "gelu"
    config.model.pooling = "max"
    config.model.norm = "batch"
    config.optimizer.learning_rate = 0.2
    config.optimizer.weight_decay = 5e-4
    config.train.epochs = 10
    config.train.label_smoothing = 0.1
    config.train.ema_decay = 0.995
    config.evaluation.flip = True
    config.evaluation.shift = 1
    config.evaluation.every_steps = 1875
    return config
