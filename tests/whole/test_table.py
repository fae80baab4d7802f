"""A set in a table, by the commands; and the folds of a sweep."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, run_command, run_main
from PIL import Image

pytestmark = pytest.mark.whole

# One epoch of a network that compiles fast.
FIELDS = """model.name=cnn model.norm=none model.widths=(4,8) model.dense=8 optimizer.name=sgd train.epochs=1
train.min_steps=0 augment.shift=0.0 augment.rotation=0.0 augment.scale=0.0 augment.resized_crop=0.0
augment.brightness=0.0 augment.contrast=0.0 augment.saturation=0.0 augment.mixup=0.0"""
SMALL = [f"--config.{field}" for field in FIELDS.split()]
SWEEP = """
from mnist_jax.config.variants import over_folds

def get_sweep():
    return over_folds({"small": {}}, 2)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One set as .npz and as Parquet."""
    folder = tmp_path_factory.mktemp("tables")
    labels = np.arange(200) % 2
    images = np.random.default_rng(0).integers(0, 100, (200, 8, 8), np.uint8)
    images[labels == 1, 3:5] += 150
    np.savez(folder / "set.npz", images=images, labels=labels)
    rows = []
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / "image.png")
        rows.append({"bytes": (folder / "image.png").read_bytes(), "path": f"{k}.png"})
    pq.write_table(pa.table({"image": rows, "label": labels}), folder / "set.parquet")
    return folder


def flags(folder, name):
    return [f"--config={ROOT}/configs/table.py", f"--config.data.dir={folder / name}", *SMALL]


@pytest.fixture(scope="module")
def trained(folder):
    records = {}
    for name in ("set.npz", "set.parquet"):
        workdir = folder / f"run-{name}"
        assert run_main(*flags(folder, name), f"--workdir={workdir}").returncode == 0
        records[name] = json.loads((workdir / "run.json").read_text())
    return records


def test_containers_of_the_same_rows_give_the_same_bits(trained):
    one, other = trained.values()
    pictures = one["data"].pop("rendering", None), other["data"].pop("rendering", None)
    assert [rendering is not None for rendering in pictures] == [False, True]  # Parquet has image files
    assert one["data"] == other["data"]
    assert one["params_sha256"] == other["params_sha256"]
    assert one["data"]["splits"]["test"] | {"class_counts": None} == {
        "expression": "train[90%:]", "examples": 20, "class_counts": None
    }  # fmt: skip


def test_a_finished_run_answers_for_the_same_rows_alone(trained, folder):
    workdir = folder / "run-set.npz"
    assert run_main(*flags(folder, "set.parquet"), f"--workdir={workdir}").returncode == 0
    with np.load(folder / "set.npz") as arrays:
        np.savez(folder / "other.npz", images=255 - arrays["images"], labels=arrays["labels"])
    found = run_main(*flags(folder, "other.npz"), f"--workdir={workdir}")
    assert found.returncode == 2
    assert "config.data.dir must hold the images of the finished run" in found.stderr


def test_folds_are_swept_and_compared(folder):
    (folder / "folds.py").write_text(SWEEP)
    workdir = folder / "sweep"
    run_command("sweep", *flags(folder, "set.npz"), f"--sweep={folder}/folds.py", f"--workdir={workdir}")
    records = [json.loads((workdir / f"small-fold_{k}" / "run.json").read_text()) for k in range(2)]
    splits = [record["data"]["splits"] for record in records]
    assert [one["validation"]["examples"] for one in splits] == [90, 90]
    assert splits[0]["validation"]["expression"] == "fold 0 of 2 of train[:80%]+train[80%:90%]"
    found = run_command("compare", "--json", str(workdir / "small-fold_0"), str(workdir / "small-fold_1"))
    (setting,) = json.loads(found.stdout)["settings"]
    scores = [record["metrics"]["validation"]["accuracy"] for record in records]
    assert (setting["name"], setting["n"]) == ("small", 2)
    assert setting["validation_mean"] == pytest.approx(np.mean(scores))
