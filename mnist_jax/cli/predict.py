"""Predicts the class of images with the model of a run.

    mnist-jax predict --workdir=runs/mnist photo.jpg scans/ 'more/*.png'
    cat digit.png | mnist-jax predict --workdir=runs/mnist -
    find . -name '*.png' | mnist-jax predict --workdir=runs/mnist --json -

IMAGE is a file, a folder, a pattern, or - for standard input, which has an image or a name per line. A folder
includes its subfolders. It reads PNG, JPEG, TIFF, WebP and all other still images that Pillow reads, of any
size; digits can be dark on light or light on dark, drawn, scanned or photographed.
Exit status: 0 done; 1 some images could not be read, or standard output cannot be written; 2 an error in the
command.
"""

import collections
import csv
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from mnist_jax.cli.parsing import Options, Parser, integer
from mnist_jax.system.errors import UserError
from mnist_jax.system.output import printable, require_output

_FORMULA = re.compile(r"[=+\-@\uff1d\uff0b\uff0d\uff20]")  # the first character of a formula in a spreadsheet
_NUMBER = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?", re.IGNORECASE)


class Answer(NamedTuple):
    """A prediction.

    Attributes:
        file: the image as named.
        ink: "dark" or "light" for a digit, else None.
        top: (class, probability), the most likely first.
    """

    file: str
    ink: str | None
    top: list[tuple[str, float]]


def add_flags(parser: Parser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder, pattern, or -")
    parser.add_run()
    parser.add_argument(
        "--top",
        type=integer(1),
        default=3,
        metavar="N",
        help="number of classes to show; default: %(default)s",
    )
    form = parser.add_mutually_exclusive_group()
    for name, show in (("--csv", show_csv), ("--json", show_json)):
        form.add_argument(
            name, dest="show", action="store_const", const=show, help=f"print {name[2:].upper()}"
        )
    parser.set_defaults(show=show_table)


def run(options: Options) -> int:
    from mnist_jax.data.finding import describe_left_out
    from mnist_jax.serving.classifier import load_classifier

    require_output()
    left_out: collections.Counter[str] = collections.Counter()
    files = iter(list(named_files(options.images, left_out)))  # errors come before the model is loaded
    if left_out:
        print(printable(f"mnist-jax predict: files left out: {describe_left_out(left_out)}"), file=sys.stderr)
    classifier = load_classifier(options.workdir, step=options.checkpoint)
    broken: list[str] = []
    options.show(answers(classifier, files, options.top, broken))
    return 1 if broken else 0


def named_files(
    names: list[str], left_out: collections.Counter[str]
) -> Iterator[tuple[str, str | io.BytesIO]]:
    """Yields the name and the content or path of each image; `left_out` counts other files, by suffix."""
    from mnist_jax.data.finding import find
    from mnist_jax.data.opening import is_image

    for name in names:
        if name != "-":
            yield from ((path, path) for path in find([name], left_out))
            continue
        given = sys.stdin.buffer.read()
        if is_image(given):
            yield "standard input", io.BytesIO(given)
            continue
        lines = [os.fsdecode(line) for line in given.split(b"\0" if b"\0" in given else b"\n") if line]
        if not lines:
            raise UserError("standard input is empty; give it an image, or the names of some")
        yield from ((path, path) for path in find(lines, left_out))


def answers(
    classifier: Any, files: Iterator[tuple[str, Any]], top: int, broken: list[str]
) -> Iterator[Answer]:
    """Yields the prediction for each image, in order; unreadable ones are reported and added to `broken`."""
    import numpy as np

    from mnist_jax.serving.classifier import BATCH
    from mnist_jax.serving.pictures import read_image

    while batch := list(itertools.islice(files, BATCH)):
        read: list[tuple[str, np.ndarray, str | None]] = []
        for name, file in batch:
            try:
                read.append((name, *read_image(file, classifier)))
            except UserError as error:
                broken.append(name)
                print(printable(f"mnist-jax predict: {name}: {error}"), file=sys.stderr)
        if not read:
            continue
        probabilities = classifier.probabilities(np.stack([pixels for _, pixels, _ in read]))
        for (name, _, ink), row in zip(read, probabilities, strict=True):
            likeliest = np.argsort(-row, kind="stable")[:top]
            yield Answer(name, ink, [(classifier.class_names[k], float(row[k])) for k in likeliest])


def show_table(found: Iterator[Answer]) -> None:
    from mnist_jax.system.terminal import Terminal, TextTable

    table = TextTable()
    for column in ("image", "class", "probability", "next", "ink"):
        table.add_column(column, overflow="fold", justify="right" if column == "probability" else "left")
    for answer in found:
        (label, probability), *others = answer.top
        rest = ", ".join(f"{name} {chance:.3f}" for name, chance in others)
        table.add_row(answer.file, label, f"{probability:.3f}", rest, answer.ink or "")
    if table.row_count:
        Terminal().print(table)


def show_csv(found: Iterator[Answer]) -> None:
    writer = csv.writer(sys.stdout)
    for number, answer in enumerate(found):
        if number == 0:
            ranks = range(1, len(answer.top) + 1)
            columns = (f"{what}_{rank}" for rank in ranks for what in ("label", "probability"))
            writer.writerow(["file", *columns, "ink"])
        pairs = ((text_cell(label), f"{probability:.6f}") for label, probability in answer.top)
        writer.writerow([file_cell(answer.file), *itertools.chain(*pairs), answer.ink])


def text_cell(text: str) -> str:
    """A CSV cell that a spreadsheet does not compute: an apostrophe precedes a formula.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    text = printable(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def file_cell(name: str) -> str:
    """The same for a file name, which another program can still open: `=a.png` is ./=a.png."""
    return f"./{printable(name)}" if _FORMULA.match(name) else printable(name)


def show_json(found: Iterator[Answer]) -> None:
    for answer in found:
        label, probability = answer.top[0]
        top = [{"label": name, "probability": chance} for name, chance in answer.top]
        line = {"file": answer.file, "label": label, "probability": probability, "top": top}
        print(json.dumps({**line, "ink": answer.ink}))
