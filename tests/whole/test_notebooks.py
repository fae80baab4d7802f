"""The notebooks, executed on sets of the same kind, and as stored."""

import json
import shlex
import time

import nbclient
import nbformat
import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT, TINY, start_main

pytestmark = pytest.mark.whole

NOTEBOOKS = sorted((ROOT / "scripts").glob("*.ipynb"))
EXPLORATORY = [path for path in NOTEBOOKS if path.stem.endswith("exploratory")]
RNG = np.random.default_rng(0)
SIZES = {"train": 5400, "test": 60}  # the configs put 5,000 of train aside


def write_set(builder_class: type, shape: tuple[int, ...], folder) -> None:
    """Prepares noise that is lighter for higher classes, instead of the set's own files."""
    with tfds.core.registered.skip_registration():

        class Made(builder_class):
            name = builder_class.name

            def _split_generators(self, dl_manager):
                return {split: self._examples(count) for split, count in SIZES.items()}

            def _examples(self, count):
                for number in range(count):
                    label = number % 10
                    image = RNG.integers(20 * label, 20 * label + 70, shape, np.uint8)
                    extra = {"id": str(number)} if "id" in self.info.features else {}
                    yield number, {"image": image, "label": label, **extra}

    Made(data_dir=folder, file_format="array_record").download_and_prepare()


def prepare(name, folder):
    shape = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}[name]
    write_set(type(tfds.builder(name, data_dir=folder)), shape, folder)


def outputs(notebook) -> list:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def figures(notebook) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def execute(notebook) -> None:
    place = {"metadata": {"path": str(ROOT / "scripts")}}
    nbclient.NotebookClient(notebook, timeout=300, resources=place).execute()


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.long] * path.stem.startswith("cifar")) for path in EXPLORATORY],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs_and_shows_what_it_did_when_it_was_kept(path, tmp_path, monkeypatch):
    prepare(path.stem.removesuffix("_exploratory"), tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RUN", str(tmp_path / "no run"))
    kept = nbformat.read(path, as_version=4)
    notebook = nbformat.from_dict(json.loads(json.dumps(kept)))
    execute(notebook)
    assert figures(kept) - figures(notebook) == 1  # that of the labels a run doubts


def test_the_one_for_colab_goes_on_with_a_run_that_was_cut_off(tiny_run, tmp_path):
    """Outside Colab, without the cells that need it."""
    workdir = tmp_path / "My Drive" / "run"
    process = start_main(*TINY, f"--workdir={workdir}")
    while not (workdir / "checkpoints" / "38").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    notebook = nbformat.read(ROOT / "scripts" / "colab_tpu.ipynb", as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    config, *flags = TINY
    given = {"CONFIG": config.removeprefix("--config="), "NAME": str(workdir), "FLAGS": shlex.join(flags)}
    parameters.source += "".join(f"\n{name} = {value!r}" for name, value in given.items())
    execute(notebook)
    record, through = (json.loads((folder / "run.json").read_text()) for folder in (workdir, tiny_run))
    assert (record["status"], record["resumes"]) == ("finished", 1)
    assert record["params_sha256"] == through["params_sha256"]
    assert figures(notebook) == 3
    shown = "".join(output.get("data", {}).get("text/markdown", "") for output in outputs(notebook))
    assert f"| test accuracy | {record['metrics']['test']['accuracy']:.2%}," in shown
    assert "| started | 2 times |" in shown


def test_the_one_for_colab_ends_where_the_run_fails(tmp_path):
    notebook = nbformat.read(ROOT / "scripts" / "colab_tpu.ipynb", as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += f"\nNAME, FLAGS = {str(tmp_path)!r}, '--config.train.epochs=0'"
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="the run did not end well"):
        execute(notebook)
    assert any(
        "config.train.epochs must be an integer of at least 1 (got 0)" in output.get("text", "")
        for output in outputs(notebook)
    )


def test_the_one_of_own_data_and_models_trains_and_exports(tmp_path, monkeypatch):
    monkeypatch.setenv("FOLDER", str(tmp_path))
    notebook = nbformat.read(ROOT / "scripts" / "own_data_and_model.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("config.train.epochs = 64, 20", "config.train.epochs = 64, 8")
    execute(notebook)
    record = json.loads((tmp_path / "runs" / "shapes" / "run.json").read_text())
    assert (record["config"]["train"]["epochs"], record["status"]) == (8, "finished")
    assert (tmp_path / "runs" / "shapes" / "export" / "model.stablehlo").exists()
    assert figures(notebook) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_executed_whole_and_small(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code[1:]) or path not in EXPLORATORY
    assert figures(notebook) >= 3
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert path.stat().st_size < 1_500_000
    assert "/root" not in path.read_text()
