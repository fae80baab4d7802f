"""Measurements of speed, each over interleaved repeats, since other work on a machine comes and goes."""

import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mnist_jax.errors import UserError

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_PEERS = _ROOT / "scripts" / "peers"
_EXAMPLES = 60_000  # of scripts/peers/worker.py
_NOISY = 0.15  # spread beyond which a comparison means little


class Timing(NamedTuple):
    """The median of several repeats, and the lowest and highest."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """The range as a share of the median."""
        return (self.high - self.low) / self.median

    @property
    def noisy(self) -> bool:
        return self.spread > _NOISY


def timing(values: Sequence[float]) -> Timing:
    return Timing(statistics.median(values), min(values), max(values))


class Program(NamedTuple):
    """A program of scripts/peers. needs: the modules without which it is left out."""

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}


PROGRAMS = (
    Program("mnist_jax", ("mnist_jax_same_net.py",)),
    Program("mnist_jax plain", ("mnist_jax_same_net.py", "--plain")),
    Program("torch", ("torch_same_net.py",), ("torch",)),
    Program("torch.compile", ("torch_same_net.py", "--compile"), ("torch",)),
    Program(
        "keras tensorflow",
        ("keras_same_net.py",),
        ("keras", "tensorflow"),
        {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    ),
)


def installed(*, peers: bool) -> list[Program]:
    """This project's programs and, if asked for, those of the peers that are installed."""
    return [
        program
        for program in PROGRAMS
        if not program.needs or (peers and all(map(importlib.util.find_spec, program.needs)))
    ]


class Worker:
    """A running program of scripts/peers, warm; see scripts/peers/worker.py."""

    def __init__(self, program: Program, batch_size: int):
        self.program = program
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(_PEERS / program.arguments[0]),
                *program.arguments[1:],
                f"--batch={batch_size}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**_environment(), **program.environment, "PYTHONPATH": str(_ROOT)},
        )
        self._read()

    def images_per_second(self, steps: int) -> float:
        assert self._process.stdin
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return self._read()["images_per_second"]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise UserError(f"{self.program.name} ended with status {self._process.wait()}")


def throughput(
    programs: Sequence[Program], *, batch_size: int, steps: int, repeats: int
) -> dict[str, Timing]:
    """Images a second of each program's training, in turns.

    Each repeat is a new process: how its memory came to lie can make one a fifth slower for all its life.
    """
    if steps * batch_size > _EXAMPLES:
        raise UserError(f"--steps times --batch is {steps * batch_size:,}; it may be at most {_EXAMPLES:,}")
    found: dict[str, list[float]] = {program.name: [] for program in programs}
    for _ in range(repeats):
        for program in programs:
            worker = Worker(program, batch_size)
            found[program.name].append(statistics.median(worker.images_per_second(steps) for _ in range(3)))
            worker.close()
    return {name: timing(values) for name, values in found.items()}


def matmul_peak(size: int = 2048, repeats: int = 10) -> float:
    """FLOP/s of a float32 matrix product of this size, the best of several."""
    matrix = jnp.ones((size, size))
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def flops_per_image() -> float:
    """Of a training step on the reference network: three times the forward pass, but for the first layer,
    which has no gradient of its input.
    """
    first, second = 28 * 28 * 9 * 32, 14 * 14 * 9 * 32 * 64
    dense = 7 * 7 * 64 * 256 + 256 * 10
    return 2.0 * (2 * first + 3 * second + 3 * dense)


def runs(
    flags: Sequence[str], variants: Mapping[str, Sequence[str]], repeats: int
) -> dict[str, list[tuple[float, dict[str, Any]]]]:
    """Whole runs of main.py in fresh workdirs, the variants in turns: wall seconds and run.json of each.

    variants: name -> flags beside those of all.
    """
    found: dict[str, list[tuple[float, dict[str, Any]]]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, own in variants.items():
            found[name].append(_run([*flags, *own]))
    return found


def _run(flags: Sequence[str]) -> tuple[float, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "run"
        command = [sys.executable, str(_ROOT / "main.py"), *flags, f"--workdir={workdir}"]
        started = time.perf_counter()
        status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
        if status != 0:
            raise UserError(f"a run to be timed ended with status {status}: {' '.join(command[1:])}")
        seconds = time.perf_counter() - started
        return seconds, json.loads((workdir / "run.json").read_text())


def _environment() -> dict[str, str]:
    """The user's own, without what `quiet_libraries` set, which slows TensorFlow down."""
    return {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
