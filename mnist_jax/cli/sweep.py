"""Runs every member of a sweep as a run of its own.

    python scripts/sweep.py --config=configs/mnist.py --sweep=configs/sweeps/report.py --workdir=runs/report

With --search=optuna --trials=30 the file has a space instead, suggest(trial), and Optuna chooses the members.
The same command again goes on with what is left. Fields of the base config can be changed as in main.py:
--config.train.epochs=3. Exit status: 0 all members are finished; 1 some failed; 2 a mistake in the command or
the sweep, told in one line; 130, 143 or 129 stopped by a signal, with the steps in flight saved.
"""

import pathlib
import shlex
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from absl import flags
from ml_collections import config_flags

from mnist_jax.cli import command_line
from mnist_jax.system.errors import UserError

command_line.define_config()
flags.DEFINE_string(
    "sweep", None, "A file of configs/sweeps/, with get_sweep() or, for --search, suggest(trial)."
)
flags.DEFINE_string("workdir", None, "The sweep's folder, which has one for each member.")
flags.DEFINE_integer("jobs", 1, "How many members run side by side, each with its share of the cores.", 1)
flags.DEFINE_string("member", None, "Run this member alone: its name, or its place from 0 on.")
flags.DEFINE_bool("vmap", False, "Train members that differ in numbers alone at once, as populations.")
flags.DEFINE_enum("search", None, ["optuna"], "Search the space that the file's suggest(trial) describes.")
flags.DEFINE_integer("trials", 20, "How many trials a search has in all.", 1)
flags.DEFINE_bool("list", False, "Print the members and their changes, and run nothing.")


def main() -> int:
    command_line.parse(sys.argv, required=("config", "sweep", "workdir"))
    from mnist_jax.config.variants import called, flags_of, load_file, members_of
    from mnist_jax.studies.runner import run_sweep

    options, workdir = flags.FLAGS, pathlib.Path(flags.FLAGS.workdir)
    if options.search:
        if options.list or options.vmap or options.member is not None:
            raise UserError("--search chooses the members itself; leave out --list, --member and --vmap")
        return search(options, workdir)
    members = members_of(options.config, called(load_file(options.sweep, "get_sweep")))
    if options.vmap:
        from mnist_jax.config.population import grouped  # which needs JAX

        members = grouped(options.config, members)
    if options.member is not None:
        members = [chosen(members, options.member)]
    if options.list:
        for member in members:
            print(f"{member.name}: {shlex.join(flags_of(member.overrides))}")
        return 0
    return 0 if run_sweep(members, workdir, base_flags(workdir), options.jobs) else 1


def search(options, workdir: pathlib.Path) -> int:
    from mnist_jax.config.variants import load_file

    try:
        from mnist_jax.studies.search import run_search
    except ImportError as error:
        raise UserError(f"--search=optuna needs Optuna ({error}); pip install '.[search]'") from error
    suggest = load_file(options.sweep, "suggest")
    shared = base_flags(workdir)
    best = run_search(options.config, suggest, workdir, shared, jobs=options.jobs, trials=options.trials)
    print(f"best  {workdir / best.name}  validation {options.config.checkpoint.metric} {best.value:.4f}")
    return 0


def base_flags(workdir: pathlib.Path) -> list[str]:
    """The flags of main.py that all members share; in W&B they are a group."""
    from mnist_jax.config.variants import flags_of

    config = flags.FLAGS["config"]
    shared = {"wandb.group": workdir.name, **config_flags.get_override_values(config)}
    return [f"--config={config_flags.get_config_filename(config)}", *flags_of(shared)]


def chosen(members, asked: str):
    """The member that `--member` means."""
    for place, member in enumerate(members):
        if asked in (member.name, str(place)):
            return member
    raise UserError(f"--member={asked} is not in the sweep, which has {len(members)}: --list shows them")


if __name__ == "__main__":
    sys.exit(command_line.run(main))
