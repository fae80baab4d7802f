"""Shows a data set on one page: images, labels, pixels, duplicates and doubtful labels.

    mnist-jax explore --config=mnist --workdir=runs/mnist --into=mnist.html

With --workdir, a finished run on that set, the page also shows the labels that its model doubts.
Exit status: 0 done; 2 an error in the command.
"""

import pathlib

from mnist_jax.cli.parsing import Options, Parser, path
from mnist_jax.system.errors import UserError


def add_flags(parser: Parser) -> None:
    parser.add_config()
    parser.add_argument(
        "--into", type=path, help="file to write the page to; default: NAME.html, after the data set"
    )
    parser.add_argument("--workdir", type=path, help="folder of a finished run on the data set")


def run(options: Options) -> None:
    import numpy as np

    from mnist_jax import data
    from mnist_jax.config.validation import validate
    from mnist_jax.metrics.predictions import load_predictions
    from mnist_jax.storage.record import read_record
    from mnist_jax.storage.workdir import check_same_data
    from mnist_jax.studies.explore_page import write_data_page
    from mnist_jax.system.terminal import tell

    config = validate(options.config)
    dataset, predictions = data.load(config.data), None
    into = options.into or pathlib.Path(f"{dataset.name.replace('/', '-')}.html")
    if not into.parent.is_dir():
        raise UserError(f"--into={into} must be in a folder that exists (got {into.parent}); make it first")
    if workdir := options.workdir:
        check_same_data(read_record(workdir), dataset, workdir)
        _, predictions = load_predictions(workdir / "predictions.npz")
        if not np.array_equal(predictions.labels, dataset.test.labels):
            raise UserError(
                f"--workdir={workdir} must be a run with the test split of config.data.test (got another)"
            )
    try:
        write_data_page(into, dataset, config, predictions)
    except OSError as error:
        raise UserError(
            f"{into} cannot be written: {error.strerror or error}; give another --into"
        ) from error
    tell(f"{into}  {into.stat().st_size / 2**20:.1f} MiB")
