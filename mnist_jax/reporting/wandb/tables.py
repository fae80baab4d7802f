"""A run's results as plots and tables of W&B."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import wandb

from mnist_jax.metrics.curves import Curves, ranking_curves
from mnist_jax.metrics.predictions import Predictions

_CURVE_POINTS = 100  # a class


def result_plots(test: Mapping[str, Any], predictions: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """Confusion matrix, curves and the table of classes.

    Args:
      test: `metrics.test` of run.json.
      predictions: of the test split.
      names: of the classes.
    """
    curves, columns = ranking_curves(predictions), list(test["per_class"][0])
    return {
        "test/confusion_matrix": wandb.plot.confusion_matrix(
            y_true=predictions.labels.tolist(), preds=predictions.predicted.tolist(), class_names=list(names)
        ),
        "test/roc": _curves_plot(curves, names, "roc", "False positive rate", "True positive rate"),
        "test/pr": _curves_plot(curves, names, "pr", "Recall", "Precision"),
        "test/per_class": wandb.Table(
            columns=columns, data=[[row[name] for name in columns] for row in test["per_class"]]
        ),
    }


def predictions_table(
    predictions: Predictions, images: Sequence[wandb.Image], names: Sequence[str]
) -> wandb.Table:
    """A row for each example: index, image, true class, predicted class, correct or not, probabilities."""
    true, predicted = predictions.labels, predictions.predicted
    columns = {
        "index": list(range(len(true))),
        "image": list(images),
        "true": true.tolist(),
        "predicted": predicted.tolist(),
        "correct": (true == predicted).tolist(),
    }
    shares = zip(names, predictions.probabilities.T.tolist(), strict=True)
    columns |= {f"probability {name}": column for name, column in shares}
    table = wandb.Table(columns=[], data=[])
    for name, values in columns.items():  # four times as fast as by rows
        table.add_column(name, values)
    return table


def _curves_plot(
    curves: Sequence[Curves | None], names: Sequence[str], kind: Literal["roc", "pr"], x: str, y: str
) -> Any:
    """W&B's plot of such curves; `wandb.plot.pr_curve` needs pandas, and computes them again."""
    points = [
        [name, *point]
        for name, curve in zip(names, curves, strict=True)
        if curve is not None
        for point in curve.thinned(kind, _CURVE_POINTS).T.tolist()
    ]
    return wandb.plot_table(
        "wandb/area-under-curve/v0",
        wandb.Table(columns=["class", "x", "y"], data=points),
        {"x": "x", "y": "y", "class": "class"},
        {"title": f"{y} against {x.lower()}", "x-axis-title": x, "y-axis-title": y},
    )
