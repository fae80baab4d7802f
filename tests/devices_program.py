"""Trains a few steps of small networks on 1, 2, 4 and 8 virtual devices; prints what differs, as JSON.

Run by test_mesh.py in a process of its own, since the number of devices is fixed when JAX starts.
"""

import json
import sys

import jax
import numpy as np

from configs import digits
from mnist_jax import data, devices, experiment
from mnist_jax.config import validate
from mnist_jax.feeding import make_feed, training_rows

CASES = {
    "batch norm": {"model.norm": "batch"},
    "augmented, with dropout": {"augment.rotation": 10.0, "augment.elastic": 1.0, "model.dropout": 0.3},
    "streamed": {"data.placement": "host"},
    "in shares": {"mesh.shard_params": True, "optimizer.name": "adamw", "train.ema_decay": 0.9},
}


def train(changes: dict, count: int, steps: int = 6):
    """The state after some steps, the metrics of each, and the predictions of the test split."""
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
    state, metrics = parts.state, []

    def order(start: int, count: int) -> np.ndarray:
        return data.batch_indices(0, start, count, batch_size=64, size=len(dataset.train.labels))

    feed = make_feed(dataset.train, config.data.placement, parts.mesh)
    chunks = [(start, 2) for start in range(0, steps, 2)]
    for _, rows in training_rows(feed, chunks, order):
        state, of_chunk = parts.train_chunk(state, rows)
        metrics.append(of_chunk)
    return state, jax.device_get(metrics), parts.predict(dataset.test, state)


def largest(first, second) -> float:
    """The largest difference of two trees of arrays, in units of the largest of each array."""
    gaps = jax.tree.map(
        lambda a, b: float(np.abs(np.asarray(a, np.float64) - b).max() / max(np.abs(a).max(), 1e-6)),
        first,
        second,
    )
    return max(jax.tree.leaves(gaps))


def main() -> None:
    devices.prepare_host()
    found = {}
    for name, changes in CASES.items():
        alone, metrics, predictions = train(changes, 1)
        for count in (2, 4, 8) if name == "batch norm" else (8,):
            state, others, predicted = train(changes, count)
            whole = sum(leaf.size for leaf in jax.tree.leaves(state.params))
            held = sum(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(state.params))
            found[f"{name}, {count}"] = {
                "params": largest(alone.params, state.params),
                "model_state": largest(alone.model_state, state.model_state) if state.model_state else 0.0,
                "metrics": largest(metrics, others),
                "probabilities": float(np.abs(predictions.probabilities - predicted.probabilities).max()),
                "held": held / whole,
            }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
