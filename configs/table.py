"""Images of your own in a table: .npz, CSV or Parquet.

    python main.py --config=configs/table.py --config.data.dir=FILE --workdir=runs/mine

.npz: arrays images and labels, or x_train, y_train, x_test and y_test. CSV or .csv.gz: columns label,
pixel0 and so on, or path and label of image files. Parquet: as Hugging Face stores images. FILE may be a
folder of tables that are named by their splits, such as train.csv and test.csv. Without a test split the
table is split 80/10/10, of each class its share; without one for validation, train is split 90/10.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.name = "table"
    config.data.train = config.data.validation = config.data.test = ""  # by the splits that there are
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
