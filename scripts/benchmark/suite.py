"""Every measurement of a GPU in one call, the most telling first, within a time limit."""

import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_BENCHMARK = pathlib.Path(__file__).resolve().parent
_STARTS = 20.0  # seconds; with less left, nothing is started


class Part(NamedTuple):
    """A measurement. small: flags with which it takes seconds on a CPU, to test the suite there."""

    what: str
    flags: Sequence[str]
    small: Sequence[str]


_TINY_CONFIG = (
    "--config=configs/digits.py",
    "--config.train.steps=4",
    "--config.train.batch_size=32",
    "--config.model.widths=(4,)",
    "--config.model.dense=8",
    "--config.schedule.warmup=0.2",
)
_FAST, _BEST = "--config=configs/mnist_fast.py", "--config=configs/cifar10_best.py"
_BFLOAT16 = "--config.dtype=bfloat16"
_THROUGHPUT = ("--peers", "--repeats=5", "--steps=1000")
_POPULATION = (_FAST, "--steps=200", "--repeats=3")
_TINY_THROUGHPUT = ("--repeats=1", "--steps=2", "--batch=8")
_TINY_POPULATION = (*_TINY_CONFIG, "--repeats=1", "--steps=2")
PARTS = (
    Part("throughput", _THROUGHPUT, _TINY_THROUGHPUT),
    Part("accuracy", (_FAST, "--repeats=5"), (*_TINY_CONFIG, "--repeats=1")),
    Part("population", _POPULATION, _TINY_POPULATION),
    Part("accuracy", (_BEST, "--repeats=1"), (*_TINY_CONFIG, "--repeats=1", "--config.seed=1")),
    Part("population", (*_POPULATION, _BFLOAT16), (*_TINY_POPULATION, _BFLOAT16)),
    Part("throughput", (*_THROUGHPUT, "--dtype=bfloat16"), (*_TINY_THROUGHPUT, "--dtype=bfloat16")),
)


def run(minutes: float, save: pathlib.Path, own: Sequence[str], *, small: bool, rival: str) -> Iterator[str]:
    """Runs each part in a process of its own, which adds what it finds to a file.

    Args:
        minutes: The limit; a part that is under way then is ended, and what was measured before stays.
        save: The file.
        own: Flags for every part, such as --config.data.manual_dir of the data.
        small: Sizes for a test.
        rival: A command that trains another program's network, timed as a whole process; "" for none.

    Yields:
        A line about each part.
    """
    deadline = time.monotonic() + 60 * minutes
    commands = [
        [sys.executable, str(_BENCHMARK), part.what, *(part.small if small else part.flags), *own]
        for part in PARTS
    ]
    if rival:
        # After cifar10_best, with which it is compared.
        commands.insert(4, [sys.executable, str(_BENCHMARK), "command", f"--command={rival}", "--repeats=1"])
    for command in commands:
        started = time.monotonic()
        name = " ".join(command[2:])
        if deadline - started < (0 if small else _STARTS):
            yield f"left out for lack of time: {name}"
            continue
        try:
            done = subprocess.run(
                [*command, f"--save={save}"], stdout=subprocess.DEVNULL, timeout=deadline - started
            )
            outcome = "done" if done.returncode == 0 else f"failed with status {done.returncode}"
        except subprocess.TimeoutExpired:
            outcome = "ended by the time limit"
        yield f"{outcome} after {time.monotonic() - started:.0f} s: {name}"
