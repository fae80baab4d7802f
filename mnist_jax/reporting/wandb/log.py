"""A W&B run, written offline into the workdir by W&B's own client."""

import json
import pathlib
import re
import sys
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
from mnist_jax.storage.redaction import known_keys, redacted
from mnist_jax.system.files import make_folder, read_regular, write_whole

_SETTINGS = ("entity", "group", "name", "notes", "tags")
_PROJECT = "mnist_digit_classification"  # unless config or W&B's settings name one
NEEDED_TO_COMPARE = ("run.json", "metrics.jsonl", "predictions.npz")
_COSTS = ("parameters", "train_seconds", "wall_seconds", "images_per_second")
_SECONDS_TO_DISK = 2.0  # the client writes within one


class WandbRun:
    """One training process's part of a W&B run, a folder `offline-run-...` in the workdir's `wandb`.

    Training and validation have their own axes, `train/step` and `validation/epoch`. W&B's own step is the
    training step, so a resumed run is the same W&B run, and its steps never decrease. `wandb/logged.json` has
    the last step logged by any process of the run, by split.
    """

    def __init__(self, workdir: pathlib.Path, pid: int):
        """Reads run.json; no other process may write to the W&B run now.

        Args:
          workdir: of the run.
          pid: of the training process, whose CPU, memory and GPU W&B shows.
        """
        self._workdir, self._folder = workdir, workdir / "wandb"
        record = read_json(workdir / "run.json")
        config, code = record["config"], record["code"]
        self._keys = known_keys()
        self._logged: dict[str, int] = {}
        if (self._folder / "logged.json").exists():
            self._logged = read_json(self._folder / "logged.json")
        # The client keeps the newest step to itself until a later one comes.
        self._given = dict(self._logged)  # what came before that step
        self._newest = max(self._logged.values(), default=0)
        self._unsure: deque[tuple[float, dict[str, int]]] = deque()
        # The client takes the command from here.
        sys.argv = [redacted(argument, self._keys) for argument in record["command"] or [""]]
        self._run = wandb.init(
            mode="offline",
            project=config["wandb"]["project"] or wandb_setup.singleton().settings.project or _PROJECT,
            id=record["wandb_id"],
            dir=workdir,
            config={
                **config,
                "code": code,
                "dataset": _dataset_config(record["data"]),
                "environment": {key: v for key, v in record["environment"].items() if key != "packages"},
                "parameters": record["parameters"],
            },
            settings=wandb.Settings(
                console="off",
                silent=True,
                # W&B would take the repository around this process, with user names in the remote's address.
                disable_git=True,
                git_commit=code["commit"],
                git_remote_url=code["remote"],
                program=sys.argv[0],
                x_stats_pid=pid,
            ),
            **{name: config["wandb"][name] or None for name in _SETTINGS},
        )
        for split, axis in (("train", "train/step"), ("validation", "validation/epoch")):
            self._run.define_metric(axis)
            self._run.define_metric(f"{split}/*", step_metric=axis)
        if patch := code["patch_sha256"]:
            self._save(f"code-{patch[:12]}.patch")
        self._use_dataset(record["data"])
        self._examples = data.load(from_record(config).data).test
        self._predictions = wandb.Artifact(f"predictions-{self._run.id}", type="predictions")
        self._images: list[wandb.Image] = []

    @property
    def segment(self) -> pathlib.Path:
        """The folder of this process's part."""
        return pathlib.Path(self._run.dir).parent

    def print(self, text: str) -> None:
        """Adds lines to W&B's Logs tab, without keys and passwords."""
        if text:
            self._run.write_logs(redacted(text, self._keys))

    def log(self, row: Mapping[str, Any]) -> None:
        """Logs a row of metrics.jsonl, unless a process of the run has logged it."""
        split, step = row["split"], row["step"]
        if split != "test" and step > self._logged.get(split, 0):
            values = {f"{split}/{key}": value for key, value in row.items() if key != "split"}
            self._run.log(values, step=step)
            if step > self._newest:
                self._newest, self._given = step, dict(self._logged)
            self._logged[split] = step

    def remember(self) -> None:
        """Records which steps are logged and on disk by now."""
        self._unsure.append((time.monotonic(), self._given))
        while self._unsure[0][0] < time.monotonic() - _SECONDS_TO_DISK:
            self._note(self._unsure.popleft()[1])

    def stage_images(self) -> Iterator[None]:
        """Stages the test images for the table of predictions, 100 at each step of the iterator.

        Ten thousand take seconds, so this runs during the training.
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
        """Logs the results of a finished run, once all images are staged."""
        record = read_json(self._workdir / "run.json")
        test, names, best = record["metrics"]["test"], record["data"]["classes"], record["best"]
        summary = {f"test/{key}": value for key, value in _numbers(test).items()}
        summary |= {f"best/{key}": value for key, value in _numbers(record["metrics"]["validation"]).items()}
        costs = {key: record[key] for key in _COSTS}
        self._run.summary.update({**summary, **costs, "best/step": best["step"]})

        _, predictions = load_predictions(self._workdir / "predictions.npz")
        table = predictions_table(predictions, self._images, names)
        self._predictions.add(table, "predictions")
        self._run.log_artifact(self._predictions)
        panels = {**result_plots(test, predictions, names), "test/predictions": table}
        if (report := self._workdir / "report.html").exists():
            panels["report"] = wandb.Html(report, inject=False)
        self._run.log(panels, step=record["steps"])

        model = wandb.Artifact(f"model-{self._run.id}", type="model", metadata={**summary, **best})
        model.add_dir(str(self._workdir / "checkpoints" / str(record["steps"])))  # which has the best
        self._run.log_artifact(model, aliases=["best", "latest"])

    def finish(self, *, failed: bool) -> None:
        """Ends this process's part."""
        for name in ("report.html", *NEEDED_TO_COMPARE):
            self._save(name)
        self._run.finish(exit_code=int(failed))
        self._note(self._logged)

    def _use_dataset(self, described: Mapping[str, Any]) -> None:
        """Makes the data set an input of the run: an artifact with its description, and no examples."""
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", described["name"])[:100]
        artifact = wandb.Artifact(f"dataset-{name}", type="dataset", metadata=_dataset_config(described))
        with artifact.new_file("dataset.json") as file:
            json.dump(described, file, indent=2)
        # `use_artifact` is this and a wait for the server, which it refuses offline.
        self._run._log_artifact(
            artifact, aliases=[described["fingerprint"][:12]], is_user_created=True, use_after_commit=True
        )

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


def _dataset_config(described: Mapping[str, Any]) -> dict[str, Any]:
    """What tables of runs filter and group by, of `data` of run.json: single values."""
    sizes = {role: split["examples"] for role, split in described["splits"].items()}
    height, width, channels = described["image_shape"]
    return {
        "name": described["name"],
        "version": described.get("version"),
        "fingerprint": described["fingerprint"],
        "classes": len(described["classes"]),
        "height": height,
        "width": width,
        "channels": channels,
        "examples": sizes,
    }
