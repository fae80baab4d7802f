"""Where a run's numbers go as it runs: metrics.jsonl, the terminal, and Weights & Biases.

The only file that knows W&B.
"""

import json
import math
import os
import pathlib
import secrets
from collections.abc import Callable
from typing import Any

import ml_collections

from mnist_jax.console import Console, Row
from mnist_jax.errors import UserError
from mnist_jax.plan import Plan
from mnist_jax.provenance import RunRecord


class Trackers:
    """All places where the numbers of one run go; a context manager."""

    def __init__(
        self,
        workdir: pathlib.Path,
        config: ml_collections.FrozenConfigDict,
        plan: Plan,
        record: RunRecord,
        *,
        step: int,
    ):
        """step: steps taken before, where the run goes on."""
        earlier = {(row["split"], row["step"]) for row in read_metrics(workdir / "metrics.jsonl")}
        self._console = Console(plan)
        self._metrics_file = MetricsFile(workdir / "metrics.jsonl", step)
        self._wandb = WandbRun(workdir, config, record, earlier, self.say)

    def __enter__(self) -> "Trackers":
        self._console.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._console.close()
        self._metrics_file.close()
        self._wandb.close(failed=kind is not None)

    def say(self, text: str) -> None:
        """A line of text for the person at the terminal."""
        self._console.say(text)

    def log(self, row: Row | None) -> None:
        """Takes a row: `split` ("train", "validation" or "test"), `step`, `epoch` and numbers."""
        if row is not None:
            self._metrics_file.log(row)
            self._console.log(row)
            self._wandb.log(row)


class MetricsFile:
    """metrics.jsonl: a JSON object a line, each written by one system call, so that a kill cuts none."""

    def __init__(self, path: pathlib.Path, step: int):
        """Opens the file for a run that goes on after `step` steps; what comes later is written anew."""
        kept = [line for line in _whole_rows(path) if _is_before(json.loads(line), step)]
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(b"".join(kept))
        os.replace(partial, path)
        self._file = path.open("ab", buffering=0)

    def log(self, row: Row) -> None:
        finite = {key: None if _undefined(value) else value for key, value in row.items()}
        self._file.write(json.dumps(finite, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


class WandbRun:
    """A W&B run written offline into the workdir; nothing that W&B does can stop or slow the training.

    `wandb sync` uploads it. Each split has its own step axis, such as `train/step`; the test metrics go to
    the summary. A run that goes on is the same W&B run, and logs no step twice.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        config: ml_collections.FrozenConfigDict,
        record: RunRecord,
        earlier: set[tuple[str, int]],
        say: Callable[[str], None],
    ):
        """earlier: (split, step) of the rows logged before this process began."""
        self._earlier, self._say = earlier, say
        self._run: Any = None
        if config.wandb.mode != "disabled":
            self._try(lambda: self._start(workdir, config, record))

    def log(self, row: Row) -> None:
        split = row["split"]
        if self._run is None or (split, row["step"]) in self._earlier:
            return
        values = {f"{split}/{key}": value for key, value in row.items() if key != "split"}
        self._try(lambda: self._run.summary.update(values) if split == "test" else self._run.log(values))

    def close(self, *, failed: bool) -> None:
        if self._run is not None:
            self._try(lambda: self._run.finish(exit_code=int(failed)))

    def _start(
        self, workdir: pathlib.Path, config: ml_collections.FrozenConfigDict, record: RunRecord
    ) -> None:
        folder = workdir.resolve() / "wandb"
        folder.mkdir(exist_ok=True)
        # What W&B stages beside its log would otherwise lie in the user's home, by absolute path.
        for name in ("DATA", "CACHE", "CONFIG"):
            os.environ[f"WANDB_{name}_DIR"] = str(folder / name.lower())
        os.environ["WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL"] = "1"  # a kill loses a second, not fifteen
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        import wandb

        run_id = record.fields.get("wandb_id") or secrets.token_hex(4)
        record.update(wandb_id=run_id)
        settings = config.wandb.to_dict()
        self._run = wandb.init(
            id=run_id,
            dir=workdir.resolve(),
            config={**config.to_dict(), "code": record.fields["code"], "dataset": record.fields["data"]},
            settings=wandb.Settings(console="off", silent=True),
            **{key: settings[key] or None for key in ("mode", "project", "entity", "group", "notes", "name")},
            tags=settings["tags"] or None,
        )
        for split in ("train", "validation"):
            self._run.define_metric(f"{split}/step")
            self._run.define_metric(f"{split}/*", step_metric=f"{split}/step")

    def _try(self, call: Callable[[], object]) -> None:
        """Runs what W&B may fail at in ways of its own; the first failure ends W&B, not the run."""
        try:
            call()
        except Exception as error:
            self._run = None
            self._say(f"W&B failed, the run goes on without: {type(error).__name__}: {error}")


def read_metrics(path: pathlib.Path) -> list[Row]:
    """The rows of a metrics.jsonl; a line that a failing disk damaged is left out."""
    return [json.loads(line) for line in _whole_rows(path)]


def _is_before(row: Row, step: int) -> bool:
    return row["step"] <= step and row["split"] != "test"


def _whole_rows(path: pathlib.Path) -> list[bytes]:
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return [line for line in lines if line.endswith(b"\n") and _is_row(line)]


def _is_row(line: bytes) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and type(row.get("step")) is int and isinstance(row.get("split"), str)


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
