"""What is printed before a run trains: its data, model, optimizer, device, length, workdir and W&B mode."""

import pathlib
import textwrap
from collections.abc import Mapping
from typing import Any

import ml_collections

from mnist_jax.config.population import is_population, members_in
from mnist_jax.training.plan import Plan

_LABEL, _WIDTH = 11, 80  # columns of the names, and of a line
_OF_AUTO = {
    "online": "online",
    "offline": "offline (W&B has no API key here, or is set so)",
    "disabled": "off (by W&B's own settings)",
}


def header(
    config: ml_collections.FrozenConfigDict,
    record: Mapping[str, Any],
    plan: Plan,
    workdir: pathlib.Path,
    *,
    step: int,
    wandb_mode: str,
) -> list[str]:
    """The facts of a run as lines, each under its name.

    Args:
        config: of the run.
        record: its run.json, begun.
        plan: its steps.
        workdir: its folder.
        step: the steps taken before; 0 for a new run.
        wandb_mode: "online", "offline" or "disabled".
    """
    facts = {
        "data": _data(record["data"]),
        "model": _model(config, record["parameters"]),
        "optimizer": _optimizer(config),
        "device": _device(config, record["environment"]),
        "length": _length(config, plan),
        "loss": _loss(config),
        "workdir": str(workdir),
        "W&B": _wandb(config.wandb, wandb_mode),
        "resumes": f"after step {step} of {plan.total_steps}, epoch {plan.epoch(step):.1f}" if step else "",
    }
    return [line for name, text in facts.items() if text for line in _lines(name, text)]


def _lines(name: str, text: str) -> list[str]:
    """A long text is broken at spaces, so that a path stays whole."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{name:{_LABEL}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _data(data: Mapping[str, Any]) -> str:
    sizes = ", ".join(f"{split['examples']:,} {role}" for role, split in data["splits"].items())
    return f"{data['name']}: {sizes}; {len(data['classes'])} classes"


def _model(config: ml_collections.FrozenConfigDict, parameters: int) -> str:
    if not is_population(config):
        return f"{config.model.name}, {parameters:,} parameters"
    count = len(members_in(config))
    return f"{count} x {config.model.name}, {parameters // count:,} parameters each"


def _optimizer(config: ml_collections.FrozenConfigDict) -> str:
    optimizer, schedule = config.optimizer, config.schedule
    parts = [optimizer.name, f"learning rate {_varied(config, 'learning_rate', optimizer.learning_rate)}"]
    if (decay := _varied(config, "weight_decay", optimizer.weight_decay)) != "0":
        parts.append(f"weight decay {decay}")
    shape = schedule.name
    if schedule.warmup and schedule.unit == "run":
        shape += f", warmup over {100 * schedule.warmup:.3g}% of the run"
    elif schedule.warmup:
        shape += f", warmup over {schedule.warmup:g} {schedule.unit}"
    return f"{', '.join(parts)}; {shape}"


def _varied(config: ml_collections.FrozenConfigDict, name: str, value: float) -> str:
    """The value of a field, or the range that the members of a population have."""
    values = config.population[name] or (value,)
    return " to ".join(f"{end:g}" for end in dict.fromkeys((min(values), max(values))))


def _device(config: ml_collections.FrozenConfigDict, environment: Mapping[str, Any]) -> str:
    found = environment["accelerator"]
    kind = found["kind"]
    if found["platform"] == "cpu":
        kind = f"CPU ({environment['cpu']}), {found['cores_usable']} cores"
    count = f"{found['count']} x " if found["count"] > 1 else ""
    processes = f", {found['processes']} processes" if found["processes"] > 1 else ""
    return f"{count}{kind}{processes}, {config.dtype}"


def _length(config: ml_collections.FrozenConfigDict, plan: Plan) -> str:
    text = (
        f"{plan.epoch(plan.total_steps):.1f} epochs, {plan.total_steps:,} steps of "
        f"{config.train.batch_size} examples"
    )
    patience = config.train.patience
    return f"{text}, fewer after {patience} evaluations without a better one" if patience else text


def _loss(config: ml_collections.FrozenConfigDict) -> str:
    """What makes the loss of training another quantity than that of validation."""
    train = config.train
    smoothing = _varied(config, "label_smoothing", train.label_smoothing)
    parts = {
        f"label smoothing {smoothing}": smoothing != "0",
        "mixup": config.augment.mixup > 0,
        "cutmix": config.augment.cutmix > 0,
        "class weights": bool(train.class_weights) or train.balance == "loss",
    }
    used = [name for name, is_used in parts.items() if is_used]
    return f"train: with {', '.join(used)}; validation: without" if used else ""


def _wandb(config: ml_collections.FrozenConfigDict, mode: str) -> str:
    if config.mode == mode == "disabled":
        return "off (config.wandb.mode is disabled)"
    return _OF_AUTO[mode] if config.mode == "auto" else mode
