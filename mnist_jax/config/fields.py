"""What each field of a config may be; a config is validated once, then frozen."""

import difflib
import json
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import ml_collections

from mnist_jax.system.errors import UserError


class Rule(NamedTuple):
    """What a field may be: a test of its value, and the same in words."""

    accepts: Callable[[Any], bool]
    expects: str


def _integer(minimum: int) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and minimum <= value < 2**31

    return Rule(accepts, f"an integer from {minimum} to 2147483647")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _from_zero() -> Rule:
    return Rule(lambda value: _is_number(value) and 0 <= value <= 1e9, "a number from 0 to 1e9")


def _above_zero() -> Rule:
    return Rule(lambda value: _is_number(value) and 0 < value <= 1e9, "a number above 0 and up to 1e9")


def _fraction(*, include_one: bool = False) -> Rule:
    def accepts(value: Any) -> bool:
        return _is_number(value) and (0 <= value < 1 or (include_one and value == 1))

    return Rule(accepts, f"a number from 0 {'to' if include_one else 'up to, not including,'} 1")


def _choice(*names: str) -> Rule:
    return Rule(lambda value: isinstance(value, str) and value in names, "one of " + ", ".join(names))


def _text(*, required: bool = False) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, str) and "\0" not in value and bool(value.strip() or not required)

    return Rule(accepts, "a text that is not empty" if required else "a text")


def _boolean() -> Rule:
    return Rule(lambda value: isinstance(value, bool), "True or False")


def _each(rule: Rule, *, empty: bool = False) -> Rule:
    def accepts(value: Any) -> bool:
        return isinstance(value, tuple) and (empty or len(value) > 0) and all(map(rule.accepts, value))

    return Rule(accepts, f"a tuple with {'any' if empty else 'one or more'} entries, each {rule.expects}")


RULES: Mapping[str, Rule] = {
    "seed": _integer(0),
    "dtype": _choice("float32", "bfloat16"),
    "profile": _integer(0),
    "data.name": _text(required=True),
    "data.dir": _text(),
    "data.train": _text(required=True),
    "data.validation": _text(required=True),
    "data.test": _text(required=True),
    "data.data_dir": _text(),
    "data.manual_dir": _text(),
    "data.cache_dir": _text(),
    "data.image_size": _integer(0),
    "data.mean": _each(_fraction(include_one=True)),
    "data.std": _each(_above_zero()),
    "data.placement": _choice("auto", "device", "host"),
    "augment.shift": _from_zero(),
    "augment.rotation": _from_zero(),
    "augment.scale": _fraction(),
    "augment.shear": _from_zero(),
    "augment.elastic": _from_zero(),
    "augment.crop": _integer(0),
    "augment.flip": _boolean(),
    "augment.cutout": _integer(0),
    "model.name": _choice("cnn", "airbench"),
    "model.widths": _each(_integer(1)),
    "model.kernel": _integer(1),
    "model.depth": _integer(1),
    "model.residual": _boolean(),
    "model.whitening": _boolean(),
    "model.dense": _integer(1),
    "model.activation": _choice("relu", "gelu", "silu"),
    "model.pooling": _choice("average", "max"),
    "model.norm": _choice("none", "batch", "group"),
    "model.dropout": _fraction(),
    "optimizer.name": _choice("sgd", "adam", "adamw", "adadelta", "lamb", "lion", "muon"),
    "optimizer.learning_rate": _above_zero(),
    "optimizer.momentum": _fraction(),
    "optimizer.nesterov": _boolean(),
    "optimizer.b1": _fraction(),
    "optimizer.b2": _fraction(),
    "optimizer.eps": _above_zero(),
    "optimizer.rho": _fraction(),
    "optimizer.newton_schulz": _integer(1),
    "optimizer.weight_decay": _from_zero(),
    "optimizer.skip_nonfinite": _integer(0),
    "optimizer.clip_norm": _from_zero(),
    "schedule.name": _choice("constant", "cosine", "one_cycle", "step", "linear"),
    "schedule.unit": _choice("epochs", "steps"),
    "schedule.warmup": _from_zero(),
    "schedule.end_factor": _fraction(include_one=True),
    "schedule.boundaries": _each(_above_zero()),
    "schedule.factor": _above_zero(),
    "train.batch_size": _integer(1),
    "train.epochs": _integer(1),
    "train.steps": _integer(0),
    "train.label_smoothing": _fraction(),
    "train.ema_decay": _fraction(),
    "train.steps_per_call": _integer(0),
    "train.log_every_steps": _integer(1),
    "mesh.data": _integer(0),
    "mesh.shard_params": _boolean(),
    "population.seeds": _integer(0),
    "population.seed": _each(_integer(0), empty=True),
    "population.learning_rate": _each(_above_zero(), empty=True),
    "population.momentum": _each(_fraction(), empty=True),
    "population.weight_decay": _each(_from_zero(), empty=True),
    "population.label_smoothing": _each(_fraction(), empty=True),
    "population.dropout": _each(_fraction(), empty=True),
    "population.names": _each(_text(required=True), empty=True),
    "evaluation.batch_size": _integer(1),
    "evaluation.shift": _integer(0),
    "evaluation.flip": _boolean(),
    "evaluation.every_steps": _integer(0),
    "checkpoint.metric": _choice("accuracy", "loss", "macro_f1"),
    "checkpoint.keep": _integer(1),
    "checkpoint.every_steps": _integer(0),
    "wandb.mode": _choice("auto", "online", "offline", "disabled"),
    "wandb.project": _text(required=True),
    "wandb.entity": _text(),
    "wandb.group": _text(),
    "wandb.name": _text(),
    "wandb.notes": _text(),
    "wandb.tags": _each(_text(required=True), empty=True),
    "wandb.wait": _from_zero(),
}

