"""Evaluates a checkpoint of a run on the test split.

    mnist-jax evaluate --workdir=runs/digits

The config is that of the run, in its run.json; with --config it must be the same.
Exit status: 0 done; 2 an error in the command, config, data or workdir; 130, 143 or 129 stopped by a signal.
"""

from mnist_jax.cli import job
from mnist_jax.cli.parsing import Options, Parser


def add_flags(parser: Parser) -> None:
    job.add_flags(parser, config_required=False)
    parser.add_checkpoint()


def run(options: Options) -> None:
    job.join(options)
    from mnist_jax.evaluation import evaluate_checkpoint

    evaluate_checkpoint(options.workdir, options.config, step=options.checkpoint)
