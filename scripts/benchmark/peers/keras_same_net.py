"""Keras's training throughput on the network of `scripts/benchmark throughput`; see `worker.py`.

    KERAS_BACKEND=tensorflow python keras_same_net.py --batch=128 --dtype=float32

Compiled by XLA, with the input pipeline of `fit`.
"""

import argparse

import keras
import worker
from keras import layers

parser = argparse.ArgumentParser()
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--dtype", choices=("float32", "bfloat16"), required=True)
args = parser.parse_args()

if args.dtype == "bfloat16":
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
images, labels = worker.examples()
images = images.astype("float32") / 255
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.AveragePooling2D(2),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(256, activation="relu"),
        layers.Dense(10),
    ]
)
model.compile(
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
    jit_compile=True,
)


def train(steps: int) -> None:
    an_epoch = len(images) // args.batch
    epochs, rest = divmod(steps, an_epoch)
    for count, times in ((an_epoch, epochs), (rest, 1)):
        if count and times:
            examples = count * args.batch
            model.fit(images[:examples], labels[:examples], args.batch, epochs=times, verbose=0)


worker.serve(train, args.batch)
