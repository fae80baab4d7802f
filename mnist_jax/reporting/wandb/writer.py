"""The process that writes a run's W&B log from the files of its workdir, and uploads it.

    python -m mnist_jax.reporting.wandb.writer '{"workdir": "runs/x", "rows": 3, "online": false}'

rows: the descriptor of its metrics.jsonl.

It ends when its standard input does, that is, with the training, and tells on standard output, in lines of a
word and a text: `segment NAME` the log's folder; `url URL` where the server shows the run; `silent` the
server does not answer; `logged` all is in the log; `uploaded` and on the server; `failed WHY`.
"""

import json
import os
import pathlib
import select
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import filelock
from wandb.sdk import wandb_setup

from mnist_jax.reporting.wandb.log import WandbRun, read_json
from mnist_jax.reporting.wandb.upload import Upload
from mnist_jax.storage.git import without_credentials
from mnist_jax.system.errors import one_line
from mnist_jax.system.terminal import quiet_libraries

_SECONDS_TO_UPLOAD = 600.0  # after the end of the training
_SECONDS_FOR_THE_FORMER = 60.0  # to end what it logs, for the process of a training that was killed


def main(workdir: pathlib.Path, descriptor: int, *, online: bool, resumes: int) -> None:
    """Follows the training that is the run's process number `resumes`, from 0 on.

    descriptor: of its metrics.jsonl, which a training that resumes the run replaces.
    """
    os.nice(10)  # the training goes first
    quiet_libraries()
    _hide_login()
    with open(descriptor, "rb") as rows:
        with filelock.FileLock(workdir / "wandb" / ".writer.lock", timeout=_SECONDS_FOR_THE_FORMER):
            run = WandbRun(workdir)
            _tell("segment", run.segment.name)
            upload = Upload(run.segment, _tell) if online else None
            _follow(run, rows, workdir, resumes, upload)
        _tell("logged")
    if upload is not None:
        _finish(upload)


def _hide_login() -> None:
    """Takes user name and password out of the server's address, for this process and that of the upload."""
    settings = wandb_setup.singleton().settings
    settings.base_url = os.environ["WANDB_BASE_URL"] = without_credentials(settings.base_url)


def _follow(
    run: WandbRun, rows: BinaryIO, workdir: pathlib.Path, resumes: int, upload: Upload | None
) -> None:
    """Logs what the training writes, to its end, and its results where it has any."""
    staging: Iterator[None] | None = run.stage_images()
    ended = False
    while not ended:
        ended = _training_ended(0.0 if staging else 0.5)
        for row in new_rows(rows):
            run.log(row)
        run.remember()
        if staging and next(staging, staging) is staging:
            staging = None
        if upload is not None:
            upload.poll()
    record = read_json(workdir / "run.json")
    # Where this training was killed, another may have gone on and finished in the meantime.
    finished = record["status"] == "finished" and record["resumes"] == resumes
    if finished:
        for _ in staging or ():
            pass
        run.log_results()
    run.finish(failed=not finished)


def _finish(upload: Upload) -> None:
    """Waits for the end of the upload, unless the server does not answer."""
    give_up = time.monotonic() + _SECONDS_TO_UPLOAD
    while not (done := upload.poll()) and not upload.silent and time.monotonic() < give_up:
        time.sleep(0.1)
    upload.stop()
    if done and not upload.failed:
        _tell("uploaded")


def new_rows(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """The rows that were added to a metrics.jsonl since the last call."""
    while (line := file.readline()).endswith(b"\n"):
        yield json.loads(line)
    file.seek(-len(line), os.SEEK_CUR)


def _training_ended(seconds: float) -> bool:
    """Waits for the end of standard input, at most so long."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and not sys.stdin.read(1)


def _tell(word: str, text: object = "") -> None:
    try:
        print(word, text, flush=True)
    except BrokenPipeError:  # the training is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    try:
        job = json.loads(sys.argv[1])
        main(pathlib.Path(job["workdir"]), job["rows"], online=job["online"], resumes=job["resumes"])
    except Exception as error:
        _tell("failed", one_line(error))
        raise
