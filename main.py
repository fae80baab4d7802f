"""Trains and evaluates an image classifier.

    python main.py --config=configs/digits.py --workdir=runs/digits

The same command again resumes a stopped run.
`python -m mnist_jax` lists further commands: predict, compare, export, demo and others.
Exit status: 0 done; 1 another process of the job was lost; 2 an error in the command, config, data or
workdir; 130, 143 or 129 stopped by Ctrl-C, SIGTERM or a closed terminal, with the step in flight saved.
"""

import sys

from mnist_jax.cli import evaluate, train
from mnist_jax.cli.commands import Command, execute
from mnist_jax.cli.parsing import Options, Parser, one_of


def add_flags(parser: Parser) -> None:
    train.add_flags(parser)
    parser.add_argument(
        "--mode",
        type=one_of("train", "evaluate"),
        default="train",
        metavar="train|evaluate",
        help="evaluate: evaluate a checkpoint of the workdir on test; default: %(default)s",
    )
    parser.excuse("--config", "--mode=evaluate")
    parser.add_checkpoint()


def run(options: Options) -> None:
    (evaluate if options.mode == "evaluate" else train).run(options)


if __name__ == "__main__":
    sys.exit(execute("main.py", Command(__doc__, add_flags, run), sys.argv[1:]))
