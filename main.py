"""Trains and evaluates an image classifier.

    python main.py --config=configs/digits.py --workdir=runs/digits --config.train.epochs=10

The same command again goes on where it stopped. Exit status: 0 done; 2 a mistake in the command, config, data
or workdir, told in one line; 130, 143 or 129 stopped by Ctrl-C, SIGTERM or a closed terminal, with the step
in flight saved.
"""

import os
import sys

from absl import flags

from mnist_jax.cli import command_line

command_line.define_config()
flags.DEFINE_string("workdir", None, "The run's folder, for its record, history and checkpoints.")
flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "evaluate: a checkpoint of the workdir, on test.")
flags.DEFINE_integer("checkpoint", None, "The step to evaluate; without it, the best.", lower_bound=0)
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0 of a job of several; launchers tell it too.")
flags.DEFINE_integer("num_processes", None, "How many processes the job has.", lower_bound=1)
flags.DEFINE_integer("process_id", None, "Which of them this is, from 0 on.", lower_bound=0)
flags.DEFINE_string("git_commit", None, "The commit of this code, where it is not in a git checkout.")
flags.DEFINE_enum("resume", "auto", ["auto", "force"], "force: go on although config or data changed.")


def main() -> None:
    command_line.parse(sys.argv, required=("config", "workdir"))
    if flags.FLAGS.git_commit:
        os.environ["GIT_COMMIT"] = flags.FLAGS.git_commit
    # Imported here, so that mistakes in flags show at once.
    from mnist_jax.system import distributed

    distributed.start(flags.FLAGS.coordinator, flags.FLAGS.num_processes, flags.FLAGS.process_id)
    if flags.FLAGS.mode == "evaluate":
        from mnist_jax.evaluate import evaluate_checkpoint

        evaluate_checkpoint(flags.FLAGS.config, flags.FLAGS.workdir, step=flags.FLAGS.checkpoint)
    else:
        from mnist_jax.train import train_and_evaluate

        train_and_evaluate(flags.FLAGS.config, flags.FLAGS.workdir, resume=flags.FLAGS.resume)


if __name__ == "__main__":
    sys.exit(command_line.run(main))
