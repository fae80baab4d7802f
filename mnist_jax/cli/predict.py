"""Predicts the class of images with the model of a run.

    mnist-jax predict --workdir=runs/mnist photo.jpg scans/ 'more/*.png'
    cat digit.png | mnist-jax predict --workdir=runs/mnist -
    find . -name '*.png' | mnist-jax predict --workdir=runs/mnist --json -

IMAGE is a file, a folder with all below it, a pattern, or -: standard input has an image, or a name per line.
PNG, JPEG, GIF, BMP and WebP of any size; digits dark on light or light on dark, drawn, scanned or
photographed.
Exit status: 0 done; 1 an image could not be read, and the others were; 2 an error in the command.
"""

import collections
import csv
import io
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from mnist_jax.cli.parsing import Options, Parser, integer
from mnist_jax.system.errors import UserError

if TYPE_CHECKING:
    pass


class Answer(NamedTuple):
    """file: as named. ink: "dark" or "light" of a digit. top: (class, probability), likeliest first."""

    file: str
    ink: str | None
    top: list[tuple[str, float]]


def add_flags(parser: Parser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder, pattern, or -")
    parser.add_run()
    parser.add_argument(
        "--top", type=integer(1), default=3, metavar="N", help="how many classes; default: %(default)s"
    )
    form = parser.add_mutually_exclusive_group()
    for name, show in (("--csv", show_csv), ("--json", show_json)):
        form.add_argument(name, dest="show", action="store_const", const=show, help="on standard output")
    parser.set_defaults(show=show_table)


def run(options: Options) -> int:
    from mnist_jax.data.finding import describe_left_out
    from mnist_jax.serving.classifier import load_classifier

    for stream in (sys.stdout, sys.stderr):  # of names that the terminal cannot show
        cast(io.TextIOWrapper, stream).reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `head` may close what it has enough of
    left_out: collections.Counter[str] = collections.Counter()
    files = iter(list(named_files(options.images, left_out)))  # a mistake shows before the model is loaded
    if left_out:
        print(f"mnist-jax predict: files left out: {describe_left_out(left_out)}", file=sys.stderr)
    classifier = load_classifier(options.workdir, step=options.checkpoint)
    broken: list[str] = []
    options.show(answers(classifier, files, options.top, broken))
    return 1 if broken else 0


def named_files(
    names: list[str], left_out: collections.Counter[str]
) -> Iterator[tuple[str, str | io.BytesIO]]:
    """Name and content, or path, of each image; `left_out` receives what is none, see `finding.find`."""
    from mnist_jax.data.finding import find
    from mnist_jax.data.image_files import is_image

    for name in names:
        if name != "-":
            yield from ((path, path) for path in find([name], left_out))
            continue
        given = sys.stdin.buffer.read()
        if is_image(given):
            yield "standard input", io.BytesIO(given)
            continue
        lines = [os.fsdecode(line) for line in given.replace(b"\0", b"\n").split(b"\n") if line]
        if not lines:
            raise UserError("standard input is empty; give it an image, or the names of some")
        yield from ((path, path) for path in find(lines, left_out))


def answers(
    classifier: Any, files: Iterator[tuple[str, Any]], top: int, broken: list[str]
) -> Iterator[Answer]:
    """What is on each image, in order; one that cannot be read is told, noted in `broken` and passed over."""
    import numpy as np

    from mnist_jax.data.image_files import decode
    from mnist_jax.serving.classifier import BATCH
    from mnist_jax.serving.pictures import fit_image

    while batch := list(itertools.islice(files, BATCH)):
        read: list[tuple[str, np.ndarray, str | None]] = []
        for name, file in batch:
            try:
                read.append((name, *fit_image(decode(file), classifier.image_shape, classifier.data_name)))
            except UserError as error:
                broken.append(name)
                print(f"mnist-jax predict: {name}: {error}", file=sys.stderr)
        if not read:
            continue
        probabilities = classifier.probabilities(np.stack([pixels for _, pixels, _ in read]))
        for (name, _, ink), row in zip(read, probabilities, strict=True):
            likeliest = np.argsort(-row, kind="stable")[:top]
            yield Answer(name, ink, [(classifier.class_names[k], float(row[k])) for k in likeliest])


def show_table(found: Iterator[Answer]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)  # names are names
    table = Table()
    for column in ("image", "class", "probability", "next", "ink"):
        table.add_column(column, overflow="fold", justify="right" if column == "probability" else "left")
    for answer in found:
        (label, probability), *others = answer.top
        rest = ", ".join(f"{name} {chance:.3f}" for name, chance in others)
        table.add_row(answer.file, label, f"{probability:.3f}", rest, answer.ink or "")
    if table.row_count:
        console.print(table)


def show_csv(found: Iterator[Answer]) -> None:
    writer = csv.writer(sys.stdout)
    for number, answer in enumerate(found):
        if number == 0:
            ranks = range(1, len(answer.top) + 1)
            columns = (f"{what}_{rank}" for rank in ranks for what in ("label", "probability"))
            writer.writerow(["file", *columns, "ink"])
        cells = [cell for label, probability in answer.top for cell in (label, f"{probability:.6f}")]
        writer.writerow([answer.file, *cells, answer.ink])


def show_json(found: Iterator[Answer]) -> None:
    for answer in found:
        label, probability = answer.top[0]
        top = [{"label": name, "probability": chance} for name, chance in answer.top]
        line = {"file": answer.file, "label": label, "probability": probability, "top": top}
        print(json.dumps({**line, "ink": answer.ink}, ensure_ascii=False))
