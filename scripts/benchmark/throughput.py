"""Training throughput of this project and of others on the same network, interleaved."""

import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from benchmark.measures import Timing, timing

from mnist_jax.system import cpu, devices
from mnist_jax.system.errors import UserError

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PEERS = pathlib.Path(__file__).resolve().parent / "peers"
_EXAMPLES = 60_000  # of scripts/benchmark/peers/worker.py


class Program(NamedTuple):
    """A program of scripts/benchmark/peers.

    needs: modules; without them the program is left out. on_gpu: it runs on GPUs alone.
    """

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    on_gpu: bool = False


PROGRAMS = (
    Program("mnist_jax", ("mnist_jax_same_net.py",)),
    Program("mnist_jax plain", ("mnist_jax_same_net.py", "--plain")),
    Program("torch", ("torch_same_net.py",), ("torch",)),
    Program("torch.compile", ("torch_same_net.py", "--how=compile"), ("torch",)),
    Program("torch CUDA graph", ("torch_same_net.py", "--how=graph"), ("torch",), on_gpu=True),
    Program(
        "keras tensorflow",
        ("keras_same_net.py",),
        ("keras", "tensorflow"),
        {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
    ),
)


def installed(*, peers: bool) -> list[Program]:
    """The programs of this project and, with peers, of the others that are installed."""
    return [
        program
        for program in PROGRAMS
        if (not program.needs or (peers and all(map(importlib.util.find_spec, program.needs))))
        and (not program.on_gpu or devices.on_gpu())
    ]


class Throughput(NamedTuple):
    """Images per second, and the peak host memory of a process of the program."""

    images_per_second: Timing
    peak_memory_bytes: float


class Worker:
    """A running program of scripts/benchmark/peers, warmed up; see scripts/benchmark/peers/worker.py."""

    def __init__(self, program: Program, batch_size: int, dtype: str):
        self.program = program
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(_PEERS / program.arguments[0]),
                *program.arguments[1:],
                f"--batch={batch_size}",
                f"--dtype={dtype}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**_environment(), **program.environment},
        )
        self._read()

    def train(self, steps: int) -> dict[str, float]:
        """Trains; returns `images_per_second`, and `peak_memory_bytes` of the process so far."""
        assert self._process.stdin
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise UserError(f"{self.program.name} ended with status {self._process.wait()}; its error is above")


def throughput(
    programs: Sequence[Program], *, batch_size: int, dtype: str, steps: int, repeats: int
) -> dict[str, Throughput]:
    """The speed of each program's training, interleaved.

    Each repeat is a new process, since the addresses of its memory can make one process a fifth slower than
    another.
    """
    if batch_size > _EXAMPLES:
        raise UserError(f"--batch must be at most {_EXAMPLES}, the number of examples (got {batch_size})")
    rates: dict[str, list[float]] = {program.name: [] for program in programs}
    memory = dict.fromkeys(rates, 0.0)
    for _ in range(repeats):
        for program in programs:
            worker = Worker(program, batch_size, dtype)
            found = [worker.train(steps) for _ in range(3)]
            worker.close()
            rates[program.name].append(statistics.median(one["images_per_second"] for one in found))
            memory[program.name] = max(memory[program.name], found[-1]["peak_memory_bytes"])
    return {name: Throughput(timing(rates[name]), memory[name]) for name in rates}


def matmul_peak(dtype: str, repeats: int = 10) -> float:
    """FLOP/s of a product of large matrices, the best of several repeats."""
    size = 2048 if cpu.active() else 8192
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)  # zeros and ones take less power
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def flops_per_image() -> float:
    """FLOPs of a training step on the reference network: three times the forward pass, except in the first
    layer, which computes no gradient of its input.
    """
    first, second = 28 * 28 * 9 * 32, 14 * 14 * 9 * 32 * 64
    dense = 7 * 7 * 64 * 256 + 256 * 10
    return 2.0 * (2 * first + 3 * second + 3 * dense)


def _environment() -> dict[str, str]:
    """The environment with this project, without what `quiet_libraries` sets and slows TensorFlow."""
    own = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    return {**own, "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), own.get("PYTHONPATH")]))}
