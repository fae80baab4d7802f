"""Measurements of speed. The programs compared take turns, since the load of a machine changes."""

import functools
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import ml_collections
import numpy as np

from mnist_jax import data
from mnist_jax.config.population import members_in
from mnist_jax.data import augment, feeding, order, pixels
from mnist_jax.metrics import detailed
from mnist_jax.serving import export
from mnist_jax.system.errors import UserError
from mnist_jax.system.mesh import make_mesh
from mnist_jax.training.predictor import model_template
from mnist_jax.training.steps import make_classify
from mnist_jax.training.trainer import Trainer

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_NOISY = 0.15  # spread beyond which a figure is marked as noisy

STAGES = {  # of a start, each a program that does more than the one before
    "the interpreter": "pass",
    "import of JAX": "import jax",
    "import of the program": "import mnist_jax.loop",
}


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


def runs(
    flags: Sequence[str], variants: Mapping[str, Sequence[str]], repeats: int, *, cold: bool = False
) -> dict[str, list[tuple[float, dict[str, Any]]]]:
    """Whole runs of main.py in fresh workdirs, the variants interleaved: wall seconds and run.json of each.

    variants: name -> flags beside those of all. cold: each run has an empty compilation cache.
    """
    found: dict[str, list[tuple[float, dict[str, Any]]]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, own in variants.items():
            found[name].append(_run([*flags, *own], cold=cold))
    return found


def startup(flags: Sequence[str], repeats: int) -> dict[str, Timing]:
    """Seconds from a process's start to the end of each stage, the last the first training step of main.py.

    A first round fills the caches and is not counted.
    """
    found: dict[str, list[float]] = {name: [] for name in [*STAGES, "first step"]}
    for _ in range(repeats + 1):
        for name, code in STAGES.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=True)
            found[name].append(time.perf_counter() - started)
        found["first step"].append(_run(flags)[1]["startup_seconds"])
    return {name: timing(seconds[1:]) for name, seconds in found.items()}


def command(text: str, repeats: int) -> tuple[Timing, str]:
    """Wall seconds of a command, and the last line of its output.

    Raises:
        UserError: It fails.
    """
    seconds, lines = [], [""]
    for _ in range(repeats):
        started = time.perf_counter()
        try:
            done = subprocess.run(shlex.split(text), stdout=subprocess.PIPE, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"--command must be a command that succeeds ({error})") from error
        seconds.append(time.perf_counter() - started)
        lines = [line for line in done.stdout.splitlines() if line.strip()] or lines
    return timing(seconds), lines[-1].strip()


def input_pipeline(config: ml_collections.FrozenConfigDict, repeats: int) -> dict[str, Timing]:
    """Images per second of what precedes the model, each part alone, over an epoch of training batches."""
    dataset, batch_size, mesh = data.load(config.data).train, config.train.batch_size, make_mesh(config)
    size = len(dataset.labels)
    steps = -(-size // batch_size)
    batches = functools.partial(order.batch_indices, config.seed, batch_size=batch_size, size=size)

    @jax.jit
    def augmented(rows: feeding.Rows) -> jax.Array:
        images = pixels.to_float(rows.examples()[0][0])
        return pixels.normalize(augment.augment(jax.random.key(0), images, config.augment), config)

    def epoch(placement: str, work: Callable[[feeding.Rows], jax.Array]) -> Callable[[], None]:
        feed = feeding.make_feed(dataset, placement, mesh)

        def run() -> None:
            chunks = ((step, 1) for step in range(steps))
            for _, rows in feeding.training_rows(feed, chunks, batches):
                jax.block_until_ready(work(rows))

        return run

    parts = {
        "from the host": epoch("host", lambda rows: rows.images),
        "gathered and augmented on the device": epoch("device", augmented),
    }
    return _rates(parts, steps * batch_size, repeats)


def evaluation(config: ml_collections.FrozenConfigDict, repeats: int) -> dict[str, Timing]:
    """Images per second of the forward pass over the test split, direct and exported, and of all metrics."""
    dataset = data.load(config.data)
    trainer = Trainer([config], dataset)
    best = trainer.initial().best
    [predictions] = trainer.predict(dataset.test, best)
    size = config.evaluation.batch_size
    batches = [dataset.test.images[start:][:size] for start in range(0, len(dataset.test.labels), size)]
    [model] = best
    graphdef, _ = model_template(config, dataset.image_shape, len(dataset.class_names), trainer.mesh)
    classify = functools.partial(make_classify(config, graphdef), model.params, model.model_state)
    program = export.program(classify, dataset.image_shape)
    exported = jax.export.deserialize(bytearray(program))
    call = jax.jit(exported.call)
    work = {
        "predictions": lambda: trainer.predict(dataset.test, best),
        "predictions, exported": lambda: [np.asarray(call(batch)) for batch in batches],
        "metrics, curves and intervals": lambda: detailed.evaluate_in_detail(predictions),
    }
    return _rates(work, len(dataset.test.labels), repeats)


def population(
    config: ml_collections.FrozenConfigDict, sizes: Sequence[int], steps: int, repeats: int
) -> dict[int, Timing]:
    """Milliseconds of a training step, by the number of models that are trained at once."""
    dataset = data.load(config.data)

    def training(size: int) -> Callable[[], int]:
        asked = ml_collections.ConfigDict(config.to_dict())
        asked.population.seeds = size if size > 1 else 0
        asked.train.steps = steps * (repeats + 2)
        frozen = ml_collections.FrozenConfigDict(asked)
        trainer = Trainer([one.config for one in members_in(frozen)] if size > 1 else [frozen], dataset)
        states, batches, done = trainer.initial(), trainer.batches(0), 0

        def train() -> int:
            nonlocal states, done
            first = done
            while done < first + steps:
                done, rows = next(batches)
                states, _ = trainer.step(states, rows)
            jax.block_until_ready(states.train)
            return done - first

        return train

    work = {size: training(size) for size in sizes}
    found: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(repeats + 1):  # the first compiles
        for size, train in work.items():
            started = time.perf_counter()
            taken = train()
            found[size].append(1000 * (time.perf_counter() - started) / taken)
    return {size: timing(milliseconds[1:]) for size, milliseconds in found.items()}


def _rates(work: Mapping[str, Callable[[], object]], images: int, repeats: int) -> dict[str, Timing]:
    """Images per second of each piece of work, interleaved; without the first round, which may compile."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats + 1):
        for name, run in work.items():
            started = time.perf_counter()
            run()
            found[name].append(images / (time.perf_counter() - started))
    return {name: timing(rates[1:]) for name, rates in found.items()}


def _run(flags: Sequence[str], *, cold: bool = False) -> tuple[float, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "run"
        command = [sys.executable, str(_ROOT / "main.py"), *flags, f"--workdir={workdir}"]
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"} if cold else {}
        environment = {**os.environ, **cache}
        started = time.perf_counter()
        status = subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=False).returncode
        if status != 0:
            raise UserError(f"a run to be timed ended with status {status}: {' '.join(command[1:])}")
        seconds = time.perf_counter() - started
        return seconds, json.loads((workdir / "run.json").read_text())
