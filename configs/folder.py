"""Images of your own, in a folder for each class: PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE.

    python main.py --config=configs/folder.py --config.data.dir=PATH --workdir=runs/mine

PATH/val/CLASS/IMAGE chooses the checkpoint; without it a tenth of train does, stratified. PATH/CLASS/IMAGE is
split 80/10/10. Splits of other names:
`--config.data.train=NAME --config.data.validation="NAME[90%:]" --config.data.test=NAME`.

Images of any size are fitted into 64 x 64 pixels. The set is grey where all its images are. Training shows
mirror images and parts of images: add `--config.augment.flip=False` where left and right matter, as for
letters, and `--config.augment.resized_crop=0` where a part does not show the class.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "folder"
    config.data.train = config.data.validation = config.data.test = ""  # by the folders that there are
    config.data.image_size = 64
    config.data.mean = config.data.std = ()
    config.augment.shift = 6.0
    config.augment.rotation = 15.0
    config.augment.scale = 0.2
    config.augment.flip = True
    config.augment.resized_crop = 0.35
    config.augment.brightness = config.augment.contrast = config.augment.saturation = 0.4
    config.augment.mixup = 0.2
    config.model.name = "airbench"
    config.model.widths = (32, 64, 128)
    config.model.stem = 2
    config.model.pooling = "max"
    config.model.norm = "batch"
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 0.02
    config.optimizer.weight_decay = 0.05
    config.schedule.name = "cosine"
    config.schedule.warmup = 0.1
    config.train.batch_size = 64
    config.train.epochs = 10
    config.train.min_steps = 1000
    config.train.label_smoothing = 0.1
    config.train.ema_decay = 0.99
    config.evaluation.flip = True
    config.evaluation.min_steps = 100
    return config
