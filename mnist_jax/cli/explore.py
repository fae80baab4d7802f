"""Shows a data set on one page: its images, labels, pixels, classes, duplicates and doubtful labels.

    python scripts/explore.py --config=configs/mnist.py --into=mnist.html
    python scripts/explore.py --config=configs/mnist.py --into=mnist.html --workdir=runs/mnist

--workdir: a finished run on that set, for the labels that its model doubts. --config.data.FIELD=VALUE as for
main.py. Exit status: 0 done; 2 a mistake in the command.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
from absl import flags

from mnist_jax.cli import command_line
from mnist_jax.system.errors import UserError

_CONFIG = command_line.define_config()
_INTO = flags.DEFINE_string("into", "", "The page to write; default: the set's name, .html.")
_WORKDIR = flags.DEFINE_string("workdir", "", "A finished run on the set.")


def main() -> None:
    command_line.parse(sys.argv, required=("config",))
    from mnist_jax import data
    from mnist_jax.config.fields import validate
    from mnist_jax.metrics.predictions import load_predictions
    from mnist_jax.storage.workdir import check_same_data, read_record
    from mnist_jax.studies.explore_page import write_page

    config = validate(_CONFIG.value)
    dataset, predictions = data.load(config.data), None
    path = pathlib.Path(_INTO.value or f"{dataset.name.replace('/', '-')}.html")
    if not path.parent.is_dir():
        raise UserError(f"--into={path}: there is no folder {path.parent}")
    if _WORKDIR.value:
        workdir = pathlib.Path(_WORKDIR.value)
        check_same_data(read_record(workdir), dataset, workdir)
        _, predictions = load_predictions(workdir / "predictions.npz")
        if not np.array_equal(predictions.labels, dataset.test.labels):
            raise UserError(f"{workdir} was tested on another split than config.data.test")
    try:
        write_page(path, dataset, config, predictions)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}; give another --into"
        ) from error
    print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    sys.exit(command_line.run(main))
