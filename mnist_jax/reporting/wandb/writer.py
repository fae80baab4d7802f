"""The process that writes a run's W&B log from the files of its workdir, and uploads it.

    python -m mnist_jax.reporting.wandb.writer JOB

JOB is a JSON object: `workdir`; `rows`, the descriptor of its metrics.jsonl; `online`, whether to upload;
`resumes`, how often the run was resumed; `pid`, of the training process.

Standard input has the lines that the training prints, and its end is the end of the training. Standard output
has lines of a word and a text: `segment NAME`: the folder of the log; `url URL`: the page of the run on the
server; `silent`: the server does not answer; `logged`: the log is complete; `uploaded`: so is the upload;
`failed WHY`.
"""

import contextlib
import io
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

from mnist_jax.reporting.console import print_result
from mnist_jax.reporting.wandb.log import WandbRun, read_json
from mnist_jax.reporting.wandb.upload import Upload
from mnist_jax.storage.git import without_credentials
from mnist_jax.system.errors import one_line
from mnist_jax.system.terminal import quiet_libraries

_SECONDS_TO_UPLOAD = 600.0  # after the end of the training
_SECONDS_FOR_PREVIOUS = 60.0  # for the writer of a killed training to finish its log


def main(workdir: pathlib.Path, descriptor: int, *, online: bool, resumes: int, pid: int) -> None:
    """Logs one training process, from its first row to its end.

    Args:
      workdir: of the run.
      descriptor: of its metrics.jsonl, which a later training process replaces.
      online: whether to upload the log.
      resumes: the number of this training process of the run, from 0.
      pid: its process id.
    """
    os.nice(10)  # training has priority
    quiet_libraries()
    _hide_login()
    with open(descriptor, "rb") as rows:
        with filelock.FileLock(workdir / "wandb" / ".writer.lock", timeout=_SECONDS_FOR_PREVIOUS):
            run = WandbRun(workdir, pid)
            _tell("segment", run.segment.name)
            upload = Upload(run.segment, _tell) if online else None
            _follow(run, rows, workdir, resumes, upload)
        _tell("logged")
    if upload is not None:
        _finish(upload)


def _hide_login() -> None:
    """Removes user name and password from the server's address, for this process and the upload's."""
    settings = wandb_setup.singleton().settings
    settings.base_url = os.environ["WANDB_BASE_URL"] = without_credentials(settings.base_url)


def _follow(
    run: WandbRun, rows: BinaryIO, workdir: pathlib.Path, resumes: int, upload: Upload | None
) -> None:
    """Logs what the training writes until it ends, and then the results of a finished run."""
    staging: Iterator[None] | None = run.stage_images()
    printed: str | None = ""
    while printed is not None:
        printed = _printed_by_training(0.0 if staging else 0.5)
        run.print(printed or "")
        for row in new_rows(rows):
            run.log(row)
        run.remember()
        if staging and next(staging, staging) is staging:
            staging = None
        if upload is not None:
            upload.poll()
    record = read_json(workdir / "run.json")
    # If this training was killed, another may have resumed and finished the run since.
    finished = record["status"] == "finished" and record["resumes"] == resumes
    if finished:
        for _ in staging or ():
            pass
        run.log_results()
        run.print(_printed_result(record, workdir))
    elif record["resumes"] == resumes:
        run.print(record["exit_reason"] or "the training process was killed")
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


def _printed_by_training(seconds: float) -> str | None:
    """What the training has printed since the last call, or prints within some seconds; None: it ended.

    A read takes all that is in the pipe, so it ends where a line does.
    """
    readable, _, _ = select.select([0], [], [], seconds)
    if not readable:
        return ""
    return os.read(0, 1 << 20).decode(errors="replace") or None


def _printed_result(record: dict[str, Any], workdir: pathlib.Path) -> str:
    """What the training prints after the end of this log: the results."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        print_result(record, workdir, None)
    return out.getvalue()


def _tell(word: str, text: object = "") -> None:
    try:
        print(word, text, flush=True)
    except BrokenPipeError:  # the training is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    try:
        job = json.loads(sys.argv[1])
        main(pathlib.Path(job.pop("workdir")), job.pop("rows"), **job)
    except Exception as error:
        _tell("failed", one_line(error))
        raise
