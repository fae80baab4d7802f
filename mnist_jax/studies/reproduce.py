"""Trains the config of a run.json again, and reports how circumstances and results differ."""

import pathlib
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from mnist_jax import data
from mnist_jax.config.fields import DATA_FOLDERS
from mnist_jax.config.population import is_population
from mnist_jax.config.validation import from_record, validate
from mnist_jax.loop import train_and_evaluate
from mnist_jax.storage import provenance
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.record import plain, read_record
from mnist_jax.studies.finished import require_unforced
from mnist_jax.system import devices
from mnist_jax.system.errors import UserError
from mnist_jax.system.mesh import make_mesh
from mnist_jax.training.predictor import model_template

_UNKNOWN = "unknown"  # uncommitted changes in an image, in which git cannot list them


class Difference(NamedTuple):
    """A circumstance that differs from that of the run."""

    what: str
    then: str
    now: str


class Reproduction(NamedTuple):
    """The result of a reproduction.

    Attributes:
        identical: whether parameters and metrics are bit-identical.
        metrics: name -> (then, now), for the test metrics that differ.
        largest: the largest difference of a test metric.
        parameters: the largest difference of a parameter, relative to the largest of its array; None for a
            population, or without the last checkpoint of a run.
    """

    identical: bool
    metrics: dict[str, tuple[Any, Any]]
    largest: float
    parameters: float | None


def config_of(record: Mapping[str, Any], folders: Mapping[str, str | None]) -> ml_collections.ConfigDict:
    """The config of a run.json, which can be another person's, with the user's own folders of data.

    Args:
        record: the run.json.
        folders: the values of `DATA_FOLDERS` on this machine that the user gives.

    Raises:
        UserError: It is not a config of this version, or the user does not give the folders of its data.
    """
    config = from_record(record["config"])
    config.wandb.mode = "disabled"
    validate(config)
    asked = {
        name: config.data[name] for name in DATA_FOLDERS if config.data[name] and folders.get(name) is None
    }
    asked.pop("cache_dir", None)  # it does not change the run
    if asked:
        flags = " ".join(f"--{name}={shlex.quote(value)}" for name, value in asked.items())
        raise UserError(
            f"the folders of the data must be on the command line, because run.json names some; add {flags}"
        )
    config.data.update({name: folders.get(name) or "" for name in DATA_FOLDERS})
    return config


def circumstances(record: Mapping[str, Any]) -> list[Difference]:
    """The facts of code, packages and machine that differ from a run.json, or are unknown."""
    code, then = provenance.describe_code(), record["environment"]
    now = provenance.describe_environment(record["config"].get("dtype", "float32"))
    pairs = {
        "code: commit": (record["code"]["commit"], code["commit"]),
        "code: uncommitted changes": (_changes(record["code"]), _changes(code)),
        "Python": (then["python"], now["python"]),
        "operating system": (then["os"], now["os"]),
        "processor": (then["cpu"], now["cpu"]),
        **{
            f"accelerator: {key}": (then["accelerator"].get(key), plain(now["accelerator"].get(key)))
            for key in {**now["accelerator"], **then["accelerator"]}
        },
        **{
            f"package: {name}": (then["packages"].get(name), now["packages"].get(name))
            for name in sorted(then["packages"].keys() | now["packages"].keys())
        },
    }
    different = {what: pair for what, pair in pairs.items() if pair[0] != pair[1] or _UNKNOWN in pair}
    return [Difference(what, str(old), str(new)) for what, (old, new) in different.items()]


def _changes(code: Mapping[str, Any]) -> str | None:
    if code["dirty"]:
        return _UNKNOWN if code.get("keys_left_out") else code["patch_sha256"] or _UNKNOWN
    return "none" if code["dirty"] is False else _UNKNOWN if code.get("unknown") else None


def run_again(workdir: pathlib.Path, config: ml_collections.ConfigDict, into: pathlib.Path) -> Reproduction:
    """Trains the config in the folder `into`, and compares that run with the one in `workdir`.

    Raises:
        UserError: the run in `workdir` is not finished or was forced, `into` holds a run, or the data differ.
    """
    record = read_record(workdir)
    if record["status"] != "finished":
        raise UserError(f"{workdir} must be a finished run (got {record['status']}); finish it first")
    require_unforced(record, workdir)
    if (into / "run.json").exists() or (into / "checkpoints").exists():
        raise UserError(f"--into={into} must be a folder without a run (got one with a run); give another")
    devices.prepare_host()
    frozen = validate(config)
    dataset = data.load(frozen.data)
    if dataset.fingerprint != record["data"]["fingerprint"]:
        raise UserError(
            f"the data must be those of {workdir}, with fingerprint {record['data']['fingerprint']} (got "
            f"{dataset.fingerprint})"
        )
    again = train_and_evaluate(config, into)
    then, now = (_numbers(one["metrics"]["test"]) for one in (record, again))
    differing = {key: (then.get(key), now.get(key)) for key in then | now if then.get(key) != now.get(key)}
    gaps = [np.inf if old is None or new is None else abs(new - old) for old, new in differing.values()]
    same_bits = record["params_sha256"] == again["params_sha256"]
    return Reproduction(
        identical=same_bits and record["metrics"] == again["metrics"],
        metrics=differing,
        largest=max(gaps, default=0.0),
        parameters=0.0 if same_bits else _parameter_gap(frozen, dataset, workdir, into, record["steps"]),
    )


def _parameter_gap(
    config: ml_collections.FrozenConfigDict,
    dataset: data.Dataset,
    workdir: pathlib.Path,
    into: pathlib.Path,
    step: int,
) -> float | None:
    if is_population(config):
        return None
    _, like = model_template(config, dataset.image_shape, len(dataset.class_names), make_mesh(config))
    params = []
    for folder in (workdir, into):
        with Checkpoints(folder / "checkpoints", config.checkpoint.keep, read_only=True) as checkpoints:
            if step not in checkpoints.steps:
                return None
            params.append(checkpoints.restore_params(step, like))
    gaps = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)), *params)
    return max(jax.tree.leaves(gaps))


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if value is None or isinstance(value, (int, float))}
