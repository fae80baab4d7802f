"""Measures this project's speed, beside that of PyTorch and Keras where they are installed.

    python scripts/benchmark throughput --peers
    python scripts/benchmark accuracy --config=configs/mnist_fast.py --repeats=10
    python scripts/benchmark startup
    python scripts/benchmark input --config=configs/mnist.py
    python scripts/benchmark evaluation --config=configs/mnist.py
    python scripts/benchmark population --config=configs/mnist_fast.py
    python scripts/benchmark tracking

throughput: training images a second on a reference network (two convolutions of 32 and 64 channels, each
with relu and average pooling, dense layers of 256 and 10; SGD with momentum), the programs in turns, each
time in a new process and warmed up. accuracy: whole runs with seeds 0, 1, 2, ..., their test accuracy
and time. startup: from `python main.py` to its first step done, with the compile cache warm. input: what
comes before the model, each part alone. evaluation: the forward pass over the test split, and its metrics.
population: a training step of 1, 4 and 16 models at once.
tracking: the wall time of whole runs with W&B off and offline, in turns. Figures are the median of --repeats
and the range, of accuracies the mean and deviation; where the range is wide, the machine was too busy to
tell. --json: one object on standard output instead of the table. Flags such as --config.train.epochs=1 change
the config.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import statistics
import sys
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import ml_collections
from benchmark import measures, throughput
from rich.console import Console
from rich.table import Table

from mnist_jax.cli import config_flag, exits
from mnist_jax.config.validation import validate
from mnist_jax.storage.provenance import describe_environment
from mnist_jax.system import devices, terminal

Row = tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=list(MEASUREMENTS))
    parser.add_argument("--repeats", type=int, default=5, help="of each; default: %(default)s")
    parser.add_argument("--batch", type=int, default=128, help="throughput: images a step; %(default)s")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="throughput: of what is multiplied; %(default)s",
    )
    parser.add_argument(
        "--steps", type=int, default=200, help="throughput, population: a repeat; %(default)s"
    )
    parser.add_argument("--peers", action="store_true", help="with PyTorch and Keras, where installed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--config", default="configs/digits.py", help="not of throughput; default: %(default)s"
    )
    arguments, overrides = parser.parse_known_args()
    if unknown := [flag for flag in overrides if not flag.startswith("--config.")]:
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    if arguments.repeats < 1:
        parser.error("--repeats has to be at least 1")
    arguments.overrides = overrides
    terminal.quiet_libraries()
    with leaving_memory():
        devices.prepare_host()
    found, rows = MEASUREMENTS[arguments.what](arguments)
    environment = describe_environment()
    machine = describe_machine(environment)
    if arguments.json:
        print(json.dumps({**found, "machine": machine, "accelerator": environment["accelerator"]}))
    else:
        show(arguments.what, rows, machine)
    return 0


@contextlib.contextmanager
def leaving_memory() -> Iterator[None]:
    """JAX, begun in here, takes no more of a GPU's memory than it needs: what is measured wants some."""
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def measure_throughput(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    programs = throughput.installed(peers=arguments.peers)
    found = throughput.throughput(
        programs,
        batch_size=arguments.batch,
        dtype=arguments.dtype,
        steps=arguments.steps,
        repeats=arguments.repeats,
    )
    peak, flops = throughput.matmul_peak(arguments.dtype), throughput.flops_per_image()
    speeds = {name: one.images_per_second for name, one in found.items()}
    ours = speeds["mnist_jax"]
    peers = [name for name in speeds if not name.startswith("mnist_jax")]
    best = max((speeds[name].median for name in peers), default=None)

    def described(name: str) -> dict[str, Any]:
        return {
            "images_per_second": speeds[name].median,
            **speeds[name]._asdict(),
            "noisy": speeds[name].noisy,
            "peak_memory_bytes": found[name].peak_memory_bytes,
        }

    rows = [
        (
            name,
            *shown(one.images_per_second, "{:,.0f}"),
            f"{ours.median / one.images_per_second.median:.2f}",
            f"{one.peak_memory_bytes / 2**30:.2f} GiB",
        )
        for name, one in found.items()
    ]
    share = f"{flops * ours.median / peak:.0%}"
    rows.append(("of a matrix product's FLOP/s", share, f"{flops / 1e6:.1f} MFLOP an image", "", ""))
    return {
        "mnist_jax": described("mnist_jax"),
        "peers": {name: described(name) for name in peers},
        "best_peer_ratio": ours.median / best if best else None,
        "plain_jax": described("mnist_jax plain"),
        "flops_per_image": flops,
        "flop_per_second": flops * ours.median,
        "matmul_flop_per_second": peak,
    }, [("program", "images/s", "range", "mnist_jax / it", "host memory"), *rows]


def measure_accuracy(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    seeds = {str(seed): [f"--config.seed={seed}"] for seed in range(arguments.repeats)}
    run_flags = config_flags(arguments, "--config.wandb.mode=disabled")
    measures.runs(run_flags, {"warm": seeds["0"]}, 1)
    runs = measures.runs(run_flags, seeds, 1)
    accuracies = [100 * runs[seed][0][1]["metrics"]["test"]["accuracy"] for seed in seeds]
    wall = measures.timing([runs[seed][0][0] for seed in seeds])
    training = measures.timing([runs[seed][0][1]["train_seconds"] for seed in seeds])
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies) if len(seeds) > 1 else 0.0
    rows = [
        (
            "test accuracy",
            f"{mean:.3f}% +- {deviation:.3f}%",
            f"{min(accuracies):.2f} to {max(accuracies):.2f}%",
        ),
        ("whole process, seconds", *shown(wall, "{:.2f}")),
        ("of that training", *shown(training, "{:.2f}")),
    ]
    return {
        "accuracies": accuracies,
        "mean": mean,
        "deviation": deviation,
        "wall_seconds": wall._asdict(),
        "train_seconds": training._asdict(),
    }, [(f"seeds 0 to {len(seeds) - 1}", "", "range"), *rows]


def measure_startup(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    short = ("--config.train.steps=20", "--config.schedule.unit=steps", "--config.schedule.warmup=2")
    run_flags = config_flags(arguments, *short, "--config.wandb.mode=disabled")
    found = measures.startup(run_flags, arguments.repeats)
    rows = [(name, *shown(one, "{:.2f}")) for name, one in found.items()]
    return as_json(found), [("until the end of", "seconds", "range"), *rows]


def measure_input(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    return rates(measures.input_pipeline(read_config(arguments), arguments.repeats))


def measure_evaluation(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    return rates(measures.evaluation(read_config(arguments), arguments.repeats))


def measure_population(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    found = measures.population(read_config(arguments), (1, 4, 16), arguments.steps, arguments.repeats)
    rows = [
        (
            str(size),
            *shown(one, "{:.2f}"),
            f"{one.median / found[1].median:.2f}",
            f"{one.median / found[1].median / size:.2f}",
        )
        for size, one in found.items()
    ]
    header = ("models at once", "ms a step", "range", "times one", "times one, for each model")
    return {str(size): one._asdict() for size, one in found.items()}, [header, *rows]


def measure_tracking(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    modes = {mode: [f"--config.wandb.mode={mode}"] for mode in ("disabled", "offline")}
    runs = measures.runs(config_flags(arguments), modes, arguments.repeats + 1)
    seconds = {mode: [wall for wall, _ in runs[mode][1:]] for mode in modes}  # the first warms
    timings = {mode: measures.timing(seconds[mode]) for mode in modes}
    pairs = zip(seconds["offline"], seconds["disabled"], strict=True)
    extra = measures.timing([with_it - without for with_it, without in pairs])
    rows = [(f"W&B {mode}", *shown(one, "{:.1f}")) for mode, one in timings.items()]
    rows.append(("offline costs", f"{extra.median:.1f}", f"{extra.low:.1f} to {extra.high:.1f}"))
    return {**as_json(timings), "extra_seconds": extra._asdict()}, [("", "seconds", "range"), *rows]


def config_flags(arguments: argparse.Namespace, *defaults: str) -> list[str]:
    """The config's file, what the measurement changes of it, and what the user does, which comes last."""
    return [f"--config={arguments.config}", *defaults, *arguments.overrides]


def read_config(arguments: argparse.Namespace) -> ml_collections.FrozenConfigDict:
    config, _ = config_flag.read(config_flags(arguments))
    return validate(config.fields)


def rates(found: dict[str, measures.Timing]) -> tuple[dict[str, Any], list[Row]]:
    rows = [(name, *shown(one, "{:,.0f}")) for name, one in found.items()]
    return as_json(found), [("", "images/s", "range"), *rows]


def as_json(found: dict[str, measures.Timing]) -> dict[str, dict[str, float]]:
    return {name: one._asdict() for name, one in found.items()}


def shown(timing: measures.Timing, form: str) -> tuple[str, str]:
    noise = " (too noisy to tell)" if timing.noisy else ""
    return form.format(timing.median), f"{form.format(timing.low)} to {form.format(timing.high)}{noise}"


def describe_machine(environment: dict[str, Any]) -> str:
    packages = environment["packages"]
    names = ("jax", "flax", "torch", "keras", "tensorflow", "tensorflow_cpu")
    versions = [f"{name} {packages[name]}" for name in names if name in packages]
    accelerator = environment["accelerator"]
    return ", ".join(
        [
            f"{environment['cpu']} with {environment['cores']} cores",
            f"{accelerator['count']} x {accelerator['kind']}",
            f"Python {platform.python_version()}",
            *versions,
        ]
    )


def show(what: str, rows: list[Row], machine: str) -> None:
    table = Table(title=what, caption=machine)
    for column, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if column else "left")
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)


MEASUREMENTS = {
    "throughput": measure_throughput,
    "accuracy": measure_accuracy,
    "startup": measure_startup,
    "input": measure_input,
    "evaluation": measure_evaluation,
    "population": measure_population,
    "tracking": measure_tracking,
}

if __name__ == "__main__":
    sys.exit(exits.status_of("benchmark", main))
