"""The report's experiments: a Keras-like convnet for MNIST, and five changes to it, three seeds each.

    mnist-jax sweep --config=mnist --sweep=report --workdir=runs/report

18 runs of two to four minutes each on 2 cores of an x86-64 machine, beside other work. Results:
docs/lab-notes/report-sweep.md. For another data set: `--config.data.name=fashion_mnist`.
"""

from mnist_jax.config.variants import Sweep, over_seeds

# The network of Keras's MNIST example with one hidden dense layer, trained in the same way: no augmentation,
# a constant learning rate.
BASELINE = {
    "augment.shift": 0.0,
    "augment.rotation": 0.0,
    "augment.scale": 0.0,
    "model.widths": (32, 64),
    "model.dense": 128,
    "model.pooling": "max",
    "model.dropout": 0.5,
    "optimizer.name": "adam",
    "optimizer.learning_rate": 0.001,
    "schedule.name": "constant",
    "schedule.warmup": 0.0,
    "train.batch_size": 128,
    "train.epochs": 6,
}
PLAIN_SGD = {
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.0,
    "optimizer.nesterov": False,
    "optimizer.learning_rate": 0.01,
}


def get_sweep() -> Sweep:
    changes: Sweep = {
        "baseline": {},
        "one_more_layer": {"model.widths": (32, 64, 128)},
        "batch_64": {"train.batch_size": 64},
        "batch_256": {"train.batch_size": 256},
        "sgd": PLAIN_SGD,
        "sgd_batch_256": {**PLAIN_SGD, "train.batch_size": 256},
    }
    return over_seeds({name: {**BASELINE, **change} for name, change in changes.items()}, range(3))
