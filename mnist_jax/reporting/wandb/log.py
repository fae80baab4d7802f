"""A W&B run, written offline into the workdir by W&B's own client."""

import json
import pathlib
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import wandb
from wandb.sdk import wandb_setup

from mnist_jax import data
from mnist_jax.config.validation import from_record
from mnist_jax.metrics.predictions import load_predictions
from mnist_jax.reporting.galleries import as_picture
from mnist_jax.reporting.wandb.tables import predictions_table, result_plots
from mnist_jax.system.files import make_folder, read_regular, write_whole

_SETTINGS = ("entity", "group", "name", "notes", "tags")
_PROJECT = "mnist_digit_classification"  # where nothing else is said
NEEDED_TO_COMPARE = ("run.json", "metrics.jsonl", "predictions.npz")
_SECONDS_TO_DISK = 2.0  # the client writes what it was given within one


class WandbRun:
    """One process's part of a W&B run, a folder `offline-run-...` in the workdir's `wandb`.

    Training and validation have their own axes, `train/step` and `validation/epoch`, and W&B's own step is
    the training's, so that a run that goes on is the same W&B run, whose steps never go back. What was
    logged, by any process of the run, is kept in `wandb/logged.json`, split -> last step.
    """

    def __init__(self, workdir: pathlib.Path):
        """Reads run.json; no other process may write to the run now."""
        self._workdir, self._folder = workdir, workdir / "wandb"
        record = read_json(workdir / "run.json")
        config, code = record["config"], record["code"]
        self._logged: dict[str, int] = {}
        if (self._folder / "logged.json").exists():
            self._logged = read_json(self._folder / "logged.json")
        # The client keeps the newest step to itself until a later one comes.
        self._given = dict(self._logged)  # what came before that step
        self._newest = max(self._logged.values(), default=0)
        self._unsure: deque[tuple[float, dict[str, int]]] = deque()
        self._run = wandb.init(
            mode="offline",
            project=config["wandb"]["project"] or wandb_setup.singleton().settings.project or _PROJECT,
            id=record["wandb_id"],
            dir=workdir,
            config={
                **config,
                "code": code,
                "dataset": record["data"],
                "environment": {key: v for key, v in record["environment"].items() if key != "packages"},
            },
            settings=wandb.Settings(
                console="off",
                silent=True,
                # W&B would take the repository around this process, with user names in the remote's address.
                disable_git=True,
                git_commit=code["commit"],
                git_remote_url=code["remote"],
                program=(record["command"] or [None])[0],
            ),
            **{name: config["wandb"][name] or None for name in _SETTINGS},
        )
        for split, axis in (("train", "train/step"), ("validation", "validation/epoch")):
            self._run.define_metric(axis)
            self._run.define_metric(f"{split}/*", step_metric=axis)
        if patch := code["patch_sha256"]:
            self._save(f"code-{patch[:12]}.patch")
        self._examples = data.load(from_record(config).data).test
        self._predictions = wandb.Artifact(f"predictions-{self._run.id}", type="predictions")
        self._images: list[wandb.Image] = []

    @property
    def segment(self) -> pathlib.Path:
        """The folder of this process's part."""
        return pathlib.Path(self._run.dir).parent

    def log(self, row: Mapping[str, Any]) -> None:
        """Logs a row of metrics.jsonl that no process logged before."""
        split, step = row["split"], row["step"]
        if split != "test" and step > self._logged.get(split, 0):
            values = {f"{split}/{key}": value for key, value in row.items() if key != "split"}
            self._run.log(values, step=step)
            if step > self._newest:
                self._newest, self._given = step, dict(self._logged)
            self._logged[split] = step

    def remember(self) -> None:
        """Notes what was logged and is on the disk by now."""
        self._unsure.append((time.monotonic(), self._given))
        while self._unsure[0][0] < time.monotonic() - _SECONDS_TO_DISK:
            self._note(self._unsure.popleft()[1])

    def stage_images(self) -> Iterator[None]:
        """Stages the test images for the table of predictions, some at each step; beside the training, since
        it takes seconds for ten thousand.
        """
        folder = make_folder(self._folder / "images")
        for index, pixels in enumerate(self._examples.images):
            path = folder / f"{index:06}.png"
            as_picture(pixels).save(path)
            self._predictions.add_file(str(path), name=f"media/images/{path.name}", policy="immutable")
            self._images.append(wandb.Image(str(path)))
            if index % 100 == 0:
                yield

    def log_results(self) -> None:
        """Logs what came of a finished run; all images are staged."""
        record = read_json(self._workdir / "run.json")
        test, names, best = record["metrics"]["test"], record["data"]["classes"], record["best"]
        summary = {f"test/{key}": value for key, value in _numbers(test).items()}
        summary |= {f"best/{key}": value for key, value in _numbers(record["metrics"]["validation"]).items()}
        self._run.summary.update({**summary, "best/step": best["step"]})
        _, predictions = load_predictions(self._workdir / "predictions.npz")
        self._run.log(result_plots(test, predictions, names), step=record["steps"])

        self._predictions.add(predictions_table(predictions, self._images, names), "predictions")
        self._run.log_artifact(self._predictions)

        model = wandb.Artifact(f"model-{self._run.id}", type="model", metadata={**summary, **best})
        model.add_dir(str(self._workdir / "checkpoints" / str(record["steps"])))  # which has the best
        self._run.log_artifact(model, aliases=["best", "latest"])

    def finish(self, *, failed: bool) -> None:
        """Ends this process's part."""
        for name in ("report.html", *NEEDED_TO_COMPARE):
            self._save(name)
        self._run.finish(exit_code=int(failed))
        self._note(self._logged)

    def _note(self, logged: Mapping[str, int]) -> None:
        write_whole(self._folder / "logged.json", json.dumps(logged).encode())

    def _save(self, name: str) -> None:
        if (path := self._workdir / name).exists():
            self._run.save(path, base_path=self._workdir, policy="now")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The content of a JSON file."""
    return json.loads(read_regular(path))


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if isinstance(value, (int, float))}
