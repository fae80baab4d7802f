"""Runs what a run.json says again, and tells what differs: the circumstances, and what came out."""

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
from mnist_jax.system import devices
from mnist_jax.system.errors import UserError
from mnist_jax.system.mesh import make_mesh
from mnist_jax.training.predictor import model_template

_UNKNOWN = "unknown"  # changes of a tree that were made into an image, where git cannot tell them


class Difference(NamedTuple):
    """One circumstance that is not what it was."""

    what: str
    then: str
    now: str


class Reproduction(NamedTuple):
    """How a reproduction came out.

    identical: parameters and metrics to the bit. metrics: name -> (then, now) of test metrics that differ.
    largest: the largest difference of one of them. parameters: the largest difference of a parameter, in
    units of the largest of its array; None for a population, and where a run's last checkpoint is gone.
    """

    identical: bool
    metrics: dict[str, tuple[Any, Any]]
    largest: float
    parameters: float | None


def config_of(record: Mapping[str, Any], folders: Mapping[str, str | None]) -> ml_collections.ConfigDict:
    """The config of a run.json, which may be another person's: the folders of the data are the user's.

    Args:
        record: the run.json.
        folders: the values of `DATA_FOLDERS` on this machine, as far as the user gives them.

    Raises:
        UserError: It is not a config of this version, or its data is in folders that the user does not give.
    """
    config = from_record(record["config"])
    config.wandb.mode = "disabled"
    validate(config)
    asked = {
        name: config.data[name] for name in DATA_FOLDERS if config.data[name] and folders.get(name) is None
    }
    asked.pop("cache_dir", None)  # whichever it is, the run is the same
    if asked:
        flags = " ".join(f"--{name}={shlex.quote(value)}" for name, value in asked.items())
        raise UserError(
            f"the data's folders must be on the command line (got none of the record's); add {flags}"
        )
    config.data.update({name: folders.get(name) or "" for name in DATA_FOLDERS})
    return config


def circumstances(record: Mapping[str, Any]) -> list[Difference]:
    """What of code, packages and machine is not as a run.json has it, or cannot be told."""
    code, then = provenance.describe_code(), record["environment"]
    now = provenance.describe_environment(record["config"].get("dtype", "float32"))
    pairs = {
        "code: commit": (record["code"]["commit"], code["commit"]),
        "code: uncommitted changes": (_changes(record["code"]), _changes(code)),
        "Python": (then["python"], now["python"]),
        "operating system": (then["os"], now["os"]),
        "processor": (then["cpu"], now["cpu"]),
        **{
            f"accelerator: {key}": (then["accelerator"].get(key), value)
            for key, value in plain(now["accelerator"]).items()
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
        return code["patch_sha256"] or _UNKNOWN
    return "none" if code["dirty"] is False else None


def run_again(workdir: pathlib.Path, config: ml_collections.ConfigDict, into: pathlib.Path) -> Reproduction:
    """Trains the config in the folder `into`; returns how that run compares with the one in `workdir`.

    Raises UserError: the run in `workdir` did not finish or was forced, `into` holds a run, other data.
    """
    record = read_record(workdir)
    if record["status"] != "finished":
        raise UserError(f"the run in {workdir} is {record['status']}; only a finished run can be compared")
    forced = [process for process in record["processes"] if process["config_changes"]]
    if forced or len({process["data_fingerprint"] for process in record["processes"]}) > 1:
        raise UserError(
            f"the run in {workdir} was forced on with another config or other data; no config gives it"
        )
    if (into / "run.json").exists() or (into / "checkpoints").exists():
        raise UserError(f"{into} holds a run already; give another folder with --into")
    devices.prepare_host()
    frozen = validate(config)
    dataset = data.load(frozen.data)
    if dataset.fingerprint != record["data"]["fingerprint"]:
        raise UserError(
            f"the data is not that of {workdir}: its fingerprint was {record['data']['fingerprint']}, "
            f"here it is {dataset.fingerprint}"
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
