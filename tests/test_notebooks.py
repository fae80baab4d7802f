"""The notebooks, executed anew on sets of the same kind, and as they are kept."""

import json

import nbclient
import nbformat
import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "scripts").glob("*.ipynb"))
RNG = np.random.default_rng(0)
SIZES = {"train": 5400, "test": 60}  # the configs put 5,000 of train aside


def write_set(builder_class: type, shape: tuple[int, ...], folder) -> None:
    """Prepares noise that is lighter for higher classes, in place of the set's own files."""
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


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    write_set(type(tfds.builder("mnist", data_dir=folder)), (28, 28, 1), folder)
    write_set(type(tfds.builder("cifar10", data_dir=folder)), (32, 32, 3), folder)
    return folder


def figures(notebook) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_did_when_it_was_kept(path, prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    monkeypatch.setenv("RUN", str(prepared / "no run"))
    kept = nbformat.read(path, as_version=4)
    notebook = nbformat.from_dict(json.loads(json.dumps(kept)))
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    assert figures(kept) - figures(notebook) == 1  # that of the labels a run doubts


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_executed_whole_and_small(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code[1:])
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert path.stat().st_size < 1_500_000
    assert "/root" not in path.read_text()
