"""Trains a few steps of small networks on 1, 2 and 8 virtual devices; results may differ by rounding only.

Prints the share of the parameters on each device, as JSON.

Run by test_mesh.py in a process of its own, because the number of devices is fixed when JAX starts.
"""

import json
import pathlib
import sys

import jax
from rounding import assert_rounding_alone, disturbed

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))

from configs import digits
from mnist_jax import data
from mnist_jax.config.validation import validate
from mnist_jax.system import devices
from mnist_jax.training.trainer import Trainer

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
            "augment.mixup": 1.0,
            "augment.cutmix": 1.0,
            "augment.resized_crop": 0.5,
            "augment.contrast": 0.3,
            "train.balance": "sampling",
            "train.class_weights": (1.0, 2.0) * 5,
            "train.accumulate": 2,
            "train.freeze": "dense",
        },
    ),
}


def train(changes: dict, count: int, change=lambda state: state, steps: int = 6):
    """Some steps from a changed state: parameters, model state, metrics, and probabilities of the test split.

    Also returns the share of the parameters on a device.
    """
    config = digits.get_config()
    config.augment.update(shift=0.0, rotation=0.0, scale=0.0)  # which take long to compile
    config.model.update(widths=(8, 16), dense=64)
    config.train.batch_size, config.train.steps_per_call = 64, 2
    config.optimizer.learning_rate = 0.01
    config.schedule.name, config.schedule.warmup = "constant", 0.0
    config.update_from_flattened_dict({**changes, "mesh.data": count})
    config = validate(config)
    dataset = data.load(config.data)
    trainer = Trainer([config], dataset)
    states, metrics = trainer.initial(), []
    states = states._replace(train=tuple(map(change, states.train)))
    for step, rows in trainer.batches(0):
        states, of_chunk = trainer.step(states, rows)
        metrics.append(of_chunk)
        if step >= steps:
            break
    [state] = states.train
    [predictions] = trainer.predict(dataset.test, [state.model])
    whole = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    held = sum(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(state.params))
    return jax.device_get((state.params, state.model_state, metrics, predictions.probabilities)), held / whole


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