# These change nothing of what is computed, or rounding alone: a run may be resumed with other values of them.
_WHERE_THINGS_LIE = frozenset({"data.dir", "data.data_dir", "data.manual_dir", "data.cache_dir"})
_WHERE_THINGS_LIE |= {"mesh.data", "mesh.shard_params", "profile"}
_WHERE_THINGS_LIE |= {name for name in RULES if name.startswith("wandb.")}


# Of fields that came after the first records of this schema, what runs without them had.
_LATER: Mapping[str, Any] = {
    "profile": 0,
    "optimizer": {"skip_nonfinite": 0, "newton_schulz": 5},
    "mesh": {"data": 0, "shard_params": False},
    "population": {"seeds": 0}
    | {
        name.removeprefix("population."): ()
        for name in RULES
        if name.startswith("population.") and name != "population.seeds"
    },
}


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a record, with the fields that came after it was written."""
    return {**_LATER, **config, "optimizer": {**_LATER["optimizer"], **config.get("optimizer", {})}}


def validate(config: ml_collections.ConfigDict) -> ml_collections.FrozenConfigDict:
    """Checks every field of a config, and fields against each other.

    Returns: the config, frozen.
    Raises UserError: one line that names the field, what it is and what it may be.
    """
    fields = dict(flatten(config.to_dict()))
    for name in fields:
        if name not in RULES:
            raise UserError(unknown_field(name))
    for name, rule in RULES.items():
        if name not in fields:
            raise UserError(f"config.{name} is missing; start from configs/default.py, which has every field")
        if not rule.accepts(fields[name]):
            raise UserError(f"config.{name} is {fields[name]!r}; it may be {rule.expects}")
    _check_together(config)
    return ml_collections.FrozenConfigDict(config)


def from_record(fields: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The config that run.json has; JSON's lists are its tuples."""

    def with_tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: with_tuples(entry) for key, entry in value.items()}
        return tuple(value) if isinstance(value, list) else value

    return ml_collections.ConfigDict(with_tuples(fields))


def unknown_field(name: str) -> str:
    """One line about a field that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name, RULES, n=1) or [
        known for known in RULES if known.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]
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


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields that make two configs different runs: name -> (old, new), without where things lie."""
    before, after = (dict(flatten(json.loads(json.dumps(completed(config))))) for config in (old, new))
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if name not in _WHERE_THINGS_LIE and before.get(name) != after.get(name)
    }


def identity(fields: Iterable[str]) -> list[str]:
    """Of fields by dotted name those that make a run what it is: not where things lie, nor W&B's."""
    return [name for name in fields if name not in _WHERE_THINGS_LIE]


def shareable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by dotted name, without where things lie on one machine and in one account."""
    return {name: value for name, value in flatten(config) if name not in _WHERE_THINGS_LIE}


def same_run_key(config: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """Equal for configs that are the same run, as `differences` has it; for many of them at once."""
    fields = shareable(completed(config))
    return frozenset((name, tuple(v) if isinstance(v, list) else v) for name, v in fields.items())


def require_same(old: Mapping[str, Any], new: Mapping[str, Any], where: object) -> None:
    """Raises UserError, with the fields that differ, unless two configs are the same run.

    where: the folder that holds the run of the old config.
    """
    changed = differences(old, new)
    if changed:
        told = [
            f"config.{name} was {_shortened(was)}, now {_shortened(now)}"
            for name, (was, now) in changed.items()
        ]
        fields = ", ".join(told)
        raise UserError(
            f"{where} holds a run of another config ({fields}); give another --workdir or --resume=force"
        )


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _check_together(config: ml_collections.ConfigDict) -> None:
    optimizer, schedule = config.optimizer, config.schedule
    if optimizer.name == "adam" and optimizer.weight_decay > 0:
        raise UserError(
            f"config.optimizer.weight_decay is {optimizer.weight_decay:g}, but adam has none; "
            "use --config.optimizer.name=adamw, or 0"
        )
    if schedule.name == "one_cycle" and schedule.warmup == 0:
        raise UserError("config.schedule.warmup is 0, but one_cycle has to rise; give it some, or use cosine")
    if schedule.name == "step" and list(schedule.boundaries) != sorted(set(schedule.boundaries)):
        raise UserError(f"config.schedule.boundaries is {tuple(schedule.boundaries)}; it has to rise")
    if len(config.data.mean) != len(config.data.std):
        raise UserError(
            f"config.data.mean has {len(config.data.mean)} entries and config.data.std "
            f"{len(config.data.std)}; they need as many as each other"
        )
