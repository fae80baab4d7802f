"""Trains an image classifier.

    mnist-jax train --config=digits --workdir=runs/digits

The same command again resumes a stopped run.
Exit status: 0 done; 1 another process of the job was lost; 2 an error in the command, config, data or
workdir; 130, 143 or 129 stopped by Ctrl-C, SIGTERM or a closed terminal, with the step in flight saved.
"""

from mnist_jax.cli import job
from mnist_jax.cli.parsing import Options, Parser, one_of


def add_flags(parser: Parser) -> None:
    job.add_flags(parser)
    parser.add_argument(
        "--resume",
        type=one_of("auto", "force"),
        default="auto",
        metavar="auto|force",
        help="force: also with another config or other data than before; default: %(default)s",
    )


def run(options: Options) -> None:
    job.join(options)
    from mnist_jax.reporting.wandb.mode import start_asking

    start_asking(options.config.get("wandb", {}), ahead=True)  # it answers while JAX is imported
    from mnist_jax.loop import train_and_evaluate

    train_and_evaluate(options.config, options.workdir, resume=options.resume)
