"""Your own images in a table: .npz, CSV or Parquet.

    python main.py --config=configs/table.py --config.data.dir=FILE --workdir=runs/mine

.npz: arrays images and labels, or x_train, y_train, x_test and y_test. CSV or .csv.gz: columns label,
pixel0 and so on, or path and label of image files. Parquet: as Hugging Face stores images. FILE may be a
folder of tables named by their splits, such as train.csv and test.csv. Without a test split the
table is split 80/10/10, stratified; without a validation split, train is split 90/10. Images keep their
size; those of different sizes need `--config.data.image_size=64`, for which `--config.model.stem=2` is
faster. Of photographs, `--config.augment.flip` shows mirror images as well.
"""

import ml_collections

from configs import folder


def get_config() -> ml_collections.ConfigDict:
    config = folder.get_config()
    config.data.name = "table"
    config.data.image_size = 0  # as they are
    config.augment.shift = 2.0
    config.augment.flip = config.evaluation.flip = False
    config.augment.resized_crop = 0.5
    config.model.stem = 1
    return config
