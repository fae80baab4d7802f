"""Measures the speed of this project, beside PyTorch and Keras where they are installed.

    python scripts/benchmark throughput --peers
    python scripts/benchmark accuracy --config=configs/mnist_fast.py --repeats=10
    python scripts/benchmark startup
    python scripts/benchmark input --config=configs/mnist.py
    python scripts/benchmark evaluation --config=configs/mnist.py
    python scripts/benchmark population --config=configs/mnist_fast.py
    python scripts/benchmark tracking
    python scripts/benchmark command --command="python other_program.py"
    python scripts/benchmark startup --save=docs/benchmarks.json
    python scripts/benchmark suite --minutes=8 --save=gpu.json
    python scripts/benchmark tables --save=gpu.json

throughput: training images per second on a reference network: two convolutions of 32 and 64 channels, each
with relu and average pooling, dense layers of 256 and 10, SGD with momentum. The programs take turns, each
time in a new process that is warmed up. accuracy: whole runs with seeds 0, 1, 2, ...: test accuracy and time.
A run before them fills the compilation cache; with --cold, each of them has an empty one instead. startup:
from `python main.py` to the end of the first step, with a warm compilation cache. input: what precedes the
model, each part alone. evaluation: the forward pass over the test split, and the metrics. population: a
training step of 1, 4 and 16 models at once. tracking: the wall time of whole runs with W&B off and offline,
interleaved. command: the wall time of a command. suite: all that a GPU is measured by, within --minutes.
tables: the results of a file as Markdown.

A figure is the median of --repeats with the range; an accuracy is the mean with the standard deviation. A
range of more than 15% of the median is marked as noisy. --json prints one object in place of the table.
--save adds the result, with commit, machine and versions, to a JSON file; it replaces a result of the same
command, machine and jaxlib. `make docs` makes the tables of the docs from docs/benchmarks.json. Flags such as
--config.train.epochs=1 change the config.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import statistics
import sys
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import ml_collections
from benchmark import measures, pages, results, suite, tables, throughput
from benchmark.tables import Measured, as_json, shown

from mnist_jax.cli import config_flag, exits
from mnist_jax.config.validation import validate
from mnist_jax.system import devices, terminal
from mnist_jax.system.errors import UserError

# Flags that say how a result is shown, or where the data is.
IRRELEVANT = (
    "--save=",
    "--json",
    *(f"--config.data.{name}=" for name in ("data_dir", "manual_dir", "cache_dir")),
)


def main() -> int:
    arguments = parse()
    if arguments.what == "tables":
        print(pages.markdown(results.read(arguments.save)), end="")
        return 0
    if arguments.what == "suite":
        lines = suite.run(
            arguments.minutes,
            arguments.save,
            arguments.overrides,
            small=arguments.small,
            rival=arguments.command,
        )
        for line in lines:
            print(line, flush=True)
        return 0
    terminal.quiet_libraries()
    with leaving_memory():
        devices.prepare_host()
    commit = tables.commit()  # before the measurement, during which it may change
    found = tables.entry(MEASUREMENTS[arguments.what](arguments), command(arguments.what), commit)
    if arguments.save:
        results.save(arguments.save, found)
    if arguments.json:
        print(json.dumps(found))
    else:
        tables.show(arguments.what, found)
    return 0


def parse() -> argparse.Namespace:
    """The arguments; `overrides` are the flags of the config."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", choices=[*MEASUREMENTS, "suite", "tables"])
    add("--repeats", type=int, default=5, help="of each; default: %(default)s")
    add("--batch", type=int, default=128, help="throughput: images per step; default: %(default)s")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="throughput: dtype of products")
    add("--steps", type=int, default=200, help="throughput, population: per repeat; default: %(default)s")
    add("--peers", action="store_true", help="throughput: with PyTorch and Keras, where installed")
    add("--cold", action="store_true", help="accuracy: each run with an empty compilation cache")
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--save", type=pathlib.Path, metavar="FILE", help="JSON file that the result is added to")
    add("--config", default="configs/digits.py", help="not of throughput; default: %(default)s")
    add("--command", default="", help="command: what to time; suite: a program to compare cifar10_best with")
    add("--minutes", type=float, default=8.0, help="suite: the time limit; default: %(default)s")
    add("--small", action="store_true", help="suite: sizes for a test on a CPU")
    arguments, overrides = parser.parse_known_args()
    if unknown := [flag for flag in overrides if not flag.startswith("--config.")]:
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    if arguments.repeats < 1:
        parser.error(f"--repeats must be at least 1 (got {arguments.repeats})")
    if arguments.what in ("suite", "tables") and not arguments.save:
        parser.error(f"{arguments.what} needs --save=FILE")
    arguments.overrides = overrides
    return arguments


def command(what: str) -> str:
    """The command of this measurement, `what` first, without the flags that do not change the result."""
    flags = [word for word in sys.argv[1:] if word != what and not word.startswith(IRRELEVANT)]
    return shlex.join(["python", "scripts/benchmark", what, *flags])


