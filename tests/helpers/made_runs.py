"""Artificial finished runs, for tests of their readers."""

import copy
import json
import pathlib

import numpy as np

from mnist_jax.metrics.predictions import predictions_of, save_predictions
from mnist_jax.storage.schema import SCHEMA
from mnist_jax.studies.finished import FinishedRun

CLASSES, EXAMPLES = 3, 400
LABELS = np.arange(EXAMPLES, dtype=np.int32) % CLASSES
CONFIG = {
    "seed": 0,
    "data": {"test": "test"},
    "train": {"batch_size": 64, "epochs": 3},
    "wandb": {"name": ""},
}


def run_of(folder, name, *, right, seed=0, rng=None, **fields):
    """A finished run in a folder, whose model has about this accuracy."""
    rng = np.random.default_rng(rng)
    said = np.where(rng.random(EXAMPLES) < right, LABELS, (LABELS + 1) % CLASSES)
    shares = np.full((EXAMPLES, CLASSES), 0.1) + 0.7 * np.eye(CLASSES)[said]
    predictions = predictions_of(np.log(shares).astype(np.float32), LABELS)
    config = copy.deepcopy(CONFIG)
    config["seed"] = seed
    config["train"].update(fields)
    accuracy = float((said == LABELS).mean())
    code = {"commit": "c" * 40, "dirty": False}
    machine = {"python": "3", "os": "", "cpu": "", "cores": 2, "memory_bytes": 1, "packages": {}}
    machine["accelerator"] = {"kind": "cpu", "cores_usable": 2}
    data = {"name": "s/1", "fingerprint": "f" * 64, "classes": ["a", "b", "c"], "image_shape": [1, 1, 1]}
    data["splits"] = {"test": {"expression": "test", "examples": EXAMPLES, "class_counts": []}}
    process = {"started": "", "from_step": 0, "code": code, "accelerator": {}, "packages_sha256": "p" * 64}
    metrics = {
        "test": {"accuracy": accuracy, "loss": 1 - accuracy, "kappa": None, "notes": []},
        "validation": {},
    }
    record = {
        "schema": SCHEMA, "status": "finished", "started": "2026-01-01T00:00:00+00:00",
        "command": ["main.py"], "config": config, "processes": [process], "code": code, "data": data,
        "environment": machine, "parameters": 1, "best": {"step": 3, "metric": "accuracy"},
        "params_sha256": "0" * 64, "steps": 3, "metrics": metrics,
    }  # fmt: skip
    workdir = folder / name
    workdir.mkdir(parents=True)
    (workdir / "run.json").write_text(json.dumps(record))
    rows = [
        {"split": "validation", "step": k, "epoch": k, "loss": 1 / k, "accuracy": 1 - 0.5 / k} for k in (1, 2)
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_predictions(workdir / "predictions.npz", predictions, 3, tuple("abc"))
    return FinishedRun(name, workdir, record, predictions)


def three_settings(folder: pathlib.Path) -> list[FinishedRun]:
    """Two settings of three seeds each, which differ clearly, and a third with one seed."""
    made = [
        run_of(folder, f"{name}-seed_{seed}", right=right, seed=seed, rng=10 * k + seed, batch_size=size)
        for k, (name, right, size) in enumerate((("small", 0.95, 64), ("large", 0.7, 256)))
        for seed in range(3)
    ]
    return [*made, run_of(folder, "long", right=0.94, rng=99, epochs=9)]


def warned(text):
    raise AssertionError(text)
