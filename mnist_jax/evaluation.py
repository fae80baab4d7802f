"""Evaluates a checkpoint of a finished or running workdir again: the same numbers as training gave."""

import json
import pathlib
from typing import Any

import ml_collections

from mnist_jax import data
from mnist_jax.config.population import require_one_model
from mnist_jax.config.validation import validate
from mnist_jax.data.normalization import normalized
from mnist_jax.metrics.detailed import evaluate_in_detail
from mnist_jax.metrics.predictions import save_predictions
from mnist_jax.models import require_model
from mnist_jax.reporting.console import print_scores
from mnist_jax.reporting.report import Results, write_report
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.record import plain, require_current
from mnist_jax.storage.workdir import check_same_data, previous_run
from mnist_jax.system import devices, distributed
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_path, write_whole
from mnist_jax.system.mesh import make_mesh
from mnist_jax.system.terminal import tell, warn
from mnist_jax.training.predictor import Predictor, model_template


def evaluate_checkpoint(
    config: ml_collections.ConfigDict, workdir: str | pathlib.Path, *, step: int | None = None
) -> dict[str, Any]:
    """Evaluates a checkpoint on the test split, prints the metrics and writes evaluation-STEP.json and .npz.

    step: of the checkpoint; None for the best so far. A run may be at work in the workdir meanwhile.
    Returns: the content of the file, with `step`, `split` and `metrics`, which are as in run.json.
    Raises UserError: no run of this config there, no such checkpoint, other data.
    """
    config, workdir = validate(config), user_path(workdir)
    record = previous_run(workdir, config, force=False)
    if record is None:
        raise UserError(f"{workdir} holds no run to evaluate; train first")
    require_one_model(config, workdir)
    require_current(record, workdir)
    require_model(config.model.name, record.get("imports", ()))
    if distributed.count() > 1:
        raise UserError("a checkpoint is evaluated by one process; leave out --coordinator")
    devices.prepare_host()
    dataset = data.load(config.data)
    check_same_data(record, dataset, workdir)
    config = normalized(config, dataset.mean, dataset.std)
    mesh, classes = make_mesh(config), len(dataset.class_names)
    graph, like = model_template(config, dataset.image_shape, classes, mesh)
    with Checkpoints(workdir / "checkpoints", config.checkpoint.keep, read_only=True) as checkpoints:
        model = checkpoints.restore_model(like, warn, step=step)
    step, predict = int(model.step), Predictor(config, graph, classes, mesh)
    predictions = predict(dataset.test, model)
    metrics = evaluate_in_detail(predictions)
    found = plain(
        {"step": step, "split": dataset.expressions["test"], "metrics": metrics.as_dict(dataset.class_names)}
    )
    path = workdir / f"evaluation-{step}.json"
    results = Results("test", step, predictions, metrics, dataset.test)
    try:
        save_predictions(path.with_suffix(".npz"), predictions, step, dataset.class_names)
        write_whole(path, (json.dumps(found, indent=2, allow_nan=False) + "\n").encode())
        write_report(workdir, f"evaluation-{step}.html", record, results)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    print_scores(f"{dataset.name} {dataset.expressions['test']}, checkpoint {step}", found["metrics"])
    tell(f"written to {path}, {path.with_suffix('.npz').name} and {path.with_suffix('.html').name}")
    return found
