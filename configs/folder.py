"""Images of your own, in a folder for each class: PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE.

    python main.py --config=configs/folder.py --config.data.dir=PATH --workdir=runs/mine

Images of any size are fitted and cropped to 32 pixels a side; `--config.data.image_size=64` keeps more of
them. The set is grey where all its images are. PATH/val/CLASS/IMAGE chooses the checkpoint; without it a
tenth of train does, of each class its share. PATH/CLASS/IMAGE is split 80/10/10. Splits of other names:
`--config.data.train=NAME --config.data.validation="NAME[90%:]" --config.data.test=NAME`.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "folder"
    config.data.train = config.data.validation = config.data.test = ""  # by the folders that there are
    config.data.image_size = 32
    config.data.mean = (0.5,)
    config.data.std = (0.25,)
    config.augment.shift = 2.0
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    config.model.norm = "group"
    config.train.batch_size = 64
    config.train.epochs = 20
    config.train.ema_decay = 0.99
    config.checkpoint.metric = "loss"  # of few images, accuracy has too few values to choose by
    return config
