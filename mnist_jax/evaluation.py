"""Evaluates a checkpoint of a finished or running workdir: the best gives the same numbers as training."""

import json
import pathlib
from typing import Any

import ml_collections

from mnist_jax import data
from mnist_jax.config.population import require_one_model
from mnist_jax.config.validation import from_record, validate
from mnist_jax.data.normalization import normalized
from mnist_jax.metrics.calibration import fit_temperature, with_temperature
from mnist_jax.metrics.detailed import evaluate_in_detail
from mnist_jax.metrics.predictions import save_predictions
from mnist_jax.models import require_model
from mnist_jax.reporting.console import print_scores
from mnist_jax.reporting.report import Results, write_report
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.storage.record import plain, read_record, require_current
from mnist_jax.storage.workdir import check_same_data, previous_run
from mnist_jax.system import devices, distributed
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import user_path, write_whole
from mnist_jax.system.mesh import make_mesh
from mnist_jax.system.terminal import tell, warn
from mnist_jax.training.predictor import Predictor, model_template


def evaluate_checkpoint(
    workdir: str | pathlib.Path, config: ml_collections.ConfigDict | None = None, *, step: int | None = None
) -> dict[str, Any]:
    """Evaluates a checkpoint on the test split, prints the metrics and writes evaluation-STEP.json and .npz.

    The run can still be training.

    Args:
      workdir: of the run.
      config: of the run; None for the one in its run.json.
      step: of the checkpoint; None for the best so far.

    Returns:
      the content of the file, with `step`, `split` and `metrics`, which are as in run.json.

    Raises:
      UserError: the workdir has no run of this config or no such checkpoint, or the data changed.
    """
    workdir = user_path(workdir)
    if not (workdir / "run.json").exists():
        raise UserError(f"{workdir} must be the workdir of a run (got no run.json in it); train first")
    config = validate(_recorded_config(workdir) if config is None else config)
    record = previous_run(workdir, config, force=False)
    assert record
    require_one_model(config, workdir)
    require_current(record, workdir)
    require_model(config.model.name, record.get("imports", ()))
    if distributed.count() > 1:
        raise UserError("a checkpoint must be evaluated by one process; leave out --coordinator")
    devices.prepare_host()
    dataset = data.load(config.data)
    check_same_data(record, dataset, workdir)
    config = normalized(config, dataset.mean, dataset.std)
    mesh, classes = make_mesh(config), len(dataset.class_names)
    graph, like = model_template(config, dataset.image_shape, classes, mesh)
    with Checkpoints(workdir / "checkpoints", config.checkpoint.keep, read_only=True) as checkpoints:
        model = checkpoints.restore_model(like, warn, step=step)
    step, predict = int(model.step), Predictor(config, graph, classes, mesh)
    predictions, temperature = predict(dataset.test, model), {}
    if config.evaluation.temperature:
        temperature = {"temperature": fit_temperature(predict(dataset.validation, model))}
        predictions = with_temperature(predictions, **temperature)
    metrics = evaluate_in_detail(predictions)
    found = plain(
        {
            "step": step,
            "split": dataset.expressions["test"],
            **temperature,
            "metrics": metrics.as_dict(dataset.class_names),
        }
    )
    path = workdir / f"evaluation-{step}.json"
    results = Results("test", step, predictions, metrics, dataset.test)
    try:
        save_predictions(path.with_suffix(".npz"), predictions, step, dataset.class_names)
        write_whole(path, (json.dumps(found, indent=2, allow_nan=False) + "\n").encode())
        write_report(workdir, f"evaluation-{step}.html", {**record, **temperature}, results)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    print_scores(f"{dataset.name} {dataset.expressions['test']}, checkpoint {step}", found["metrics"])
    for suffix in (".html", ".json", ".npz"):
        tell(f"{suffix[1:]:5} {path.with_suffix(suffix)}")
    return found


def _recorded_config(workdir: pathlib.Path) -> ml_collections.ConfigDict:
    """The config in a run.json, on one device; folders that this machine does not have are the default ones.

    So a record from another machine never makes a folder here.
    """
    config = from_record(read_record(workdir)["config"])
    config.mesh.data = 1
    for name in ("data_dir", "manual_dir", "cache_dir"):
        if config.data[name] and not user_path(config.data[name]).is_dir():
            config.data[name] = ""
    return config
