"""The table of config fields: the default, the rule and the help of each.

To add a field: 1. add its entry to `FIELDS`; `earlier` is the value that describes older runs;
2. read it as `config.GROUP.NAME` in the code that it controls;
3. run `make docs`, which writes configs/default.py and docs/config.md.
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
    pattern,
    text,
)

IN_EVERY_RECORD = object()
DATA_FOLDERS = ("dir", "data_dir", "manual_dir", "cache_dir")  # fields of `config.data`


class Field(NamedTuple):
    """A field of a config.

    Attributes:
        default: its value in configs/default.py.
        rule: the rule for its value.
        help: its effect, in one line.
        identifies: whether another value makes another run. False for paths and for fields that only change
            rounding: a run can be resumed with other values of these.
        earlier: its value in records that are older than the field; IN_EVERY_RECORD if there are none.
    """

    default: Any
    rule: Rule
    help: str
    identifies: bool = True
    earlier: Any = IN_EVERY_RECORD


GROUPS: Mapping[str, str] = {
    "": "general",
    "data": "data set, splits and normalization",
    "augment": "random changes of training images, drawn again at each step",
    "model": "network",
    "optimizer": "optimizer",
    "schedule": "learning rate over the run",
    "train": "training",
    "mesh": "devices",
    "population": "many models in one run: member k has the k-th value of each non-empty tuple; with seeds, "
    "there is one such member per seed",
    "evaluation": "evaluation on the validation and test splits",
    "checkpoint": "checkpoints",
    "wandb": "Weights & Biases",
}

# fmt: off
FIELDS: Mapping[str, Field] = {
    "seed": Field(0, integer(0), "seed of parameters, example order, augmentation and dropout"),
    "dtype": Field("float32", choice("float32", "bfloat16"),
        "computation dtype; parameters are always float32"),
    "tensorboard": Field(False, boolean(), "write TensorBoard's event files to WORKDIR/tensorboard",
        identifies=False, earlier=False),
    "profile": Field(0, integer(0),
        "steps to trace into profile/ of the workdir; 0: none", identifies=False, earlier=0),

    "data.name": Field("mnist", text(required=True),
        'TFDS name, such as "cifar10"; "digits": bundled; "folder", "table": your own'),
    "data.dir": Field("", text(),
        "folder: path of train/CLASS/IMAGE; table: path of .npz, .csv, .parquet", identifies=False),
    "data.skip_broken": Field(False, boolean(),
        "folder: leave out images that cannot be read", identifies=False, earlier=False),
    "data.train": Field("train[:-5000]", text(),
        'TFDS split expression; splits share no examples; "": the set\'s own'),
    "data.validation": Field("train[-5000:]", text(), "chooses the checkpoint"),
    "data.test": Field("test", text(), "read once, at the end"),
    "data.folds": Field(0, integer(0),
        "cross-validation: number of folds of train and validation; 0: none", earlier=0),
    "data.fold": Field(0, integer(0), "the fold that validates; the others train", earlier=0),
    "data.fold_seed": Field(0, integer(0), "seed of the assignment of examples to folds", earlier=0),
    "data.data_dir": Field("", text(),
        'prepared and downloaded sets; "": $TFDS_DATA_DIR or ~/tensorflow_datasets', identifies=False),
    "data.manual_dir": Field("", text(),
        "folder with the original files of the set, to prepare it without a download", identifies=False),
    "data.cache_dir": Field("", text(),
        'decoded sets; "": mnist_jax in the user\'s cache folder', identifies=False),
    "data.image_size": Field(0, integer(0),
        "image side in pixels, see fit; 0: images keep their size"),
    "data.fit": Field("pad", choice("pad", "crop", "stretch"),
        "how images become square; pad: with a border",
        earlier="crop"),
    "data.mean": Field((0.1307,), each(fraction(include_one=True), empty=True),
        "subtracted from pixels in [0, 1]; one, or one per channel; (): of train"),
    "data.std": Field((0.3081,), each(above_zero(), empty=True),
        "divides pixel values; as many values as mean"),
    "data.placement": Field("auto", choice("auto", "device", "host"),
        "memory that holds the images; auto: by size"),

    "augment.shift": Field(0.0, from_zero(), "maximum shift along each axis in pixels, fractions included"),
    "augment.rotation": Field(0.0, from_zero(), "maximum rotation in degrees, either way"),
    "augment.scale": Field(0.0, fraction(), "maximum relative change of size"),
    "augment.shear": Field(0.0, from_zero(), "maximum shear: pixels sideways per pixel up"),
    "augment.elastic": Field(0.0, from_zero(),
        "standard deviation in pixels of a smooth random displacement field"),
    "augment.crop": Field(0, integer(0),
        "maximum shift along each axis in whole pixels; reflection fills the border"),
    "augment.flip": Field(False, boolean(), "mirror left to right with probability 1/2"),
    "augment.resized_crop": Field(0.0, fraction(include_one=True),
        "smallest fraction of the area to cut out and enlarge; 0.0: none",
        earlier=0.0),
    "augment.brightness": Field(0.0, fraction(include_one=True),
        "maximum relative change of brightness", earlier=0.0),
    "augment.contrast": Field(0.0, fraction(include_one=True),
        "maximum relative change of contrast", earlier=0.0),
    "augment.saturation": Field(0.0, fraction(include_one=True),
        "maximum relative change of saturation; grey images do not change", earlier=0.0),
    "augment.trivial": Field(False, boolean(),
        "TrivialAugment: one random change of shape or colour an image"),
    "augment.cutout": Field(0, integer(0),
        "side in pixels of a black square at a random position; 0: none"),
    "augment.mixup": Field(0.0, from_zero(),
        "alpha of Beta, for the weight of another image blended in; 0.0: none", earlier=0.0),
    "augment.cutmix": Field(0.0, from_zero(),
        "alpha of Beta, for the area of a box of another image; 0.0: none", earlier=0.0),

    "model.name": Field("cnn", text(required=True),
        "network: cnn, airbench, mlp, resnet, or a model of your own"),
    "model.kwargs": Field("", text(),
        'own models: keyword arguments, such as "width=64"', earlier=""),
    "model.widths": Field((32, 64), each(integer(1)),
        "channels of each convolution, block or stage; mlp: of each hidden layer"),
    "model.kernel": Field(3, integer(1), "kernel size of the convolutions"),
    "model.depth": Field(2, integer(1), "airbench: convolutions per block; resnet: blocks per stage"),
    "model.residual": Field(False, boolean(),
        "airbench: add the first convolution's output to the last's, in each block"),
    "model.whitening": Field(True, boolean(), "airbench: whiten patches of 2 x 2 pixels first"),
    "model.whitening_init": Field(False, boolean(),
        "cnn: start the first convolution as filters that whiten the images", earlier=False),
    "model.stem": Field(1, integer(1),
        "airbench, cnn, resnet: side in pixels of the patches of the first layer; 1: none", earlier=1),
    "model.dense": Field(256, integer(1), "cnn: width of the hidden dense layer"),
    "model.activation": Field("relu", choice("relu", "gelu", "silu"), "activation function"),
    "model.pooling": Field("average", choice("average", "max"), "pooling"),
    "model.norm": Field("none", choice("none", "batch", "group"), "normalization after each convolution"),
    "model.dropout": Field(0.0, fraction(), "dropout rate before each dense layer"),

    "optimizer.name": Field("sgd", choice("sgd", "adam", "adamw", "adadelta", "lamb", "lion", "muon"),
        "update rule"),
    "optimizer.learning_rate": Field(0.1, above_zero(), "peak of the schedule"),
    "optimizer.momentum": Field(0.9, fraction(), "sgd, muon: momentum"),
    "optimizer.nesterov": Field(True, boolean(), "sgd, muon: Nesterov momentum"),
    "optimizer.b1": Field(0.9, fraction(),
        "adam, adamw, lamb, lion: first decay rate; muon: that of biases and norms"),
    "optimizer.b2": Field(0.999, fraction(), "second decay rate of the same optimizers"),
    "optimizer.eps": Field(1e-8, above_zero(),
        "adam, adamw, adadelta, lamb, muon: added to denominators"),
    "optimizer.rho": Field(0.9, fraction(), "adadelta: decay rate"),
    "optimizer.newton_schulz": Field(5, integer(1),
        "muon: iterations that orthogonalize an update", earlier=5),
    "optimizer.weight_decay": Field(0.0, from_zero(),
        "decay of kernels, not of biases and norms; 0 with adam: use adamw"),
    "optimizer.skip_nonfinite": Field(0, integer(0),
        "non-finite updates in a row to skip; 0: the first ends the run", earlier=0),
    "optimizer.clip_norm": Field(0.0, from_zero(), "maximum gradient norm; 0.0: no clipping"),

    "schedule.name": Field("one_cycle", choice("constant", "cosine", "one_cycle", "step", "linear"),
        "shape after warmup"),
    "schedule.unit": Field("run", choice("run", "epochs", "steps"),
        "unit of warmup and boundaries; run: fractions of it"),
    "schedule.warmup": Field(0.2, from_zero(),
        "length of the rise from 0 to the peak: linear, for one_cycle a cosine"),
    "schedule.end_factor": Field(0.0, fraction(include_one=True),
        "cosine, one_cycle, linear: last learning rate / peak"),
    "schedule.boundaries": Field((0.5,), each(above_zero()),
        "step: when the learning rate is multiplied by factor"),
    "schedule.factor": Field(0.1, above_zero(), "step: the factor"),

    "train.batch_size": Field(128, integer(1), "examples per step"),
    "train.epochs": Field(10, integer(1), "passes over the training split"),
    "train.steps": Field(0, integer(0), "length of the run in steps; 0: by epochs"),
    "train.min_steps": Field(0, integer(0),
        "minimum length in steps of a run whose length is in epochs", earlier=0),
    "train.init_from": Field("", text(),
        'workdir of the model whose parameters to start from; "": none', earlier=""),
    "train.freeze": Field("", pattern(),
        'pattern of the parameters that do not change, such as "^conv"; "": none', earlier=""),
    "train.accumulate": Field(1, integer(1),
        "steps per update, of their mean gradient; schedules count updates", earlier=1),
    "train.patience": Field(0, integer(0),
        "evaluations without improvement after which the run ends; 0: never", earlier=0),
    "train.class_weights": Field((), each(above_zero(), empty=True),
        "weight of each class in the loss; (): 1", earlier=()),
    "train.balance": Field("none", choice("none", "loss", "sampling"),
        "weigh classes by rarity, or draw equally often",
        earlier="none"),
    "train.label_smoothing": Field(0.0, fraction(), "label mass to spread over all classes"),
    "train.ema_decay": Field(0.0, fraction(),
        "decay of the moving average of parameters, which is evaluated; 0.0: none"),
    "train.steps_per_call": Field(0, integer(0),
        "maximum steps per dispatch to the device; 0: 1 on CPU, 50 elsewhere"),
    "train.log_every_steps": Field(100, integer(1), "steps over which training metrics are averaged"),

    "mesh.data": Field(0, integer(0),
        "devices that share each batch; 0: all devices of all processes", identifies=False, earlier=0),
    "mesh.shard_params": Field(False, boolean(),
        "shard parameters and optimizer state over the devices", identifies=False, earlier=False),

    "population.seeds": Field(0, integer(0),
        "number of seeds, from config.seed; 0: one model, unless a tuple has values", earlier=0),
    "population.seed": Field((), each(integer(0), empty=True), "the seeds themselves", earlier=()),
    "population.learning_rate": Field((), each(above_zero(), empty=True),
        "values of optimizer.learning_rate", earlier=()),
    "population.momentum": Field((), each(fraction(), empty=True),
        "values of optimizer.momentum", earlier=()),
    "population.weight_decay": Field((), each(from_zero(), empty=True),
        "values of optimizer.weight_decay", earlier=()),
    "population.label_smoothing": Field((), each(fraction(), empty=True),
        "values of train.label_smoothing", earlier=()),
    "population.dropout": Field((), each(fraction(), empty=True),
        "values of model.dropout", earlier=()),
    "population.names": Field((), each(text(required=True), empty=True),
        "folder names of the members; (): made from their values", earlier=()),

    "evaluation.batch_size": Field(1000, integer(1), "examples per forward pass"),
    "evaluation.shift": Field(0, integer(0),
        "shift in pixels of nine views whose probabilities are averaged; 0: one view"),
    "evaluation.flip": Field(False, boolean(), "average probabilities with those of the mirror image"),
    "evaluation.temperature": Field(False, boolean(),
        "scale probabilities by one temperature, fitted on validation", earlier=False),
    "evaluation.every_steps": Field(0, integer(0), "steps between validations; 0: one per epoch"),
    "evaluation.min_steps": Field(0, integer(0),
        "minimum number of steps between validations at the ends of epochs", earlier=0),

    "checkpoint.metric": Field("accuracy", choice("accuracy", "loss", "macro_f1"),
        "validation metric that picks the best"),
    "checkpoint.keep": Field(2, integer(1), "latest checkpoints to keep"),
    "checkpoint.every_steps": Field(0, integer(0),
        "steps between checkpoints beside those of evaluations; 0: none"),

    "wandb.mode": Field("auto", choice("auto", "online", "offline", "disabled"),
        "auto: W&B's setting; no key: offline", identifies=False),
    "wandb.project": Field("", text(),
        'project; "": W&B\'s own setting, or mnist_digit_classification', identifies=False),
    "wandb.entity": Field("", text(), 'user or team; "": W&B\'s own setting', identifies=False),
    "wandb.group": Field("", text(), "group of runs", identifies=False),
    "wandb.name": Field("", text(), 'name of the run; "": chosen by W&B', identifies=False),
    "wandb.notes": Field("", text(), "description of the run", identifies=False),
    "wandb.tags": Field((), each(text(required=True), empty=True), "tags of the run", identifies=False),
    "wandb.wait": Field(2.0, from_zero(),
        "seconds to wait at the end for uploads, which then continue in the background", identifies=False),
}
# fmt: on


def default_config() -> ml_collections.ConfigDict:
    """Every field with its default; locked, so that no field can be added."""
    config = ml_collections.ConfigDict()
    for name, field in FIELDS.items():
        group, _, key = name.rpartition(".")
        if group and group not in config:
            config[group] = ml_collections.ConfigDict()
        (config[group] if group else config)[key] = field.default
    return config.lock()


# Words of other programs -> the field here; without a dot, a field of any group.
_SYNONYMS = {
    "arch": "model.name",
    "beta1": "b1",
    "beta2": "b2",
    "bf16": "dtype",
    "dataset": "data.name",
    "device": "mesh.data",
    "devices": "mesh.data",
    "early_stopping": "patience",
    "folder": "dir",
    "gpus": "mesh.data",
    "hidden": "dense",
    "layers": "depth",
    "lr_schedule": "schedule.name",
    "path": "dir",
    "precision": "dtype",
    "scheduler": "schedule.name",
    "type": "name",
}
_NEAR = 0.6  # difflib's own cutoff


def nearest_field(name: str, cutoff: float = _NEAR) -> str | None:
    """The field that a name most likely means, such as "optimizer.learning_rate" for "lr".

    Args:
        name: without "config.".
        cutoff: how alike they must be, from 0 to 1, where 1 is another field's very name.
    """
    best = max(FIELDS, key=lambda field: _likeness(name, field))  # of equals the first
    return best if _likeness(name, best) >= cutoff else None


def unknown_field(name: str) -> str:
    """One line about a field that does not exist, with the most similar field that does."""
    if name in GROUPS:
        fields = [field.partition(".")[2] for field in FIELDS if field.startswith(f"{name}.")]
        return f"config.{name} must be followed by a field of this group: {', '.join(fields)}"
    near = nearest_field(name)
    groups = difflib.get_close_matches(name, GROUPS, n=1, cutoff=0.75)
    if groups and not nearest_field(name, 0.9):
        return f"config.{name} does not exist; did you mean config.{groups[0]}, a group of fields?"
    hint = f"did you mean config.{near}?" if near else "--help config lists every field"
    return f"config.{name} does not exist; {hint}"


def _likeness(asked: str, field: str) -> float:
    """How likely a name means a field: by the last parts, among equals by the groups."""
    asked_group, _, word = asked.rpartition(".")
    group, _, own = field.rpartition(".")
    word = word.replace("-", "_")
    if _SYNONYMS.get(word) in (own, field):
        word = own
    parts, own_parts = set(word.split("_")), set(own.split("_"))
    likeness = difflib.SequenceMatcher(None, word, own).ratio()
    if word == own:
        likeness = 1.0
    elif word == "".join(part[0] for part in own.split("_")) and len(word) > 1:
        likeness = 0.95
    elif common := len(parts & own_parts):
        likeness = max(likeness, 0.6 + 0.3 * common / len(parts | own_parts))
    same_group = bool(asked_group) and difflib.SequenceMatcher(None, asked_group, group).ratio() >= 0.5
    return likeness + 0.1 * same_group


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ("a.b", value) for each leaf of nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
