"""Compares finished runs and tests which differences between them are real.

    mnist-jax compare runs/report/*

Runs whose configs differ only in the seed or the fold are one setting. Settings are sorted by a test metric,
and each pair is tested: Welch's test over seeds and folds, McNemar's test on the predictions of the same
examples, and a paired bootstrap, with Holm's correction over all pairs. compare.html shows the results on a
page. --wandb=ENTITY/PROJECT compares the finished runs of a W&B project, alone or with those of folders.
Exit status: 0 done; 1 standard output cannot be written; 2 an error in the command, or the runs cannot be
compared.
"""

import json
import math
import os
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

from mnist_jax.cli.parsing import Options, Parser, path

if TYPE_CHECKING:
    from mnist_jax.system.terminal import Terminal, TextTable


def add_flags(parser: Parser) -> None:
    parser.add_argument("workdirs", nargs="*", type=path, metavar="WORKDIR", help="a run")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="W&B project whose runs to compare")
    parser.add_argument(
        "--metric", default="accuracy", help="a metric of metrics.test in run.json; default: accuracy"
    )
    parser.add_argument(
        "--into", type=path, help="file to write the page to; default: compare.html in the folder of the runs"
    )
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def run(options: Options) -> None:
    from mnist_jax.system.errors import UserError
    from mnist_jax.system.output import require_output
    from mnist_jax.system.terminal import warn

    require_output()
    if not options.workdirs and not options.wandb:
        raise UserError("WORKDIR is missing; for example runs/report/*")
    if not options.wandb:
        show(options, options.workdirs)
        return
    from mnist_jax.reporting.wandb.download import download_runs

    with tempfile.TemporaryDirectory() as folder:
        downloaded = download_runs(options.wandb, pathlib.Path(folder), warn)
        show(options, [*options.workdirs, *downloaded])


def show(options: Options, workdirs: list[pathlib.Path]) -> None:
    from mnist_jax.storage.record import plain
    from mnist_jax.studies.compare import as_dict, compare
    from mnist_jax.studies.compare_page import write_comparison
    from mnist_jax.studies.finished import load_runs
    from mnist_jax.system.errors import UserError
    from mnist_jax.system.terminal import tell, warn

    comparison = compare(load_runs(workdirs, warn), options.metric)
    for what, values in comparison.circumstances.items():
        warn(f"the runs differ in more than the config: {what} ({', '.join(values)})")
    parents = [workdir.absolute().parent for workdir in options.workdirs]
    page = options.into or pathlib.Path(os.path.commonpath(parents) if parents else "") / "compare.html"
    try:
        write_comparison(page, comparison)
    except OSError as error:
        raise UserError(f"{page} cannot be written: {error.strerror or error}; give --into=FILE") from error
    if options.json:
        print(json.dumps(plain(as_dict(comparison)), indent=2, allow_nan=False))
        return
    print_comparison(comparison)
    tell(f"page  {page}")


def print_comparison(comparison: Any) -> None:
    from mnist_jax.studies.compare_page import difference_form, score_form, unit
    from mnist_jax.system.terminal import Terminal

    out, form = Terminal(), score_form(comparison.metric)
    fields = [["setting", *comparison.columns]]
    fields += [[s.name, *map(written, s.fields.values())] for s in comparison.settings]
    scores = [["n", "mean", "deviation"]]
    over = "seeds and folds" if comparison.folded else "seeds"
    if comparison.folded:
        scores[0] += ["validation", "deviation"]
    for setting in comparison.settings:
        n = len(setting.runs)
        scores.append([str(n), form(setting.mean), form(setting.deviation) if n > 1 else ""])
        if comparison.folded:
            deviation = form(setting.validation_deviation) if n > 1 else ""
            scores[-1] += [form(setting.validation_mean), deviation]
    title = f"test {comparison.metric.replace('_', ' ')}, mean over {over}"
    whole = table(title, [[name, *score, *rest] for (name, *rest), score in zip(fields, scores, strict=True)])
    if fits(out, whole):
        out.print(whole)
    else:
        out.print(table(title, [[row[0], *score] for row, score in zip(fields, scores, strict=True)]))
        turned = table("what differs", [list(row) for row in zip(*fields, strict=True)])
        out.print(turned if fits(out, turned) else f"{len(comparison.columns)} fields differ, see the page")
    if comparison.pairs:
        difference, points = difference_form(comparison.metric), difference_form("accuracy")
        rows = [["better", "worse", f"difference{unit(comparison.metric)}", "95% over examples, points"]]
        rows[0] += [f"p over {over}", "verdict"]
        for pair in comparison.pairs:
            p = "" if math.isnan(pair.p_corrected) else f"{pair.p_corrected:.4f}"
            ends = " to ".join(map(points, pair.bootstrap["accuracy"]))
            rows.append([pair.first, pair.second, difference(pair.difference), ends, p, pair.verdict])
        out.print(table("which differences are real", rows))


def table(title: str, rows: list[list[str]]) -> "TextTable":
    """A table whose first row is the header."""
    from mnist_jax.system.terminal import TextTable

    made = TextTable(title, title_justify="left")
    for index, name in enumerate(rows[0]):
        made.add_column(name, justify="right" if index else "left", overflow="fold")
    for row in rows[1:]:
        made.add_row(*row)
    return made


def fits(out: "Terminal", made: "TextTable") -> bool:
    from rich.measure import Measurement

    return Measurement.get(out, out.options.update(max_width=10_000), made).maximum <= out.width


def written(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
