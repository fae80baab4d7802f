"""What `train` and `evaluate` share: the flags of a job of one or more processes."""

import os

from mnist_jax.cli.parsing import Options, Parser, integer, path


def add_flags(parser: Parser, *, config_required: bool = True) -> None:
    """Adds the config, the workdir, and how processes find each other."""
    parser.add_config(required=config_required)
    parser.add_argument(
        "--workdir",
        type=path,
        required=True,
        help="folder of the run: its record, history and checkpoints",
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="address of process 0, in a job of several processes; default: from the launcher",
    )
    parser.add_argument(
        "--num_processes", type=integer(1), metavar="N", help="number of processes of the job"
    )
    parser.add_argument("--process_id", type=integer(0), metavar="N", help="index of this process, from 0")
    parser.add_argument(
        "--git_commit", metavar="HASH", help="commit of this code, if it is not a git checkout"
    )


def join(options: Options) -> None:
    """Passes the commit on to the record, and joins the other processes of the job."""
    if options.git_commit:
        os.environ["GIT_COMMIT"] = options.git_commit
    from mnist_jax.system import distributed

    distributed.start(options.coordinator, options.num_processes, options.process_id, program=options.program)
