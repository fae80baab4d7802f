"""report.html: the results of a run on one self-contained page."""

import contextlib
import functools
import math
import operator
import pathlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jinja2 import Template

from mnist_jax.config.fields import FIELDS, flatten
from mnist_jax.data import Dataset
from mnist_jax.data.cache import Arrays
from mnist_jax.metrics.detailed import Detailed, evaluate_in_detail
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.reporting.charts import Axis, Line, Mark, axis_of, bar_chart, line_chart
from mnist_jax.reporting.galleries import drawn, gallery, worst_mistakes
from mnist_jax.reporting.templates import load_template
from mnist_jax.storage.history import read_metrics, whole_intervals
from mnist_jax.storage.record import RunRecord, now, plain
from mnist_jax.system.files import write_whole

_SHARE = 0.05  # most of the training time that reports may take
_GALLERY = 24  # pictures per gallery
_CLASSES = 40  # most classes of a confusion matrix that is shown
_CURVES = 10  # most classes in a chart: the worst
_POINTS = 200  # most points of a curve
_LOGARITHMIC = ("loss", "grad_norm")  # learning curves
_RATE = "training images/s"
_OTHER_CURVES = (
    ("learning rate", "learning_rate"),
    ("gradient norm", "grad_norm"),
    (_RATE, "images_per_second"),
)


class Results(NamedTuple):
    """The predictions of a checkpoint on a split, their metrics, and the examples of the split."""

    split: str
    step: int
    predictions: Predictions
    details: Detailed
    examples: Arrays


class Report:
    """The report of a run, written again after evaluations while the run trains.

    Evaluations that follow a report too soon are left out, so that reports take at most 5% of the time.
    """

    def __init__(
        self, workdir: pathlib.Path, record: RunRecord, dataset: Dataset, say: Callable[[str], None]
    ):
        self._workdir, self._record, self._dataset, self._say = workdir, record, dataset, say
        self._latest: Callable[[], Results] | None = None
        self._next = 0.0  # seconds of the monotonic clock

    def prepare(self) -> None:
        """Reads the template, which takes longer than filling it in."""
        with contextlib.suppress(Exception):  # reported by the first report that is written
            _template()

    def evaluated(
        self,
        split: str,
        step: int,
        predictions: Predictions,
        details: Detailed | None,
        *,
        wait: bool = False,
    ) -> None:
        """Writes the report, unless the last one is too recent.

        details: None to compute them. wait: leaves the writing to the next call, or to `close`.
        """
        examples = getattr(self._dataset, split)

        def results() -> Results:
            found = details or evaluate_in_detail(predictions, bootstrap=False)
            return Results(split, step, predictions, found, examples)

        self._latest = results
        started = time.monotonic()
        if started >= self._next and details is None and not wait:
            self._write()
            self._next = time.monotonic() + (time.monotonic() - started) / _SHARE

    def close(self) -> None:
        """Writes the report of the last evaluation, with the final status of run.json."""
        if self._latest is not None:
            self._write()

    def _write(self) -> None:
        assert self._latest
        try:
            write_report(self._workdir, "report.html", self._record.fields, self._latest())
        except Exception as error:  # a report must not end the run
            self._say(f"the report cannot be written: {type(error).__name__}: {error}")


def write_report(workdir: pathlib.Path, name: str, record: Mapping[str, Any], results: Results) -> None:
    """Writes the page into the workdir, atomically. record: the content of run.json."""

    def pictures(indices: np.ndarray) -> list[dict[str, Any]]:
        return gallery(indices, results.examples.images, results.predictions, record["data"]["classes"])

    best = record.get("best") or {}
    page = _template().render(
        record=record,
        written=now(),
        split=results.split,
        step=results.step,
        metrics=plain(results.details.as_dict(record["data"]["classes"])),
        classes=record["data"]["classes"],
        learning=_learning_curves(read_metrics(workdir / "metrics.jsonl"), best.get("step")),
        best=best,
        nonce=secrets.token_urlsafe(16),
        matrix=_matrix(results.predictions.confusion),
        confusions=_confusions(results.predictions.confusion, record["data"]["classes"]),
        roc=_ranking_chart(results.details, record["data"]["classes"], "roc"),
        pr=_ranking_chart(results.details, record["data"]["classes"], "pr"),
        reliability=_reliability_chart(results.details.reliability),
        mistakes=pictures(worst_mistakes(results.predictions, _GALLERY)),
        samples=pictures(drawn(len(results.predictions.labels), _GALLERY)),
        config=_config_rows(record["config"]),
    )
    write_whole(workdir / name, page.encode())


@functools.cache
def _template() -> Template:
    return load_template(
        "report.html.jinja",
        filters={
            "moment": lambda iso: iso[:16].replace("T", " ") + " UTC",
            "percent": lambda value: _shown(value, lambda v: f"{100 * v:.2f}%"),
            "decimal": lambda value: _shown(value, lambda v: f"{v:.5f}"),
        },
    )


def _shown(value: float | None, form: Callable[[float], str]) -> str:
    return "undefined" if value is None else form(value + 0.0)


