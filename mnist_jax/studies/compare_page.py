"""compare.html: a comparison of runs on one self-contained page."""

import functools
import math
import pathlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import Template

from mnist_jax.metrics.confusion import confusion_scores
from mnist_jax.reporting.charts import Line, axis_of, line_chart
from mnist_jax.reporting.templates import load_template
from mnist_jax.storage.history import read_metrics, whole_intervals
from mnist_jax.storage.record import now
from mnist_jax.studies.compare import Comparison, Setting
from mnist_jax.studies.finished import FinishedRun
from mnist_jax.system.files import write_whole

_COLOURS = 10  # most settings in a chart: the best
_CLASSES = 40  # most classes of a confusion matrix that is shown
_NOT_SHARES = frozenset({"loss", "brier", "cohen_kappa", "matthews"})


def write_comparison(path: pathlib.Path, comparison: Comparison) -> None:
    """Writes the page atomically."""
    settings = comparison.settings
    classes = settings[0].runs[0].record["data"]["classes"]
    page = _template().render(
        comparison=comparison,
        data=settings[0].runs[0].record["data"],
        written=now(),
        score=score_form(comparison.metric),
        difference=difference_form(comparison.metric),
        unit=unit(comparison.metric),
        points=difference_form("accuracy"),
        curves=_learning_curves(settings),
        by_class=_class_rows(settings, classes),
        heat=_confusion_difference(settings, classes),
        nonce=secrets.token_urlsafe(16),
    )
    write_whole(path, page.encode())


def score_form(metric: str) -> Callable[[float], str]:
    """Returns the text form of values of a metric: shares as percentages."""

    def write(value: float) -> str:
        if math.isnan(value):
            return "undefined"
        number = round(value, 4) + 0.0  # no -0.0000
        return f"{number:.4f}" if metric in _NOT_SHARES else f"{100 * number:.2f}%"

    return write


def difference_form(metric: str) -> Callable[[float], str]:
    """Returns the text form of differences of a metric: shares in percentage points, with the sign."""

    def write(value: float) -> str:
        if math.isnan(value):
            return "undefined"
        number = round(value, 4) + 0.0  # no -0.0000
        return f"{number:+.4f}" if metric in _NOT_SHARES else f"{100 * number:+.2f}"

    return write


def unit(metric: str) -> str:
    """The unit of differences of a metric, after a comma."""
    return "" if metric in _NOT_SHARES else ", points"


@functools.cache
def _template() -> Template:
    return load_template(
        "compare.html.jinja",
        filters={
            "moment": lambda iso: iso[:16].replace("T", " ") + " UTC",
            "p": lambda p: "undefined" if math.isnan(p) else "<\u00a00.0001" if p < 1e-4 else f"{p:.4f}",
        },
    )


def _learning_curves(settings: Sequence[Setting]) -> list[tuple[str, str]]:
    """Charts over epochs with a line for each run, in the colour of its setting."""
    shown = settings[:_COLOURS]
    rows = [
        [(run, whole_intervals(read_metrics(run.workdir / "metrics.jsonl"))) for run in setting.runs]
        for setting in shown
    ]
    charts = []
    for title, split, value in (
        ("validation accuracy", "validation", lambda row: row["accuracy"]),
        ("validation loss, nats", "validation", lambda row: row["loss"]),
        ("training loss, nats", "train", lambda row: row["loss"]),
    ):
        lines = [
            _line(run, history, split, value, colour)
            for colour, group in enumerate(rows)
            for run, history in group
        ]
        if lines := [line for line in lines if line.x]:
            x = axis_of("epoch", [0.0, *(at for line in lines for at in line.x)])
            share = title == "validation accuracy"
            y = axis_of(title, [at for line in lines for at in line.y], log=not share)
            y = y._replace(percent=True, low=max(y.low, 0.0), high=min(y.high, 1.0)) if share else y
            charts.append((title, line_chart(title, x._replace(low=0.0), y, lines)))
    return charts


def _line(
    run: FinishedRun,
    rows: Sequence[Mapping[str, Any]],
    split: str,
    value: Callable[[Mapping[str, Any]], Any],
    colour: int,
) -> Line:
    needed = ("epoch", "loss", "accuracy")
    whole = [row for row in rows if all(isinstance(row.get(key), int | float) for key in needed)]
    chosen = [row for row in whole if row["split"] == split]
    return Line(run.name, [row["epoch"] for row in chosen], [value(row) for row in chosen], colour)


def _mean_confusion(setting: Setting) -> np.ndarray:
    """The confusion matrix averaged over the runs, float64 (K, K)."""
    return np.mean([run.predictions.confusion for run in setting.runs], axis=0)


def _class_rows(settings: Sequence[Setting], classes: Sequence[str]) -> list[dict[str, Any]]:
    """F1 per class in the best setting and the differences of the others; means over runs."""
    f1 = np.array(
        [
            np.mean([confusion_scores(run.predictions.confusion)["f1"] for run in setting.runs], axis=0)
            for setting in settings
        ]
    )
    gaps = f1 - f1[0]
    largest = float(np.nanmax(np.abs(gaps), initial=0.0)) or 1.0
    return [
        {
            "class": name,
            "best": f1[0, k],
            "others": [(gap, abs(gap) / largest if gap == gap else 0.0) for gap in gaps[1:, k].tolist()],
        }
        for k, name in enumerate(classes)
    ]


def _confusion_difference(settings: Sequence[Setting], classes: Sequence[str]) -> dict[str, Any] | None:
    """The confusion matrix of the best setting minus that of the last; means over runs.

    For one setting with two or more runs: the first run minus the last.
    """
    first, last = settings[0], settings[-1]
    if len(settings) == 1:
        first, *_, last = [*first.alone, *first.alone]
    if first.name == last.name or len(classes) > _CLASSES:
        return None
    gaps = _mean_confusion(first) - _mean_confusion(last)
    largest = float(np.abs(gaps).max()) or 1.0
    better = np.where(np.eye(len(classes), dtype=bool), gaps, -gaps)  # more correct, or fewer wrong
    rows = [
        [
            {"gap": gap, "share": (abs(gap) / largest) ** 0.5, "good": good >= 0}
            for gap, good in zip(row, good_row, strict=True)
        ]
        for row, good_row in zip(gaps.tolist(), better.tolist(), strict=True)
    ]
    return {"first": first.name, "second": last.name, "classes": classes, "rows": rows}
