"""Populations, many models in one run: the members that `config.population` describes."""

from collections.abc import Sequence
from typing import Any

import ml_collections

from mnist_jax.config.fields import flatten
from mnist_jax.config.variants import Member, changed, members_of, named
from mnist_jax.system.errors import UserError

# Tuple of config.population -> the field that it varies, which compiled programs take as an argument.
VARIED = {
    "learning_rate": "optimizer.learning_rate",
    "momentum": "optimizer.momentum",
    "weight_decay": "optimizer.weight_decay",
    "label_smoothing": "train.label_smoothing",
    "dropout": "model.dropout",
    "seed": "seed",
}


def is_population(config: ml_collections.FrozenConfigDict) -> bool:
    """Whether a config describes many models."""
    return bool(config.population.seeds) or any(len(config.population[name]) for name in VARIED)


def members_in(config: ml_collections.FrozenConfigDict) -> list[Member]:
    """Makes the members of `config.population`, each with the config of a single model.

    Raises:
        UserError: tuples differ in length, there is not one name per member, or a config is not valid.
    """
    asked = config.population
    _require_one_length(config)
    given = {name: asked[name] for name in VARIED if len(asked[name])}
    lengths = {name: len(values) for name, values in given.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(
            "config.population must have tuples of one length (got "
            + ", ".join(f"{length} of {name}" for name, length in lengths.items())
            + ")"
        )
    if asked.seeds and "seed" in given:
        raise UserError("config.population must have seeds or seed, not both; seeds is their number")
    settings: list[dict[str, Any]] = [
        {VARIED[name]: values[k] for name, values in given.items()}
        for k in range(max(lengths.values(), default=1))
    ]
    if asked.seeds:
        seeds = range(config.seed, config.seed + asked.seeds)
        settings = [{**setting, "seed": seed} for setting in settings for seed in seeds]
    if asked.names and len(asked.names) != len(settings):
        raise UserError(
            f"config.population.names must have a name for each of the {len(settings)} members "
            f"(got {len(asked.names)})"
        )
    if asked.names and len(set(asked.names)) < len(asked.names):
        raise UserError(f"config.population.names must be different (got {tuple(asked.names)})")
    alone = ml_collections.ConfigDict(config.to_dict())
    alone.population = {name: 0 if name == "seeds" else () for name in asked}
    return members_of(
        alone, dict(zip(asked.names, settings, strict=True)) if asked.names else named(settings)
    )


def grouped(base: ml_collections.ConfigDict, members: Sequence[Member]) -> list[Member]:
    """Groups members that differ only in `VARIED` fields into populations, population_0 and so on.

    Other members do not change.

    Raises:
        UserError: the base config is a population already.
    """
    if is_population(base):
        raise UserError("config.population must be empty with --vmap, which makes populations itself")
    groups: dict[str, list[Member]] = {}
    for member in members:
        fields = dict(flatten(member.config.to_dict()))
        key = repr([value for name, value in fields.items() if name not in VARIED.values()])
        groups.setdefault(key, []).append(member)
    found: list[Member] = []
    for group in groups.values():
        if len(group) == 1 or is_population(group[0].config):
            found += group
            continue
        _require_one_length(group[0].config)
        configs = [dict(flatten(member.config.to_dict())) for member in group]
        shared = {k: v for k, v in group[0].overrides.items() if k not in VARIED.values()}
        shared |= {field: configs[0][field] for field in VARIED.values()}
        tuples = {
            f"population.{name}": tuple(config[field] for config in configs)
            for name, field in VARIED.items()
            if any(config[field] != configs[0][field] for config in configs)
        }
        overrides = {**shared, **tuples, "population.names": tuple(member.name for member in group)}
        name = f"population_{sum(is_population(one.config) for one in found)}"
        found.append(Member(name, overrides, changed(base, overrides, name)))
    return found


def _require_one_length(config: ml_collections.ConfigDict | ml_collections.FrozenConfigDict) -> None:
    """Raises UserError with `train.patience`: members would end at different steps."""
    if config.train.patience:
        raise UserError(
            f"config.train.patience must be 0 in a population (got {config.train.patience}), whose members "
            "end together; train them as a sweep without --vmap"
        )


def require_one_model(config: ml_collections.FrozenConfigDict, workdir: object) -> None:
    """Raises UserError if a workdir holds a population instead of a single model."""
    if is_population(config):
        raise UserError(
            f"{workdir} must be the workdir of one model (got a population); give that of a member, such as "
            f"{workdir}/{members_in(config)[0].name}"
        )
