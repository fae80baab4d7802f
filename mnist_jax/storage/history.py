"""metrics.jsonl: the numbers of a run over its steps, a JSON object a line."""

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
    """Writes rows, each by one system call, so that a kill cuts none."""

    def __init__(
        self,
        path: pathlib.Path,
        step: int,
        recorded: str | None = None,
        warn: Callable[[str], None] = lambda text: None,
    ):
        """Opens the file for a run that goes on after `step` steps; what comes later is written anew.

        recorded: the `sha256` of its rows up to that step, where it is known. warn: told where it is another.
        """
        kept = b"".join(line for line, row in _whole_rows(path) if _is_before(row, step))
        self._digest = hashlib.sha256(kept)
        if recorded not in (None, self.sha256):
            warn(
                f"{path} has rows up to step {step} that were changed or lost since they were written, by a "
                "failing disk or by hand; the run goes on, and nothing but its curves is affected"
            )
        write_whole(path, kept)
        self._path, self._file = path, open_to_append(path)

    @property
    def sha256(self) -> str:
        """Of all rows so far."""
        return self._digest.hexdigest()

    def log(self, row: Row) -> None:
        finite = {key: None if _undefined(value) else value for key, value in row.items()}
        line = json.dumps(finite, allow_nan=False).encode() + b"\n"
        rest = line
        while rest:  # of a disk that is full, or a limit, the second write has the error
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
    """The rows of a metrics.jsonl; a line that a failing disk damaged is left out."""
    return [row for _, row in _whole_rows(path)]


def whole_intervals(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows without averages over few steps, which end where an evaluation comes: on a curve they would
    stand out for their noise alone. Rows of another program, which lack what a curve needs, are left out too.
    """
    rows = [row for row in rows if row.keys() >= {"epoch", "loss", "accuracy"}]
    longest = max((row.get("steps", 0) for row in rows if row["split"] == "train"), default=0)
    return [row for row in rows if row.get("steps", longest) >= longest / 2]


def _is_before(row: Row, step: int) -> bool:
    return row["step"] <= step and row["split"] != "test"


def _whole_rows(path: pathlib.Path) -> list[tuple[bytes, Row]]:
    """The lines that are rows, as they are and decoded."""
    try:
        lines = read_regular(path).splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    decoded = ((line, _decoded(line)) for line in lines if line.endswith(b"\n"))
    return [(line, row) for line, row in decoded if _is_row(row)]


def _decoded(line: bytes) -> Any:
    """What a line of JSON holds; None where it is none."""
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
