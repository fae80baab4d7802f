"""report.html: what a run came to, on one page that needs nothing beside itself."""

import functools
import pathlib
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
from mnist_jax.reporting.charts import Axis, Line, axis_of, bar_chart, line_chart
from mnist_jax.reporting.galleries import drawn, gallery, worst_mistakes
from mnist_jax.reporting.templates import load_template
from mnist_jax.storage.history import read_metrics, whole_intervals
from mnist_jax.storage.record import RunRecord, now, plain
from mnist_jax.system.files import write_whole

_SHARE = 0.05  # of the training's time, that the reports of a run that is under way may take
_GALLERY = 24  # pictures
_CLASSES = 40  # up to which a matrix of confusion can be read
_CURVES = 10  # classes in a chart; of more, the worst
_POINTS = 200  # of a curve


class Results(NamedTuple):
    """What the checkpoint of a step says of a split, and the split's examples."""

    split: str
    step: int
    predictions: Predictions
    details: Detailed
    examples: Arrays


class Report:
    """The report of a run as it goes: at each evaluation, but for those that follow within moments."""

    def __init__(
        self, workdir: pathlib.Path, record: RunRecord, dataset: Dataset, say: Callable[[str], None]
    ):
        self._workdir, self._record, self._dataset, self._say = workdir, record, dataset, say
        self._latest: Callable[[], Results] | None = None
        self._next = 0.0  # seconds of the monotonic clock

    def prepare(self) -> None:
        """Reads the template, which takes longer than to fill it in."""
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

        details: None to work them out. wait: leave it to the next call, or to `close`.
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
        """Writes the report of the last evaluation, with the status that run.json has in the end."""
        if self._latest is not None:
            self._write()

    def _write(self) -> None:
        assert self._latest
        try:
            write_report(self._workdir, "report.html", self._record.fields, self._latest())
        except Exception as error:  # whatever it is, it must not end the run
            self._say(f"the report cannot be written: {type(error).__name__}: {error}")


def write_report(workdir: pathlib.Path, name: str, record: Mapping[str, Any], results: Results) -> None:
    """Writes the page as a file of the workdir, whole or not at all. record: the content of run.json."""

    def pictures(indices: np.ndarray) -> list[dict[str, Any]]:
        return gallery(indices, results.examples.images, results.predictions, record["data"]["classes"])

    page = _template().render(
        record=record,
        written=now(),
        split=results.split,
        step=results.step,
        metrics=plain(results.details.as_dict(record["data"]["classes"])),
        classes=record["data"]["classes"],
        learning=_learning_curves(read_metrics(workdir / "metrics.jsonl")),
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
    return "undefined" if value is None else form(value)


def _learning_curves(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Charts over epochs, each with what it is called."""
    rows = whole_intervals(rows)
    charts = []
    for label, log, value in (
        ("loss, nats", True, lambda row: row["loss"]),
        ("share that is wrong", True, lambda row: 1 - row["accuracy"]),
        ("learning rate", False, lambda row: row.get("learning_rate")),
    ):
        lines = []
        for colour, split in enumerate(("train", "validation")):
            points = [(row["epoch"], value(row)) for row in rows if row["split"] == split]
            if points := [(x, y) for x, y in points if y is not None]:
                lines.append(Line(split, [x for x, _ in points], [y for _, y in points], colour))
        if lines:
            x = axis_of("epoch", [0.0, *(value for line in lines for value in line.x)])
            y = axis_of(label, [value for line in lines for value in line.y], log=log)
            charts.append((label, line_chart(label, x._replace(low=0.0), y, lines)))
    return charts


def _matrix(confusion: np.ndarray) -> list[list[int]]:
    """The rows of the matrix of confusion; none of more classes than can be read."""
    return confusion.tolist() if len(confusion) <= _CLASSES else []


def _confusions(confusion: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """The commonest pairs of true and predicted class."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:10]
    places = [divmod(int(place), len(names)) for place in order]
    return [
        {"true": names[i], "predicted": names[j], "count": int(wrong[i, j]), "of": int(confusion[i].sum())}
        for i, j in places
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
    if kind == "roc":
        least = min([value for line in lines for value in line.x if value > 0], default=0.1)
        across, up = Axis("false positive rate", min(least, 0.1), 1.0, log=True), "true positive rate"
        low = min([y for line in lines for x, y in zip(line.x, line.y, strict=True) if x > 0], default=0.0)
    else:
        across, up = Axis("recall", 0.0, 1.0), "precision"
        low = min(y for line in lines for y in line.y)
    upward = Axis(up, max(low - 0.02, 0.0), 1.0)
    return {"chart": line_chart(f"{up} by {across.label}", across, upward, lines), "lines": lines}


def _reliability_chart(table: np.ndarray) -> str:
    bars = [
        (
            k / len(table),
            (k + 1) / len(table),
            right,
            f"{int(n):,} examples: {confident:.1%} sure, {right:.1%} right",
        )
        for k, (n, confident, right) in enumerate(table.tolist())
        if n
    ]
    x, y = Axis("confidence", 0.0, 1.0), Axis("share that is right", 0.0, 1.0)
    return bar_chart("share of right predictions by confidence", x, y, bars)


def _config_rows(config: Mapping[str, Any]) -> list[tuple[str, Any, Any, bool]]:
    """(field, value, default, whether they differ) of each field."""
    defaults = {name: plain(field.default) for name, field in FIELDS.items()}
    fields = flatten(plain(config))
    return [(name, value, defaults.get(name), defaults.get(name, value) != value) for name, value in fields]
