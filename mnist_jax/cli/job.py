"""What `train` and `evaluate` share: the flags of a job of one or more processes."""

import os

from mnist_jax.cli.parsing import Options, Parser, integer, path


def add_flags(parser: Parser) -> None:
    """Adds the config, the workdir, and how processes find each other."""
    parser.add_config()
    parser.add_argument(
        "--workdir",
        type=path,
        required=True,
        help="the folder of the run: its record, history and checkpoints",
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0 of a job of several; default: what a launcher sets",
    )
    parser.add_argument(
        "--num_processes", type=integer(1), metavar="N", help="how many processes the job has"
    )
    parser.add_argument("--process_id", type=integer(0), metavar="N", help="which of them this is, from 0")
    parser.add_argument(
        "--git_commit", metavar="HASH", help="of this code, where there is no git checkout of it"
    )


def join(options: Options) -> None:
    """Takes the commit, and joins the other processes of the job."""
    if options.git_commit:
        os.environ["GIT_COMMIT"] = options.git_commit
    from mnist_jax.system import distributed

    distributed.start(options.coordinator, options.num_processes, options.process_id, program=options.program)
