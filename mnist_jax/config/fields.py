"""The table of config fields: the default, the rule and the help of each.

To add a field: a line here, the place that uses it, and `make docs`, which writes configs/default.py and
docs/config.md. Its default must be what runs did before there was the field: records that lack it had that.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import ml_collections

from mnist_jax.config.rules import (
    Rule,
    above_zero,
    boolean,
    choice,
    each,
    fraction,
    from_zero,
    integer,
    text,
)


class Field(NamedTuple):
    """A field of a config.

    identifies: whether a run with another value is another run; not where it says where things are, or
    changes rounding alone.
    """

    default: Any
    rule: Rule
    help: str
    identifies: bool = True


GROUPS: Mapping[str, str] = {
    "": "the run",
    "data": "the data set",
    "augment": "changes of training images",
    "model": "the network",
    "optimizer": "the update",
    "schedule": "the learning rate over the run",
    "train": "the training",
    "mesh": "the devices",
    "population": "many models in one run: member k has the k-th value of each tuple that is not empty, and "
    "every such member each of the seeds",
    "evaluation": "validation and test",
    "checkpoint": "what is saved",
    "wandb": "Weights & Biases",
}

# fmt: off
FIELDS: Mapping[str, Field] = {
    "seed": Field(0, integer(0), "of the parameters, the order of examples, augmentation and dropout"),
    "dtype": Field("float32", choice("float32", "bfloat16"),
        "of the computation: float32 or bfloat16; parameters are always float32"),
    "profile": Field(0, integer(0),
        "so many steps are traced into profile/ of the workdir; 0: none", identifies=False),
    "data.name": Field("mnist", text(required=True),
        'such as "mnist", "cifar10" or another of TFDS; "digits" (bundled); "folder"'),
    "data.dir": Field("", text(),
        "folder: where your images are, as train/CLASS/IMAGE and test/CLASS/IMAGE", identifies=False),
    "data.train": Field("train[:-5000]", text(required=True),
        "TFDS split expressions; no example may be in two of the three"),
    "data.validation": Field("train[-5000:]", text(required=True), "chooses the checkpoint"),
    "data.test": Field("test", text(required=True), "read once, at the end"),
    "data.data_dir": Field("", text(),
        'sets of TFDS, downloads; "": $TFDS_DATA_DIR or ~/tensorflow_datasets', identifies=False),
    "data.manual_dir": Field("", text(),
        "a folder with the set's original files, to prepare it without a download", identifies=False),
    "data.cache_dir": Field("", text(),
        'decoded sets; "": mnist_jax in the user\'s cache folder', identifies=False),
    "data.image_size": Field(0, integer(0),
        "pixels a side after fitting and cropping; 0: images stay as they are"),
    "data.mean": Field((0.1307,), each(fraction(include_one=True)),
        "of pixel values in [0, 1], subtracted; one for all channels or one each"),
    "data.std": Field((0.3081,), each(above_zero()), "of pixel values in [0, 1], divided by"),
    "data.placement": Field("auto", choice("auto", "device", "host"),
        "the uint8 images live on: device, host (streamed), auto (by size)"),
    "augment.shift": Field(0.0, from_zero(), "at most so many pixels along each axis"),
    "augment.rotation": Field(0.0, from_zero(), "at most so many degrees either way"),
    "augment.scale": Field(0.0, fraction(), "at most this fraction larger or smaller"),
    "augment.shear": Field(0.0, from_zero(), "at most so many pixels sideways for each pixel up"),
    "augment.elastic": Field(0.0, from_zero(),
        "deviation in pixels of displacements on a smooth random field"),
    "augment.crop": Field(0, integer(0),
        "at most so many whole pixels along each axis, the border filled by reflection"),
    "augment.flip": Field(False, boolean(), "mirrored left to right half of the time"),
    "augment.cutout": Field(0, integer(0),
        "side in pixels of a square blacked out at a random place; 0: none"),
    "model.name": Field("cnn", choice("cnn", "airbench"),
        "cnn or airbench, see mnist_jax/models/cnn.py and mnist_jax/models/airbench.py"),
    "model.widths": Field((32, 64), each(integer(1)),
        "channels of each convolution or block; every one halves the image"),
    "model.kernel": Field(3, integer(1), "side of the convolutions in pixels"),
    "model.depth": Field(2, integer(1), "airbench: convolutions a block"),
    "model.residual": Field(False, boolean(),
        "airbench: the first convolution's output is added to the last's"),
    "model.whitening": Field(True, boolean(), "airbench: patches of 2 x 2 pixels are whitened first"),
    "model.dense": Field(256, integer(1), "cnn: width of the dense layer before the last"),
    "model.activation": Field("relu", choice("relu", "gelu", "silu"), "relu, gelu or silu"),
    "model.pooling": Field("average", choice("average", "max"), "average or max"),
    "model.norm": Field("none", choice("none", "batch", "group"),
        "after each convolution: none, batch or group"),
    "model.dropout": Field(0.0, fraction(), "rate before each dense layer"),
    "optimizer.name": Field("sgd", choice("sgd", "adam", "adamw", "adadelta", "lamb", "lion", "muon"),
        "sgd, adam, adamw, adadelta, lamb, lion or muon"),
    "optimizer.learning_rate": Field(0.1, above_zero(), "the schedule's peak"),
    "optimizer.momentum": Field(0.9, fraction(), "sgd and muon"),
    "optimizer.nesterov": Field(True, boolean(), "sgd and muon"),
    "optimizer.b1": Field(0.9, fraction(), "adam, adamw, lamb and lion; muon, of biases and norms"),
    "optimizer.b2": Field(0.999, fraction(), "the same"),
    "optimizer.eps": Field(1e-8, above_zero(), "adam, adamw, adadelta, lamb and muon"),
    "optimizer.rho": Field(0.9, fraction(), "adadelta"),
    "optimizer.newton_schulz": Field(5, integer(1), "muon: iterations that make an update orthogonal"),
    "optimizer.weight_decay": Field(0.0, from_zero(),
        "on kernels, never on biases and norms; adam has none: use adamw"),
    "optimizer.skip_nonfinite": Field(0, integer(0),
        "so many updates in a row are left out; 0: the first ends the run"),
    "optimizer.clip_norm": Field(0.0, from_zero(),
        "gradients longer than this are shortened to it; 0.0: not clipped"),
    "schedule.name": Field("one_cycle", choice("constant", "cosine", "one_cycle", "step", "linear"),
        "constant, cosine, one_cycle, step or linear"),
    "schedule.unit": Field("epochs", choice("epochs", "steps"), "of warmup and boundaries: epochs or steps"),
    "schedule.warmup": Field(2.0, from_zero(), "rise from 0 to the peak; one_cycle rises along a cosine"),
    "schedule.end_factor": Field(0.0, fraction(include_one=True),
        "cosine, one_cycle, linear: last learning rate / peak"),
    "schedule.boundaries": Field((5.0,), each(above_zero()),
        "step: where the learning rate is multiplied by `factor`"),
    "schedule.factor": Field(0.1, above_zero(), "step"),
    "train.batch_size": Field(128, integer(1), "examples a step"),
    "train.epochs": Field(10, integer(1), "passes over the training split"),
    "train.steps": Field(0, integer(0), "length of the run in steps instead; 0: as many as `epochs` takes"),
    "train.label_smoothing": Field(0.0, fraction(), "share of a label's mass spread over all classes"),
    "train.ema_decay": Field(0.0, fraction(),
        "moving average of the parameters, evaluated in their place; 0.0: none"),
    "train.steps_per_call": Field(0, integer(0),
        "most steps in one dispatch to the device; 0: 1 on CPU, 50 elsewhere"),
    "train.log_every_steps": Field(100, integer(1), "training metrics are averaged over so many steps"),
    "mesh.data": Field(0, integer(0),
        "devices that share each batch; 0: all of all processes", identifies=False),
    "mesh.shard_params": Field(False, boolean(),
        "parameters and optimizer in shares on the devices, not whole on each", identifies=False),
    "population.seeds": Field(0, integer(0),
        "so many seeds, from config.seed on; 0: one model, unless a tuple has values"),
    "population.seed": Field((), each(integer(0), empty=True), "or these seeds"),
    "population.learning_rate": Field((), each(above_zero(), empty=True), "of optimizer"),
    "population.momentum": Field((), each(fraction(), empty=True), "of optimizer"),
    "population.weight_decay": Field((), each(from_zero(), empty=True), "of optimizer"),
    "population.label_smoothing": Field((), each(fraction(), empty=True), "of train"),
    "population.dropout": Field((), each(fraction(), empty=True), "of model"),
    "population.names": Field((), each(text(required=True), empty=True),
        "of the members' folders; (): made of their values"),
    "evaluation.batch_size": Field(1000, integer(1), "examples a forward pass"),
    "evaluation.shift": Field(0, integer(0),
        "pixels between nine views whose probabilities are averaged; 0: one view"),
    "evaluation.flip": Field(False, boolean(),
        "probabilities are averaged over each image and its mirror image"),
    "evaluation.every_steps": Field(0, integer(0), "on the validation split; 0: after every epoch"),
    "checkpoint.metric": Field("accuracy", choice("accuracy", "loss", "macro_f1"),
        "on validation, chooses the best: accuracy, loss or macro_f1"),
    "checkpoint.keep": Field(2, integer(1), "latest checkpoints kept, beside the best"),
    "checkpoint.every_steps": Field(0, integer(0), "further checkpoints between evaluations; 0: none"),
    "wandb.mode": Field("auto", choice("auto", "online", "offline", "disabled"),
        "online, offline (into the workdir), disabled; auto: online where a key is", identifies=False),
    "wandb.project": Field("mnist_digit_classification", text(required=True),
        "the project", identifies=False),
    "wandb.entity": Field("", text(), 'the user or team; "": the account\'s default', identifies=False),
    "wandb.group": Field("", text(), "runs that belong together", identifies=False),
    "wandb.name": Field("", text(), 'the run\'s name; "": W&B makes one up', identifies=False),
    "wandb.notes": Field("", text(), "a text about the run", identifies=False),
    "wandb.tags": Field((), each(text(required=True), empty=True), "of the run", identifies=False),
    "wandb.wait": Field(2.0, from_zero(),
        "seconds the end of a run waits for uploads, which go on behind it after that", identifies=False),
}
# fmt: on


def default_config() -> ml_collections.ConfigDict:
    """Every field with its default."""
    config = ml_collections.ConfigDict()
    for name, field in FIELDS.items():
        group, _, key = name.rpartition(".")
        if group and group not in config:
            config[group] = ml_collections.ConfigDict()
        (config[group] if group else config)[key] = field.default
    return config.lock()


def unknown_field(name: str) -> str:
    """One line about a field that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name, FIELDS, n=1) or [
        known for known in FIELDS if known.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]
    ]
    hint = f"did you mean config.{near[0]}?" if near else "configs/default.py lists every field"
    return f"config.{name} does not exist; {hint}"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ("a.b", value) for each leaf of nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
