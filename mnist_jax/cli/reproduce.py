"""Trains a finished run again and compares the results.

    mnist-jax reproduce runs/digits

Prints how code, packages and machine differ from run.json, trains the same config in a new folder, and
reports whether parameters and metrics are bit-identical, equal within a tolerance, or different.
A run.json does not choose folders on this machine: if it names folders for its data, give them as flags.
Exit status: 0 bit-identical or within the tolerance; 1 different; 2 an error in the command or the run.
"""

from typing import Any

from mnist_jax.cli.parsing import Options, Parser, number, path


def add_flags(parser: Parser) -> None:
    from mnist_jax.config.fields import DATA_FOLDERS

    parser.add_argument("workdir", type=path, metavar="WORKDIR", help="folder of the run to reproduce")
    parser.add_argument("--into", type=path, help="folder of the new run; default: WORKDIR-reproduced")
    parser.add_argument(
        "--tolerance",
        type=number,
        default=0.002,
        help="allowed difference of a test metric; default: %(default)s",
    )
    for field in DATA_FOLDERS:
        parser.add_argument(f"--{field}", metavar="FOLDER", help=f"config.data.{field} on this machine")


def run(options: Options) -> int:
    from mnist_jax.config.fields import DATA_FOLDERS
    from mnist_jax.storage.record import read_record
    from mnist_jax.studies.reproduce import circumstances, config_of, run_again

    workdir = options.workdir.resolve()
    into = options.into or workdir.with_name(workdir.name + "-reproduced")
    record = read_record(workdir)
    config = config_of(record, {name: getattr(options, name) for name in DATA_FOLDERS})
    show_differences(circumstances(record))
    outcome = run_again(workdir, config, into)
    print()
    if outcome.identical:
        print("bit-identical: every parameter and every metric is the same")
        return 0
    for name, (then, now) in outcome.metrics.items():
        print(f"test {name}: was {then}, now {now}")
    gap = "cannot be compared" if outcome.parameters is None else f"differ by up to {outcome.parameters:.2g}"
    print(f"parameters {gap} (relative to the largest of their array)")
    within = outcome.largest <= options.tolerance
    verdict = "equal within the tolerance" if within else "different"
    print(f"{verdict}: test metrics differ by up to {outcome.largest:.2g}, tolerance {options.tolerance:g}")
    return 0 if within else 1


def show_differences(differences: list[Any]) -> None:
    if not differences:
        print("code, packages and machine are the same as in run.json")
        return
    from mnist_jax.system.terminal import Terminal, TextTable

    table = TextTable("differences from run.json")
    for column in ("what", "then", "now"):
        table.add_column(column, overflow="fold")
    for difference in differences:
        table.add_row(*difference)
    Terminal().print(table)
