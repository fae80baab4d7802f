"""Trains every member of a sweep, or the trials of a search, each as a run of its own.

    mnist-jax sweep --config=mnist --sweep=report --workdir=runs/report

With --search=optuna --trials=30 the file has suggest(trial), a search space, and Optuna chooses the members.
The same command again resumes the sweep.
Exit status: 0 all members are finished; 1 some members failed; 2 an error in the command or the sweep; 130,
143 or 129 stopped by a signal, with the steps in flight saved.
"""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_jax.cli.parsing import Options, Parser, integer, one_of, path
from mnist_jax.system.errors import UserError
from mnist_jax.system.output import require_output

if TYPE_CHECKING:
    from mnist_jax.config.variants import Member


def add_flags(parser: Parser) -> None:
    parser.add_config()
    parser.add_argument(
        "--sweep",
        required=True,
        help="a sweep by name, such as report, or a file with get_sweep() or, for --search, suggest(trial)",
    )
    parser.add_argument(
        "--workdir",
        type=path,
        required=True,
        help="folder of the sweep, with a subfolder for each member",
    )
    parser.add_argument(
        "--jobs",
        type=integer(1),
        default=1,
        metavar="N",
        help="number of members to train at once, each with its share of the cores; default: %(default)s",
    )
    parser.add_argument("--member", help="train this member alone: its name, or its index from 0")
    parser.add_argument(
        "--vmap",
        action="store_true",
        help="train members that differ only in numbers together, as populations",
    )
    parser.add_argument(
        "--search",
        type=one_of("optuna"),
        metavar="optuna",
        help="search the space of the file's suggest(trial)",
    )
    parser.add_argument(
        "--trials", type=integer(1), default=20, metavar="N", help="trials of a search; default: %(default)s"
    )
    parser.add_argument(
        "--list", action="store_true", help="print the members and their changes, and train nothing"
    )


def run(options: Options) -> int:
    from mnist_jax.cli.config_flag import find
    from mnist_jax.config.variants import called, flags_of, load_file, members_of
    from mnist_jax.studies.runner import run_sweep
    from mnist_jax.system.terminal import tell

    file = str(find(options.sweep, "--sweep", "sweeps"))
    if options.search:
        if options.list or options.vmap or options.member is not None:
            raise UserError(
                "--search must be given without --list, --member and --vmap; it chooses the members"
            )
        return search(options, file)
    members = members_of(options.config, called(load_file(file, "get_sweep")))
    if options.vmap:
        from mnist_jax.config.population import grouped  # which needs JAX

        members = grouped(options.config, members)
    if options.member is not None:
        members = [chosen(members, options.member)]
    if options.list:
        require_output()
        for member in members:
            tell(f"{member.name}: {shlex.join(flags_of(member.overrides))}")
        return 0
    if not run_sweep(members, options.workdir, base_flags(options), options.jobs):
        return 1
    print_compare_command(options)
    return 0


def search(options: Options, file: str) -> int:
    from mnist_jax.config.variants import load_file
    from mnist_jax.system.terminal import tell

    try:
        from mnist_jax.studies.search import run_search
    except ImportError as error:
        raise UserError(f"--search=optuna must have Optuna ({error}); pip install optuna") from error
    suggest, shared = load_file(file, "suggest"), base_flags(options)
    best = run_search(
        options.config, suggest, options.workdir, shared, jobs=options.jobs, trials=options.trials
    )
    score = f"validation {options.config.checkpoint.metric} {best.value:.4f}"
    tell(f"best     {options.workdir / best.name}  {score}")
    print_compare_command(options)
    return 0


def print_compare_command(options: Options) -> None:
    from mnist_jax.system.terminal import tell

    tell(f"compare  mnist-jax compare {shlex.quote(str(options.workdir))}/*")


def base_flags(options: Options) -> list[str]:
    """The flags of `train` that all members share; in W&B the members are a group."""
    from mnist_jax.config.variants import flags_of

    shared = {"wandb.group": options.workdir.name, **options.config_changes}
    imports = [f"--import={name}" for name in options.imports]
    return [f"--config={options.config_name}", *imports, *flags_of(shared)]


def chosen(members: "Sequence[Member]", asked: str) -> "Member":
    """The member with the name or index of `--member`."""
    for index, member in enumerate(members):
        if asked in (member.name, str(index)):
            return member
    raise UserError(
        f"--member={asked} must be a member of the sweep; --list prints its {len(members)} members"
    )
