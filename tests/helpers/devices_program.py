"""Trains a few steps of small networks on 1, 2 and 8 virtual devices, which rounding alone may tell apart.

Prints which share of the parameters each device holds, as JSON.

Run by test_mesh.py in a process of its own, since the number of devices is fixed when JAX starts.
"""

import json
import pathlib
import sys

import jax
import numpy as np
from rounding import assert_rounding_alone, disturbed

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))

from configs import digits
from mnist_jax import data
from mnist_jax.config.fields import validate
from mnist_jax.data.feeding import make_feed, training_rows
from mnist_jax.data.order import batch_indices
from mnist_jax.system import devices
from mnist_jax.training import experiment

CASES = {  # each with the number of devices
    "whole": (
        2,
        {"model.norm": "batch", "augment.rotation": 10.0, "augment.elastic": 1.0, "model.dropout": 0.3},
    ),
    "in shares, streamed": (
        8,
        {
            "mesh.shard_params": True,
            "optimizer.name": "adamw",
            "train.ema_decay": 0.9,
            "data.placement": "host",
        },
    ),
}


def train(changes: dict, count: int, change=lambda state: state, steps: int = 6):
    """Some steps from a changed state: parameters, model state, metrics, and probabilities of the test split.

    And the share of the parameters that a device holds.
    """
    config = digits.get_config()
    config.augment.update(shift=0.0, rotation=0.0, scale=0.0)  # which take long to compile
    config.model.update(widths=(8, 16), dense=64)
    config.train.batch_size = 64
    config.optimizer.learning_rate = 0.01
    config.schedule.name, config.schedule.warmup = "constant", 0.0
    config.update_from_flattened_dict({**changes, "mesh.data": count})
    config = validate(config)
    dataset = data.load(config.data)
    parts = experiment.build(config, dataset)
    state, metrics = change(parts.state), []

    def order(start: int, count: int) -> np.ndarray:
        return batch_indices(0, start, count, batch_size=64, size=len(dataset.train.labels))

    feed = make_feed(dataset.train, config.data.placement, parts.mesh)
    chunks = [(start, 2) for start in range(0, steps, 2)]
    for _, rows in training_rows(feed, chunks, order):
        state, of_chunk = parts.train_chunk(state, rows)
        metrics.append(of_chunk)
    probabilities = parts.predict(dataset.test, state).probabilities
    whole = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    held = sum(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(state.params))
    return jax.device_get((state.params, state.model_state, metrics, probabilities)), held / whole


def main() -> None:
    devices.prepare_host()
    found = {}
    for name, (count, changes) in CASES.items():
        alone, _ = train(changes, 1)
        almost, _ = train(changes, 1, disturbed)
        together, found[name] = train(changes, count)
        assert_rounding_alone(together, alone, almost)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