@contextlib.contextmanager
def leaving_memory() -> Iterator[None]:
    """JAX, when it starts in here, takes no more GPU memory than it needs, so that the peers have some."""
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def measure_throughput(arguments: argparse.Namespace) -> Measured:
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

    described = as_json(speeds)
    for name, one in found.items():
        described[name] |= {
            "images_per_second": speeds[name].median,
            "peak_memory_bytes": one.peak_memory_bytes,
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
    rows.append(
        ("mnist_jax, share of a matrix product's FLOP/s", share, f"{flops / 1e6:.1f} MFLOP per image", "", "")
    )
    figures = {
        "mnist_jax": described["mnist_jax"],
        "peers": {name: described[name] for name in peers},
        "best_peer_ratio": ours.median / best if best else None,
        "plain_jax": described["mnist_jax plain"],
        "flops_per_image": flops,
        "flop_per_second": flops * ours.median,
        "matmul_flop_per_second": peak,
    }
    return Measured(figures, ("program", "images/s", "range", "mnist_jax / it", "host memory"), rows)


def measure_accuracy(arguments: argparse.Namespace) -> Measured:
    seeds = {str(seed): [f"--config.seed={seed}"] for seed in range(arguments.repeats)}
    run_flags = config_flags(arguments, "--config.wandb.mode=disabled")
    if not arguments.cold:
        measures.runs(run_flags, {"warm": seeds["0"]}, 1)
    runs = measures.runs(run_flags, seeds, 1, cold=arguments.cold)
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
        ("training, seconds", *shown(training, "{:.2f}")),
    ]
    figures = {
        "warm": not arguments.cold,
        "n": len(seeds),
        "accuracies": accuracies,
        "mean": mean,
        "deviation": deviation,
        **as_json({"wall_seconds": wall, "train_seconds": training}),
    }
    return Measured(figures, (f"seeds 0 to {len(seeds) - 1}", "", "range"), rows)


def measure_startup(arguments: argparse.Namespace) -> Measured:
    short = ("--config.train.steps=20", "--config.schedule.unit=steps", "--config.schedule.warmup=2")
    run_flags = config_flags(arguments, *short, "--config.wandb.mode=disabled")
    found = measures.startup(run_flags, arguments.repeats)
    rows = [(name, *shown(one, "{:.2f}")) for name, one in found.items()]
    return Measured(as_json(found), ("until the end of", "seconds", "range"), rows)


def measure_input(arguments: argparse.Namespace) -> Measured:
    return rates(measures.input_pipeline(read_config(arguments), arguments.repeats))


def measure_evaluation(arguments: argparse.Namespace) -> Measured:
    return rates(measures.evaluation(read_config(arguments), arguments.repeats))


def measure_population(arguments: argparse.Namespace) -> Measured:
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
    header = ("models at once", "ms per step", "range", "times one", "times one, per model")
    return Measured(as_json({str(size): one for size, one in found.items()}), header, rows)


def measure_tracking(arguments: argparse.Namespace) -> Measured:
    modes = {mode: [f"--config.wandb.mode={mode}"] for mode in ("disabled", "offline")}
    runs = measures.runs(config_flags(arguments), modes, arguments.repeats + 1)
    seconds = {mode: [wall for wall, _ in runs[mode][1:]] for mode in modes}  # the first fills the caches
    timings = {mode: measures.timing(seconds[mode]) for mode in modes}
    pairs = zip(seconds["offline"], seconds["disabled"], strict=True)
    extra = measures.timing([with_it - without for with_it, without in pairs])
    rows = [(f"W&B {mode}", *shown(one, "{:.1f}")) for mode, one in timings.items()]
    rows.append(("offline costs", f"{extra.median:.1f}", f"{extra.low:.1f} to {extra.high:.1f}"))
    return Measured(as_json({**timings, "extra_seconds": extra}), ("", "seconds", "range"), rows)


def measure_command(arguments: argparse.Namespace) -> Measured:
    if not arguments.command:
        raise UserError("--command must be a command (got ''); give one as --command=\"python program.py\"")
    seconds, last = measures.command(arguments.command, arguments.repeats)
    rows = [("whole process, seconds", *shown(seconds, "{:.2f}")), ("last line of its output", last, "")]
    return Measured({**as_json({"wall_seconds": seconds}), "last_line": last}, ("command", "", "range"), rows)


def config_flags(arguments: argparse.Namespace, *defaults: str) -> list[str]:
    """The config file, what the measurement changes of it, and the flags of the user, which come last."""
    return [f"--config={arguments.config}", *defaults, *arguments.overrides]


def read_config(arguments: argparse.Namespace) -> ml_collections.FrozenConfigDict:
    config, _ = config_flag.read(config_flags(arguments))
    return validate(config.fields)


def rates(found: dict[str, measures.Timing]) -> Measured:
    rows = [(name, *shown(one, "{:,.0f}")) for name, one in found.items()]
    return Measured(as_json(found), ("", "images/s", "range"), rows)


MEASUREMENTS = {
    "throughput": measure_throughput,
    "accuracy": measure_accuracy,
    "startup": measure_startup,
    "input": measure_input,
    "evaluation": measure_evaluation,
    "population": measure_population,
    "tracking": measure_tracking,
    "command": measure_command,
}

if __name__ == "__main__":
    sys.exit(exits.status_of("benchmark", main))