def _learning_curves(rows: Sequence[Mapping[str, Any]], best: int | None) -> list[dict[str, str]]:
    """Charts over epochs: name, chart, and `more`, the same values in another view, or "".

    best: step of the best checkpoint, which is marked on the validation lines.
    """
    rows = whole_intervals(rows)
    charts = []
    for label, key in (("accuracy", "accuracy"), ("loss, nats", "loss"), *_OTHER_CURVES):
        if chart := _curve(rows, label, operator.methodcaller("get", key), best, log=key in _LOGARITHMIC):
            charts.append({"name": label, "chart": chart, "more": ""})
    if charts and charts[0]["name"] == "accuracy":
        charts[0]["more"] = _curve(rows, "error rate", lambda row: 1 - row["accuracy"], best, log=True)
    return charts


def _curve(
    rows: Sequence[Mapping[str, Any]],
    label: str,
    value: Callable[[Mapping[str, Any]], float | None],
    best: int | None,
    *,
    log: bool,
) -> str:
    """A chart of a value of training and validation over epochs; "" without values."""
    percent = label in ("accuracy", "error rate")
    lines, marks = [], []
    for colour, split in enumerate(("train", "validation")):
        points = [(row["epoch"], value(row), row["step"]) for row in rows if row["split"] == split]
        points = [(x, y, step) for x, y, step in points if y is not None and math.isfinite(y)]
        if points:
            xs, ys, steps = zip(*points, strict=True)
            lines.append(Line(split, xs, ys, colour))
            if split == "validation" and best in steps:
                at = steps.index(best)
                marks.append(Mark(f"best checkpoint: step {best:,}", xs[at], ys[at], colour))
    if not lines:
        return ""
    x = axis_of("epoch", [0.0, *(at for line in lines for at in line.x)])._replace(low=0.0)
    y = axis_of(label, [at for line in lines for at in line.y], log=log)._replace(percent=percent)
    if label == _RATE:
        y = y._replace(low=0.0)
    if percent and not log:
        y = y._replace(high=min(y.high, 1.0), low=max(y.low, 0.0))
    return line_chart(f"{label} by epoch", x, y, lines, marks=marks)


def _matrix(confusion: np.ndarray) -> list[list[int]]:
    """The rows of the confusion matrix; none where there are too many classes to read it."""
    return confusion.tolist() if len(confusion) <= _CLASSES else []


def _confusions(confusion: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent pairs of true and predicted class."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:10]
    pairs = [divmod(int(cell), len(names)) for cell in order]
    return [
        {"true": names[i], "predicted": names[j], "count": int(wrong[i, j]), "of": int(confusion[i].sum())}
        for i, j in pairs
        if wrong[i, j]
    ]


def _ranking_chart(
    details: Detailed, names: Sequence[str], kind: Literal["roc", "pr"]
) -> dict[str, Any] | None:
    """The curves of the classes with the lowest areas, their names and areas."""
    areas = details.roc_auc if kind == "roc" else details.average_precision
    worst = [int(k) for k in np.argsort(areas) if details.curves[k] is not None][:_CURVES]
    if not worst:
        return None
    lines = []
    for colour, k in enumerate(worst):
        curve = details.curves[k]
        assert curve is not None
        x, y = curve.thinned(kind, _POINTS).tolist()
        lines.append(Line(f"{names[k]}: {areas[k]:.5f}", x, y, colour))
    across, up, on_left = _ranking_axes(lines, kind)
    square = (Axis("", 0.0, 1.0), Axis("", 0.0, 1.0), on_left)
    chart = line_chart(f"{up.label} by {across.label}", across, up, lines, inset=square)
    return {"chart": chart, "lines": lines}


def _ranking_axes(lines: Sequence[Line], kind: Literal["roc", "pr"]) -> tuple[Axis, Axis, bool]:
    """Axes around the corner where the curves bend, and whether the lower left corner is the free one."""
    points = [point for line in lines for point in zip(line.x, line.y, strict=True)]
    if kind == "roc":
        right = max([x for x, y in points if y < 1], default=0.0)
        low = min([y for x, y in points if x > 0], default=0.0)
        across = Axis("false positive rate", 0.0, min(max(1.1 * right, 0.01), 1.0))
    else:
        left = min([x for x, y in points if y < 1], default=0.0)
        low = min(y for _, y in points)
        across = Axis("recall", max(left - 0.05 * (1 - left) - 0.01, 0.0), 1.0)
    up = Axis("true positive rate" if kind == "roc" else "precision", max(low - 0.02, 0.0), 1.0)
    return across, up, kind == "pr"


def _reliability_chart(table: np.ndarray) -> str:
    bars = [
        (
            k / len(table),
            (k + 1) / len(table),
            right,
            f"{int(n):,} examples: mean confidence {confident:.1%}, accuracy {right:.1%}",
        )
        for k, (n, confident, right) in enumerate(table.tolist())
        if n
    ]
    x, y = (Axis(name, 0.0, 1.0, percent=True) for name in ("confidence", "accuracy"))
    return bar_chart("accuracy by confidence", x, y, bars)


def _config_rows(config: Mapping[str, Any]) -> list[tuple[str, Any, Any, bool]]:
    """(field, value, default, whether they differ) of each field."""
    defaults = {name: plain(field.default) for name, field in FIELDS.items()}
    fields = flatten(plain(config))
    return [(name, value, defaults.get(name), defaults.get(name, value) != value) for name, value in fields]
