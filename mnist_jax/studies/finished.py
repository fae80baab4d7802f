"""Finished runs that can be compared: with the same data and test split."""

import pathlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mnist_jax.config.fields import flatten
from mnist_jax.config.identity import same_run_key
from mnist_jax.metrics.predictions import Predictions, load_predictions
from mnist_jax.storage.record import read_record
from mnist_jax.system.errors import UserError

DRAWS = ("seed", "data.fold_seed", "data.fold")  # fields that differ between the runs of one setting


class FinishedRun(NamedTuple):
    """A finished run.

    Attributes:
        name: of its folder.
        workdir: its folder.
        record: its run.json.
        predictions: on the test split.
    """

    name: str
    workdir: pathlib.Path
    record: dict[str, Any]
    predictions: Predictions

    @property
    def seed(self) -> int:
        return self.record["config"]["seed"]

    @property
    def fold(self) -> str:
        """The fold that validates, such as "1 of 5", and the seed of the folds; "" without folds."""
        data = self.record["config"]["data"]
        by = f", seed {data['fold_seed']}" if data.get("fold_seed") else ""
        return f"{data['fold']} of {data['folds']}{by}" if data.get("folds") else ""

    @property
    def draw(self) -> tuple[Any, ...]:
        """The values of `DRAWS`, which differ between the runs of one setting."""
        fields = dict(flatten(self.record["config"]))
        return tuple(fields.get(name, 0) for name in DRAWS)


def load_runs(workdirs: Iterable[pathlib.Path], warn: Callable[[str], None]) -> list[FinishedRun]:
    """The finished runs in these folders; a population is its ensemble and its members.

    Args:
        workdirs: files and folders without a run.json, such as a sweep's own, are ignored.
        warn: gets a line for each run that is left out.

    Raises:
        UserError: there are none, or their data or test splits differ.
    """
    runs: dict[Hashable, FinishedRun] = {}  # by config and seed
    waiting = list(workdirs)
    while waiting:
        workdir = waiting.pop(0)
        if not (workdir / "run.json").exists():
            continue
        try:
            record = _finished(workdir)
            _, predictions = load_predictions(workdir / "predictions.npz")
            _require_classes(predictions, record, workdir)
        except UserError as error:
            warn(f"left out: {error}")
            continue
        name = workdir.absolute().name
        if members := record.get("population"):
            name += "-ensemble"
            waiting = [*(workdir / member["member"] for member in members), *waiting]
        run = FinishedRun(name, workdir, record, predictions)
        _require_comparable(next(iter(runs.values()), run), run)
        same = runs.setdefault(same_run_key(record["config"]), run)
        if same is not run:  # it would count twice, and differences would look more certain
            warn(f"left out: {workdir} has the config and seed of {same.workdir}")
    if not runs:
        raise UserError("the folders must have finished runs (got none); mnist-jax runs lists runs")
    return list(runs.values())


def require_unforced(record: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Raises UserError if `--resume=force` changed the config or the data of a run."""
    processes = record["processes"]
    fingerprints = {process.get("data_fingerprint") for process in processes}
    if len(fingerprints) > 1 or any(process.get("config_changes") for process in processes):
        raise UserError(f"{workdir} must be a run of one config and data set (got others by --resume=force)")


def _finished(workdir: pathlib.Path) -> dict[str, Any]:
    """The run.json of a finished run of one config.

    Raises:
      UserError: it is not finished, or `--resume=force` changed it.
    """
    record = read_record(workdir)
    if record["status"] != "finished":
        raise UserError(f"{workdir} must be finished (got {record['status']})")
    require_unforced(record, workdir)
    return record


def _require_classes(predictions: Predictions, record: dict[str, Any], workdir: pathlib.Path) -> None:
    """Raises UserError if predictions have other classes than the record."""
    of_data, classes = len(record["data"]["classes"]), predictions.log_probabilities.shape[1]
    if classes != of_data:
        raise UserError(
            f"{workdir / 'predictions.npz'} must be of the {of_data} classes in run.json (got {classes})"
        )


def _require_comparable(first: FinishedRun, run: FinishedRun) -> None:
    """Raises UserError if two runs were not tested on the same examples of the same data."""

    def facts(one: FinishedRun) -> dict[str, Any]:
        data = one.record["data"]
        return {
            "data": f"{data['name']} ({data['fingerprint'][:12]})",
            "the test split": one.record["config"]["data"]["test"],
            "the test examples": len(one.predictions.labels),
        }

    same_data = first.record["data"]["fingerprint"] == run.record["data"]["fingerprint"]
    for what, value in facts(first).items():
        if (other := facts(run)[what]) != value and not (what == "data" and same_data):  # under any name
            raise UserError(
                f"{first.workdir} and {run.workdir} cannot be compared: {what} is {value} in the first and "
                f"{other} in the second"
            )
    if not np.array_equal(first.predictions.labels, run.predictions.labels):
        raise UserError(
            f"{first.workdir} and {run.workdir} cannot be compared: the labels in predictions.npz differ"
        )
