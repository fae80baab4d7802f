"""This project's training throughput on the network of `scripts/benchmark throughput`; see `worker.py`.

    python mnist_jax_same_net.py --batch=128 --dtype=float32 [--plain]

It uses the code of a training run: the order of examples, the feed, the step. --plain leaves out what is done
for speed: on a CPU the special cases, elsewhere many steps per dispatch.
"""

import argparse
import functools

import worker

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.data import Dataset
from mnist_jax.data.cache import Arrays
from mnist_jax.data.feeding import make_feed, training_rows
from mnist_jax.data.order import batch_indices
from mnist_jax.system import cpu, devices
from mnist_jax.training.trainer import Trainer

parser = argparse.ArgumentParser()
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--dtype", required=True)
parser.add_argument("--plain", action="store_true")
args = parser.parse_args()
if args.plain:
    steps_per_call = 1
    cpu.active = devices.on_gpu = lambda: False
    devices.compiler_options = dict  # type: ignore[assignment]
else:
    steps_per_call = devices.steps_per_call(0)
    devices.prepare_host()

config = default.get_config()
config.dtype = args.dtype
config.train.batch_size = args.batch
config.optimizer.nesterov = False
config.schedule.name = "constant"
config.data.mean, config.data.std = (0.0,), (1.0,)
config = validate(config)
arrays = Arrays(*worker.examples())
dataset = Dataset("random", "1", "", tuple("0123456789"), arrays, arrays, arrays)
trainer = Trainer([config], dataset)
states = trainer.initial()
feed = make_feed(arrays, config.data.placement, trainer.mesh)
order = functools.partial(batch_indices, 0, batch_size=args.batch, size=len(arrays.labels))


def train(steps: int) -> None:
    global states
    first = int(states.train[0].step)
    starts = range(first, first + steps, steps_per_call)
    chunks = [(start, min(steps_per_call, first + steps - start)) for start in starts]
    rows = training_rows(feed, chunks, order)
    for _, batch in rows:
        states, [metrics] = trainer.step(states, (batch,))
    metrics["loss"].block_until_ready()


worker.serve(train, args.batch)
