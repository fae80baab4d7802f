"""Tables as CSV, plain or gzipped.

label,pixel0,pixel1,...   a row for each image, as in Kaggle's MNIST
path,label,split          image files, named from the folder of the table; split may be missing
"""

import contextlib
import csv
import gzip
import pathlib
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import TextIO

import numpy as np

from mnist_jax.data.cache import stamp
from mnist_jax.data.sources import some
from mnist_jax.data.table_files import require_file
from mnist_jax.data.table_parts import Part, Pictures, Unlabelled, image_shape, notes_on
from mnist_jax.system.errors import UserError, one_line

_PATHS = ("path", "file_name", "filename")  # names of the column of image files
_LINE = 2**24  # characters of a line, more than any image has
_MAX_RATIO = 200  # compression ratio above which a file is a decompression bomb
_SMALL = 2**26  # characters that may be compressed more
_BAD_PIXEL = re.compile(r"could not convert string '(.*)' to uint8 at row (\d+), column (\d+)", re.DOTALL)
_BAD_ROW = re.compile(r"requires (\d+) columns but (\d+) were found at row (\d+)")


def read_csv(path: pathlib.Path) -> dict[str, Part]:
    """The splits of a CSV file: "train", or what its column split says.

    Raises:
        UserError: It is damaged, or has no labels or other columns. The message names the first bad row.
    """
    try:
        with _opened(path) as lines:
            header = [name.strip() for name in next(csv.reader(lines), [])]
            places = {name.lower(): k for k, name in enumerate(header)}
            column = next((places[name] for name in _PATHS if name in places), None)
            if column is not None:
                return _pictures(path, lines, header, column)
            return {"train": _pixels(path, lines, header, _label_column(path, header, places))}
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} must be text in UTF-8 (got the byte {error.object[error.start]:#04x})"
        ) from error
    except MemoryError as error:
        raise UserError(f"{path} has more pixels than fit into memory") from error
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from error


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Iterator[str]]:
    packed = path.name.lower().endswith(".gz")
    opened = gzip.open if packed else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        yield _lines(path, file, max(_SMALL, _MAX_RATIO * path.stat().st_size) if packed else None)


def _lines(path: pathlib.Path, file: TextIO, most: int | None) -> Iterator[str]:
    """The lines of a file, as many as its size allows."""
    length = 0
    while line := file.readline(_LINE):
        length += len(line)
        if len(line) == _LINE:
            raise UserError(
                f"{path} must have a line for each image (got one of more than {_LINE:,} characters)"
            )
        if most is not None and length > most:
            raise UserError(f"{path} must be a table (got more than {most:,} characters in too few bytes)")
        yield line


def _label_column(path: pathlib.Path, header: Sequence[str], places: dict[str, int]) -> int:
    if "label" in places:
        return places["label"]
    if header and all(re.fullmatch(r"[-+.\deE]+", name) for name in header):
        raise UserError(
            f"{path} must begin with the names of its columns, such as label,pixel0,pixel1 (got numbers); "
            "add that line"
        )
    raise Unlabelled(f"{path} must have a column label (got {some(header) or 'an empty file'})")


def _pixels(path: pathlib.Path, lines: Iterator[str], header: Sequence[str], column: int) -> Part:
    shape = image_shape(str(path), len(header) - 1)
    row = np.dtype(
        [("before", np.uint8, (column,)), ("label", object), ("after", np.uint8, (len(header) - column - 1,))]
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # about no rows, which are an error here
            table = np.loadtxt(lines, row, delimiter=",", comments=None, quotechar='"', ndmin=1)
    except ValueError as error:
        raise UserError(f"{path}: {_in_words(str(error), header)}") from error
    if not len(table):
        raise UserError(f"{path} must have a row for each image (got none)")
    pixels = np.concatenate([table["before"], table["after"]], axis=1)
    labels = np.char.strip(table["label"].astype(str))
    return Part(labels, pixels.reshape(-1, *shape), notes=notes_on(str(path), shape))


def _in_words(message: str, header: Sequence[str]) -> str:
    """NumPy's message about a bad value or row, in this program's words."""
    if bad := _BAD_PIXEL.search(message):
        value, row, column = bad[1], int(bad[2]) + 1, header[int(bad[3]) - 1]
        remedy = "; multiply by 255 and round" if re.fullmatch(r"[01]?\.\d+", value) else ""
        return f"{column} in row {row} must be an integer from 0 to 255 (got {value[:40]!r}){remedy}"
    if bad := _BAD_ROW.search(message):
        return f"row {bad[3]} must have {bad[1]} columns as the first line has (got {bad[2]})"
    return message


def _pictures(
    path: pathlib.Path, lines: Iterator[str], header: Sequence[str], column: int
) -> dict[str, Part]:
    places = {name.lower(): k for k, name in enumerate(header)}
    if "label" not in places:
        raise Unlabelled(f"{path} must have a column label (got {some(header)})")
    rows = [[value.strip() for value in row] for row in csv.reader(lines) if row]
    splits: dict[str, list[int]] = {}
    for k, row in enumerate(rows):
        if len(row) != len(header):
            raise UserError(f"{path}: row {k + 1} must have {len(header)} columns (got {len(row)})")
        _check_inside(path, k, row[column])
        split = row[places["split"]] if "split" in places else "train"
        if not re.fullmatch(r"[\w-]+", split, re.ASCII):
            raise UserError(
                f"{path}: split in row {k + 1} must be a name such as train or test (got {split!r})"
            )
        splits.setdefault(split, []).append(k)
    if not rows:
        raise UserError(f"{path} must have a row for each image (got none)")
    return {split: _part(path, rows, numbers, column, places["label"]) for split, numbers in splits.items()}


def _part(
    path: pathlib.Path, rows: Sequence[Sequence[str]], numbers: Sequence[int], column: int, label: int
) -> Part:
    files = [path.parent / rows[k][column] for k in numbers]
    for file in files:
        require_file(file)
    return Part(
        np.array([rows[k][label] for k in numbers], str),
        Pictures(
            lambda row: str(files[row]),
            lambda row: f"{files[row]} (row {numbers[row] + 1} of {path.name})",
            [(rows[k][column], stamp(file)) for k, file in zip(numbers, files, strict=True)],
        ),
    )


def _check_inside(path: pathlib.Path, k: int, name: str) -> None:
    """Refuses files outside the table's folder: the table's author must not choose what is read."""
    parts = pathlib.PurePath(name.replace("\\", "/")).parts
    if not name or "\0" in name or ".." in parts or pathlib.PurePath(name).is_absolute():
        raise UserError(
            f"{path}: the path in row {k + 1} must be a file below the folder of the table (got {name!r})"
        )
