"""The process that writes a run's W&B log from the files of its workdir.

    python -m mnist_jax.wandb_writer '{"workdir": "/runs/x", "logged": {}, "online": false}'

It ends when its standard input does, that is, with the training, and tells on standard output, in lines of a
word and a text: `segment NAME` the log's folder; `url URL` where the server shows the run; `logged` all is in
the log; `uploaded` and on the server; `failed WHY`.
"""

import importlib
import json
import os
import pathlib
import select
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from PIL import Image

import wandb
from mnist_jax import data
from mnist_jax.command_line import one_line, quiet_libraries
from mnist_jax.config import from_record
from mnist_jax.predictions import load_predictions
from mnist_jax.wandb_tables import predictions_table, result_plots
from mnist_jax.wandb_upload import Upload

_SECONDS_TO_UPLOAD = 600.0  # after the end of the training
_SETTINGS = ("project", "entity", "group", "name", "notes", "tags")


class Writer:
    """A W&B run, written offline into the workdir.

    Each split has its own step axis, such as `train/step`, and W&B's own step is the training's, so that a
    run that goes on is the same W&B run, whose steps never go back.
    """

    def __init__(self, workdir: pathlib.Path, logged: Mapping[str, int]):
        """logged: split -> last step that an earlier process of this run logged."""
        self._workdir, self._logged = workdir, logged
        self._record = read_json(workdir / "run.json")
        config = self._record["config"]
        settings = config["wandb"]
        environment = {key: value for key, value in self._record["environment"].items() if key != "packages"}
        self._run = wandb.init(
            mode="offline",
            id=self._record["wandb_id"],
            dir=workdir,
            config={
                **config,
                "code": self._record["code"],
                "dataset": self._record["data"],
                "environment": environment,
            },
            settings=wandb.Settings(console="off", silent=True),
            **{name: settings[name] or None for name in _SETTINGS},
        )
        for split in ("train", "validation"):
            self._run.define_metric(f"{split}/step")
            self._run.define_metric(f"{split}/*", step_metric=f"{split}/step")
        if patch := self._record["code"]["patch_sha256"]:
            self._save(f"code-{patch[:12]}.patch")
        self._step = max(logged.values(), default=0)
        self._dataset = data.load(from_record(config).data)
        self._predictions = wandb.Artifact(f"predictions-{self._run.id}", type="predictions")
        self._images: list[wandb.Image] = []

    @property
    def segment(self) -> pathlib.Path:
        """The folder of this process's log."""
        return pathlib.Path(self._run.dir).parent

    def log(self, row: Mapping[str, Any]) -> None:
        """Logs a row of metrics.jsonl that no process logged before."""
        split, step = row["split"], row["step"]
        if split != "test" and step > self._logged.get(split, 0):
            self._run.log(
                {f"{split}/{key}": value for key, value in row.items() if key != "split"}, step=step
            )
            self._step = step

    def stage_images(self) -> Iterator[None]:
        """Stages the test images for the table of predictions, some at each step; beside the training, since
        it takes seconds for ten thousand.
        """

        importlib.import_module("sklearn.metrics")  # takes most of a second, and the results need it
        folder = self._workdir / "wandb" / "images"
        folder.mkdir(exist_ok=True)
        for index, pixels in enumerate(self._dataset.test.images):
            path = folder / f"{index:06}.png"
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(path)
            self._predictions.add_file(str(path), name=f"media/images/{path.name}", policy="immutable")
            self._images.append(wandb.Image(str(path)))
            if index % 100 == 0:
                yield

    def finish(self) -> None:
        """Ends the W&B run, with the results where the training came to its end."""
        finished = (record := read_json(self._workdir / "run.json"))["status"] == "finished"
        if finished:
            self._log_results(record)
        self._save("run.json")
        self._save("report.html")
        self._run.finish(exit_code=0 if finished else 1)

    def _log_results(self, record: Mapping[str, Any]) -> None:
        test, names = record["metrics"]["test"], record["data"]["classes"]
        summary = {f"test/{key}": value for key, value in _numbers(test).items()}
        summary |= {f"best/{key}": value for key, value in _numbers(record["metrics"]["validation"]).items()}
        self._run.summary.update({**summary, "best/step": record["best"]["step"]})
        _, predictions = load_predictions(self._workdir / "predictions.npz")
        self._run.log(result_plots(test, predictions, names), step=self._step)

        self._predictions.add(predictions_table(predictions, self._images, names), "predictions")
        self._run.log_artifact(self._predictions)

        model = wandb.Artifact(f"model-{self._run.id}", type="model", metadata={**summary, **record["best"]})
        model.add_dir(str(self._workdir / "checkpoints" / str(record["best"]["step"])))
        self._run.log_artifact(model, aliases=["best", "latest"])

    def _save(self, name: str) -> None:
        path = self._workdir / name
        if path.exists():
            self._run.save(path, base_path=self._workdir, policy="now")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def new_rows(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The rows that were added to a metrics.jsonl since the last call."""
    while (line := file.readline()).endswith(b"\n"):
        yield json.loads(line)
    file.seek(-len(line), os.SEEK_CUR)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if isinstance(value, (int, float))}


def _tell(word: str, text: object = "") -> None:
    try:
        print(word, text, flush=True)
    except BrokenPipeError:  # the training is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _training_ended(seconds: float) -> bool:
    """Waits for the end of standard input, at most so long."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and not sys.stdin.read(1)


def _follow(writer: Writer, workdir: pathlib.Path, upload: Upload | None) -> None:
    """Logs what the training writes, to its end."""
    staging: Iterator[None] | None = writer.stage_images()
    with (workdir / "metrics.jsonl").open("rb") as file:
        while not _training_ended(0.0 if staging else 0.5):
            for row in new_rows(file):
                writer.log(row)
            if staging and next(staging, staging) is staging:
                staging = None
            if upload is not None:
                upload.poll()
        for row in new_rows(file):
            writer.log(row)
    for _ in staging or ():
        pass
    writer.finish()


def _finish(upload: Upload) -> None:
    """Waits for the end of the upload, unless the server does not answer."""
    give_up = time.monotonic() + _SECONDS_TO_UPLOAD
    while not (done := upload.poll()) and not upload.unanswered and time.monotonic() < give_up:
        time.sleep(0.1)
    upload.stop()
    if done and upload.connected and not upload.failed:
        _tell("uploaded")


def main(job: Mapping[str, Any]) -> None:
    os.nice(10)  # the training goes first
    quiet_libraries()
    workdir = pathlib.Path(job["workdir"])
    writer = Writer(workdir, job["logged"])
    _tell("segment", writer.segment.name)
    upload = Upload(writer.segment, _tell) if job["online"] else None
    _follow(writer, workdir, upload)
    _tell("logged")
    if upload is not None:
        _finish(upload)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:
        _tell("failed", one_line(error))
        raise
