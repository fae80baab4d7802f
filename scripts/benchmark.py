"""Measures this project's speed, beside that of PyTorch and Keras where they are installed.

    python scripts/benchmark.py throughput --peers
    python scripts/benchmark.py startup
    python scripts/benchmark.py tracking

throughput: training images a second on a reference network (two convolutions of 32 and 64 channels, each
with relu and average pooling, dense layers of 256 and 10; SGD with momentum, float32), the programs in turns,
each time in a new process and warmed up. startup: from `python main.py` to its first step done, with the
compile cache warm. tracking: the wall time of whole runs with W&B off and offline, in turns. Each figure is
the median of --repeats, with the range; where that is wide, the machine was too busy to tell. --json: one
object on standard output instead of the table. Flags such as --config.train.epochs=1 go to main.py.
"""

import argparse
import json
import pathlib
import platform
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.table import Table

from mnist_jax import benchmarks, command_line, devices
from mnist_jax.provenance import describe_environment


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=sorted(MEASUREMENTS))
    parser.add_argument("--repeats", type=int, default=5, help="of each; default: %(default)s")
    parser.add_argument("--batch", type=int, default=128, help="images a step; default: %(default)s")
    parser.add_argument("--steps", type=int, default=200, help="a repeat; default: %(default)s")
    parser.add_argument("--peers", action="store_true", help="with PyTorch and Keras, where installed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--config", default="configs/digits.py", help="of startup and tracking; default: %(default)s"
    )
    arguments, overrides = parser.parse_known_args()
    if unknown := [flag for flag in overrides if not flag.startswith("--config.")]:
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    command_line.quiet_libraries()
    devices.prepare_host()
    found, rows = MEASUREMENTS[arguments.what](arguments, overrides)
    environment = describe_environment()
    machine = f"{environment['cpu']}, {environment['cores']} cores, Python {platform.python_version()}"
    if arguments.json:
        print(json.dumps({**found, "machine": machine, "accelerator": environment["accelerator"]}))
    else:
        show(arguments.what, rows, machine)
    return 0


def throughput(arguments: argparse.Namespace, _: list[str]) -> tuple[dict, list[tuple[str, ...]]]:
    programs = benchmarks.installed(peers=arguments.peers)
    timings = benchmarks.throughput(
        programs, batch_size=arguments.batch, steps=arguments.steps, repeats=arguments.repeats
    )
    ours, peak = timings.pop("mnist_jax"), benchmarks.matmul_peak()
    flops = benchmarks.flops_per_image()
    peers = {name: timing for name, timing in timings.items() if name != "mnist_jax plain"}
    best = max((timing.median for timing in peers.values()), default=None)
    found = {
        "mnist_jax": {"images_per_second": ours.median, **ours._asdict()},
        "peers": {name: {"images_per_second": one.median, **one._asdict()} for name, one in peers.items()},
        "best_peer_ratio": ours.median / best if best else None,
        "plain_jax": timings["mnist_jax plain"]._asdict(),
        "flops_per_image": flops,
        "flop_per_second": flops * ours.median,
        "matmul_flop_per_second": peak,
    }
    rows = [
        (name, *shown(one, "{:,.0f}"), f"{ours.median / one.median:.2f}")
        for name, one in [("mnist_jax", ours), *timings.items()]
    ]
    share = f"{flops * ours.median / peak:.0%}"
    rows.append(("of a matrix product's FLOP/s", share, f"{flops / 1e6:.1f} MFLOP an image", ""))
    return found, [("program", "images/s", "range", "mnist_jax / it"), *rows]


def startup(arguments: argparse.Namespace, overrides: list[str]) -> tuple[dict, list[tuple[str, ...]]]:
    flags = [f"--config={arguments.config}", "--config.train.steps=20", "--config.schedule.warmup=0.1"]
    runs = benchmarks.runs(
        [*flags, *overrides], {"": ["--config.wandb.mode=disabled"]}, arguments.repeats + 1
    )
    seconds = benchmarks.timing([record["startup_seconds"] for _, record in runs[""][1:]])  # the first warms
    rows = [("", "seconds", "range"), ("to the first step", *shown(seconds, "{:.2f}"))]
    return {"startup_seconds": seconds._asdict()}, rows


def tracking(arguments: argparse.Namespace, overrides: list[str]) -> tuple[dict, list[tuple[str, ...]]]:
    modes = {mode: [f"--config.wandb.mode={mode}"] for mode in ("disabled", "offline")}
    flags = [f"--config={arguments.config}", *overrides]
    runs = benchmarks.runs(flags, modes, arguments.repeats + 1)
    seconds = {mode: [wall for wall, _ in runs[mode][1:]] for mode in modes}  # the first warms
    timings = {mode: benchmarks.timing(seconds[mode]) for mode in modes}
    pairs = zip(seconds["offline"], seconds["disabled"], strict=True)
    extra = benchmarks.timing([with_it - without for with_it, without in pairs])
    rows = [(f"W&B {mode}", *shown(one, "{:.1f}")) for mode, one in timings.items()]
    rows.append(("offline costs", f"{extra.median:.1f}", f"{extra.low:.1f} to {extra.high:.1f}"))
    found = {mode: one._asdict() for mode, one in timings.items()}
    return {**found, "extra_seconds": extra._asdict()}, [("", "seconds", "range"), *rows]


def shown(timing: benchmarks.Timing, form: str) -> tuple[str, str]:
    noise = " (too noisy to tell)" if timing.noisy else ""
    return form.format(timing.median), f"{form.format(timing.low)} to {form.format(timing.high)}{noise}"


def show(what: str, rows: list[tuple[str, ...]], machine: str) -> None:
    table = Table(title=what, caption=machine)
    for column, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if column else "left")
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)


MEASUREMENTS = {"throughput": throughput, "startup": startup, "tracking": tracking}

if __name__ == "__main__":
    sys.exit(command_line.run(main))
