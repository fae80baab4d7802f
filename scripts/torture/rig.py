"""Whole runs of main.py that can be disturbed, and what they have to come to all the same."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import numpy as np

from mnist_jax.metrics.predictions import load_predictions
from mnist_jax.storage.history import Row, read_metrics
from mnist_jax.storage.record import read_record
from mnist_jax.system.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]
_SLOWEST = 300  # seconds that a run may take

Case = tuple[str, list[str]]  # its kind, and what was wrong


class Ended(NamedTuple):
    """How a command ended, and what it said on standard error."""

    status: int
    said: str


class Place(NamedTuple):
    """Where a run writes: its workdir, its caches of data and compiled programs, and sets it prepares."""

    workdir: pathlib.Path
    caches: pathlib.Path
    prepares: bool = False

    def environment(self) -> dict[str, str]:
        sets = {"TFDS_DATA_DIR": str(self.caches / "tfds")} if self.prepares else {}
        return {**os.environ, "XDG_CACHE_HOME": str(self.caches), **sets}


class Rig:
    """Starts runs of one config, and knows what they have to come to."""

    def __init__(self, flags: list[str], folder: pathlib.Path):
        self.flags, self.folder, self._number = flags, folder, 0
        self.warm = folder / "caches"
        self.reference = self.place()
        self.run(self.reference)  # fills the caches
        started = time.monotonic()
        self.reference = self.place()
        ended = self.run(self.reference)
        if ended.status:
            raise UserError(f"an undisturbed run ends with status {ended.status}: {ended.said}")
        self.seconds = time.monotonic() - started

    def place(self, *, cold: bool = False) -> Place:
        """A place that no run was at; cold: with empty caches, and no set prepared that can be."""
        self._number += 1
        workdir = self.folder / f"run-{self._number}"
        caches = self.folder / f"caches-{self._number}" if cold else self.warm
        caches.mkdir(exist_ok=True)
        return Place(workdir, caches, cold and any("manual_dir" in flag for flag in self.flags))

    def command(self, place: Place, *more: str) -> list[str]:
        """To be run in ROOT, in the place's environment."""
        return [sys.executable, "main.py", *self.flags, f"--workdir={place.workdir}", *more]

    def start(self, place: Place, *more: str, **given: Any) -> "subprocess.Popen[str]":
        given = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **given}
        return subprocess.Popen(
            self.command(place, *more),
            cwd=ROOT,
            env=place.environment(),
            text=True,
            start_new_session=True,
            **given,
        )

    def run(self, place: Place) -> Ended:
        """The same command, to its end."""
        return end(self.start(place))

    def wrong(self, place: Place, ended: Ended) -> list[str]:
        """What differs from an undisturbed run, where a run was and ended so."""
        if ended.status:
            return [f"status {ended.status}: {ended.said}"]
        found = [f"printed a traceback: {ended.said}"] if "Traceback" in ended.said else []
        try:
            return found + deviations(place, self.reference)
        except UserError as error:
            return [*found, str(error)]

    def evaluates_otherwise(self, place: Place, ended: Ended) -> list[str]:
        """What differs from the undisturbed run's metrics where its best checkpoint was evaluated again."""
        if ended.status or "Traceback" in ended.said:
            return [f"status {ended.status}: {ended.said}"]
        (path,) = place.workdir.glob("evaluation-*.json")
        found = json.loads(path.read_text())["metrics"]
        expected = read_record(self.reference.workdir)["metrics"]["test"]
        return [f"test {key} is {found[key]}" for key in ("accuracy", "loss") if found[key] != expected[key]]

    def clear(self, place: Place) -> None:
        shutil.rmtree(place.workdir, ignore_errors=True)
        if place.caches != self.warm:
            shutil.rmtree(place.caches, ignore_errors=True)


def end(process: "subprocess.Popen[str]") -> Ended:
    try:
        said = process.communicate(timeout=_SLOWEST)[1] or ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return Ended(-1, f"did not end within {_SLOWEST} s: {process.communicate()[1]}")
    return Ended(process.returncode, said)


def deviations(place: Place, reference: Place) -> list[str]:
    """What a finished run has otherwise than the same run undisturbed.

    Raises UserError: one of its files cannot be read.
    """
    record, other = (read_record(one.workdir) for one in (place, reference))
    found = [
        f"{key} is {str(record.get(key))[:80]}, not {str(other.get(key))[:80]}"
        for key in ("status", "params_sha256", "metrics", "best", "steps")
        if record.get(key) != other.get(key)
    ]
    rows, expected = (read_metrics(one.workdir / "metrics.jsonl") for one in (place, reference))
    if [row for row in rows if row["split"] != "train"] != [
        row for row in expected if row["split"] != "train"
    ]:
        found.append("the history has other evaluations")
    found += _gaps([row for row in rows if row["split"] == "train"], record["steps"])
    found += [
        f"left {name}" for name in sorted((_names(place) - _names(reference)) | _unfinished(place.caches))
    ]
    lacking = sorted(_names(reference) - _names(place))
    found += [f"lacks {name}" for name in lacking]
    if "predictions.npz" not in lacking:
        _, said = load_predictions(place.workdir / "predictions.npz")
        _, undisturbed = load_predictions(reference.workdir / "predictions.npz")
        if not np.array_equal(said.log_probabilities, undisturbed.log_probabilities):
            found.append("predictions.npz has other predictions")
    return found


def _gaps(rows: list[Row], steps: int) -> list[str]:
    """Where the training rows of a history do not have every step up to the last once."""
    reached = 0
    for row in rows:
        reached += row["steps"]
        if reached != row["step"]:
            return [f"the history has steps twice or not at all before {row['step']}"]
    return [] if reached == steps else [f"the history ends at {reached}, not at {steps}"]


def _names(place: Place) -> set[str]:
    """What is in the workdir of a finished run, but for patches of the code, and among its checkpoints.

    Of those, only the last has to be there, and any other step may be.
    """
    record = read_record(place.workdir)
    checkpoints = {path.name for path in place.workdir.glob("checkpoints/*")}
    found = {name for name in checkpoints if name == str(record["steps"]) or not name.isdigit()}
    top = {path.name for path in place.workdir.iterdir() if path.suffix != ".patch"}
    return top | {f"checkpoints/{name}" for name in found}


def _unfinished(caches: pathlib.Path) -> set[str]:
    """What was begun in the caches and never came to its end."""
    ends = ("*.partial", "*.building", "*incomplete*", ".preparing", "*tmp*")
    return {str(path.relative_to(caches)) for end in ends for path in caches.rglob(end)}
