"""Exports, read by programs that have nothing of this package."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import jax.export
import markdown_it
import numpy as np
import pytest
import safetensors.numpy
import yaml
from conftest import TINY, run_command, run_main
from rounding import assert_rounding_alone, disturbed

from mnist_jax.serving.classifier import load_classifier, load_trained
from mnist_jax.serving.export import PLATFORMS, export_model, model_card
from mnist_jax.system.errors import UserError
from mnist_jax.system.output import printable

pytestmark = pytest.mark.whole


def export(workdir, *arguments) -> subprocess.CompletedProcess:
    return run_command("export", f"--workdir={workdir}", *arguments)


@pytest.fixture(scope="module", params=["tiny_run", "airbench_run"])
def exported(request, tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    """A workdir and what was exported of it."""
    workdir, folder = request.getfixturevalue(request.param), tmp_path_factory.mktemp("exports") / "model"
    done = export(workdir, f"--into={folder}")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        str(folder / name) for name in ("model.stablehlo", "model.safetensors", "config.json", "README.md")
    ]
    return workdir, folder


def test_the_program_of_a_run_in_bfloat16(bfloat16_run, tmp_path):
    workdir = bfloat16_run
    assert export(workdir, f"--into={tmp_path / 'model'}").returncode == 0
    classifier = load_classifier(workdir)
    images = noise(300, classifier.image_shape)
    found = np.asarray(read_program(tmp_path / "model").call(images), np.float64)
    # What is between the layers is rounded to 8 bits, here and there not at the same places.
    almost = probabilities_of(workdir, images, lambda params: disturbed(params, 2.0**-8))
    assert_rounding_alone(found, classifier.probabilities(images), almost, roundings=3)


def probabilities_of(workdir, images, change):
    """Of a run's model with other parameters."""
    trained = load_trained(workdir)
    return np.exp(
        np.asarray(
            trained.classify(trained.model._replace(params=change(trained.model.params)), images), np.float64
        )
    )


def noise(size, shape):
    return np.random.default_rng(0).integers(0, 256, (size, *shape), np.uint8)


def read_program(folder) -> jax.export.Exported:
    return jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))


@pytest.mark.rounding
def test_the_program_says_what_the_run_says_in_batches_of_any_size(exported):
    workdir, folder = exported
    classifier, program = load_classifier(workdir), read_program(folder)
    assert program.platforms == PLATFORMS
    images = noise(300, classifier.image_shape)
    expected = classifier.probabilities(images)
    almost = probabilities_of(workdir, images, disturbed)
    for size in (1, 7, 300):
        found = np.asarray(program.call(images[:size]))
        assert (found.shape, found.dtype) == ((size, 10), np.float32)
        assert_rounding_alone(found, expected[:size], almost[:size])


def test_the_cards_own_lines_give_the_same_bits_in_a_process_without_this_package(exported, tmp_path):
    _, folder = exported
    program = read_program(folder)
    images = noise(70, program.in_avals[0].shape[1:])
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    np.save(tmp_path / "images.npy", images)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    given = re.sub(r"np\.zeros\(.*\)  # yours", 'np.load("images.npy")', code)
    assert given != code
    given += "\nimport sys\nassert 'mnist_jax' not in sys.modules\nnp.save('found.npy', probabilities)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", given], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_array_equal(found, np.asarray(jax.jit(program.call)(images)))
    assert done.stdout == f"{[str(k) for k in found.argmax(axis=1)]}\n"


def test_the_weights_are_those_that_were_evaluated(exported):
    workdir, folder = exported
    trained = load_trained(workdir)
    arrays = safetensors.numpy.load_file(folder / "model.safetensors")
    expected = {"params": trained.model.params, "model_state": trained.model.model_state}
    leaves = jax.tree_util.tree_leaves_with_path(expected)
    assert len(arrays) == len(leaves)
    for path, value in leaves:
        np.testing.assert_array_equal(arrays[".".join(str(key.key) for key in path)], value)


def test_the_card_and_config_say_how_it_was_made_and_how_good_it_is(exported):
    workdir, folder = exported
    record = json.loads((workdir / "run.json").read_text())
    about = json.loads((folder / "config.json").read_text())
    assert about["test"] == record["metrics"]["test"]
    assert about["config"]["model.dense"] == 16
    assert not [name for name in about["config"] if name.startswith("wandb.") or name.endswith("_dir")]
    card = (folder / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    (entry,) = yaml.safe_load(front)["model-index"]
    found = {metric["type"]: metric["value"] for metric in entry["results"][0]["metrics"]}
    test = record["metrics"]["test"]
    assert found == {"accuracy": test["accuracy"], "f1": test["macro_f1"]}
    low, high = test["intervals"]["accuracy"]
    assert f"| accuracy | {test['accuracy']:.2%} | {low:.2%} to {high:.2%} |" in body
    for text in (record["data"]["fingerprint"], record["code"]["commit"], "## Intended use", "## Limits"):
        assert text in body
    for row in test["per_class"]:
        assert re.search(rf"^\| {row['class']} \| {row['support']} \|", body, re.MULTILINE)


def test_names_in_the_card_are_only_text(exported):
    """Read by other programs' parsers of YAML and Markdown."""
    hostile = "![x](http://a/) <img src=x> `|`` *b* \\ $x$\n---\n# y\x1b\u202e \u00fc: \"'"
    about = json.loads((exported[1] / "config.json").read_text())
    about["data"]["name"] = about["classes"][0] = about["test"]["per_class"][0]["class"] = hostile
    about["data"]["splits"]["test"]["expression"] = about["code"]["commit"] = hostile
    _, front, body = model_card(about).split("---\n", 2)
    (result,) = yaml.safe_load(front)["model-index"][0]["results"]
    assert printable(result["dataset"]["name"]) == printable(hostile)
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(body)
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", *["h2"] * 6]
    inline = [token.children for token in tokens if token.type == "inline"]
    kinds = {part.type for parts in inline for part in parts}
    assert kinds == {"text", "softbreak", "code_inline"}
    shown = ["".join(part.content for part in parts) for parts in inline]
    assert printable(hostile) in shown  # the cell of its class
    assert sum(text.count(printable(hostile)) for text in shown) == 8


def test_a_checkpoint_that_was_not_evaluated_says_so_until_it_is(tmp_path):
    workdir = tmp_path / "run"
    assert run_main(*TINY, f"--workdir={workdir}").returncode == 0
    best = json.loads((workdir / "run.json").read_text())["best"]["step"]
    (other,) = {38, 75} - {best}
    export_model(workdir, tmp_path / "first", step=other)
    card = (tmp_path / "first" / "README.md").read_text()
    assert "not evaluated on the test split" in card
    assert "not chosen on the validation split" in card
    assert run_main(*TINY, f"--workdir={workdir}", "--mode=evaluate", f"--checkpoint={other}").returncode == 0
    export_model(workdir, tmp_path / "second", step=other)
    evaluated = json.loads((workdir / f"evaluation-{other}.json").read_text())
    assert json.loads((tmp_path / "second" / "config.json").read_text())["test"] == evaluated["metrics"]


def test_mistakes_are_told_in_a_line(tiny_run, tmp_path):
    done = export(tmp_path / "nothing")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "holds no run" in done.stderr
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="^.*file cannot be written: .*; give another$"):
        export_model(tiny_run, tmp_path / "file")
    with pytest.raises(UserError, match="--checkpoint must be a step in"):
        export_model(tiny_run, tmp_path, step=7)
