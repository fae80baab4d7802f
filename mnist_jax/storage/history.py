"""metrics.jsonl: the metrics of a run over its steps, one JSON object a line."""

import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnist_jax.system.errors import UserError
from mnist_jax.system.files import open_to_append, read_regular, write_whole

Row = dict[str, Any]


class MetricsFile:
    """Writes rows, each by one system call, so that a kill leaves no half row."""

    def __init__(
        self,
        path: pathlib.Path,
        step: int,
        recorded: str | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ):
        """Opens the file and removes rows of later steps, which the run writes again.

        Args:
          path: of the file.
          step: the steps taken so far.
          recorded: the `sha256` of the rows up to that step; None if it is not known.
          warn: called with a line if the rows have another one.
        """
        kept = b"".join(line for line, row in _whole_rows(path) if _is_before(row, step))
        self._digest = hashlib.sha256(kept)
        if recorded not in (None, self.sha256):
            warn(
                f"{path}: rows up to step {step} were changed or lost since they were written, by a failing "
                "disk or by hand; the run continues, and only its curves are affected"
            )
        write_whole(path, kept)
        self._path, self._file = path, open_to_append(path)

    @property
    def sha256(self) -> str:
        """The hash of all rows so far."""
        return self._digest.hexdigest()

    def log(self, row: Row) -> None:
        finite = {key: None if _undefined(value) else value for key, value in row.items()}
        line = json.dumps(finite, allow_nan=False).encode() + b"\n"
        rest = line
        while rest:  # a full disk takes a part, and raises at the next write
            rest = rest[self._write(rest) :]
        self._digest.update(line)

    def close(self) -> None:
        self._file.close()

    def _write(self, line: bytes) -> int:
        try:
            return self._file.write(line)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def read_metrics(path: pathlib.Path) -> list[Row]:
    """The rows of a metrics.jsonl; damaged lines are ignored."""
    return [row for _, row in _whole_rows(path)]


def whole_intervals(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows to draw as curves.

    Without averages over few steps, such as those just before an evaluation: their noise would stand out. And
    without rows of other programs, which lack what a curve needs.
    """
    rows = [row for row in rows if row.keys() >= {"epoch", "loss", "accuracy"}]
    longest = max((row.get("steps", 0) for row in rows if row["split"] == "train"), default=0)
    return [row for row in rows if row.get("steps", longest) >= longest / 2]


def _is_before(row: Row, step: int) -> bool:
    return row["step"] <= step and row["split"] != "test"


def _whole_rows(path: pathlib.Path) -> list[tuple[bytes, Row]]:
    """The lines that are rows: their bytes and the decoded row."""
    try:
        lines = read_regular(path).splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    decoded = ((line, _decoded(line)) for line in lines if line.endswith(b"\n"))
    return [(line, row) for line, row in decoded if _is_row(row)]


def _decoded(line: bytes) -> Any:
    """The value of a line of JSON; None for another line."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or type(row.get("step")) is not int or not isinstance(row.get("split"), str):
        return False
    return all(
        value is None or isinstance(value, (int, float)) for key, value in row.items() if key != "split"
    )


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
