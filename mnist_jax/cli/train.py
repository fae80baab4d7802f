"""Trains an image classifier.

    mnist-jax train --config=digits --workdir=runs/digits

The same command again resumes a stopped run.
Exit status: 0 done; 1 another process of the job was lost; 2 an error in the command, config, data or
workdir; 130, 143 or 129 stopped by Ctrl-C, SIGTERM or a closed terminal, with the step in flight saved.
"""

from mnist_jax.cli import job
from mnist_jax.cli.parsing import Options, Parser, one_of
from mnist_jax.system.imports import without_collection


def add_flags(parser: Parser) -> None:
    job.add_flags(parser)
    parser.add_argument(
        "--resume",
        type=one_of("auto", "force"),
        default="auto",
        metavar="auto|force",
        help="force: resume although the config or the data changed; default: %(default)s",
    )
    parser.add_argument(
        "--summary", action="store_true", help="print the layers of the model and train nothing"
    )
    parser.excuse("--workdir", "--summary")


def run(options: Options) -> None:
    if options.summary:
        print_summary(options)
        return
    with without_collection():
        job.join(options)
        from mnist_jax.reporting.wandb.mode import start_asking

        start_asking(options.config.get("wandb", {}), ahead=True)  # it answers while JAX is imported
        from mnist_jax.loop import train_and_evaluate

    train_and_evaluate(options.config, options.workdir, resume=options.resume)


def print_summary(options: Options) -> None:
    """Prints the table of layers for the images of the data set."""
    from mnist_jax import data
    from mnist_jax.config.validation import validate
    from mnist_jax.data.normalization import normalized
    from mnist_jax.models import require_model
    from mnist_jax.reporting.layers import layers, print_layers
    from mnist_jax.system import devices

    config = validate(options.config)
    require_model(config.model.name)
    devices.prepare_host()
    dataset = data.load(config.data)
    config = normalized(config, dataset.mean, dataset.std)
    title = f"{config.model.name} for {dataset.name}"
    print_layers(layers(config, dataset.image_shape, len(dataset.class_names)), title)
