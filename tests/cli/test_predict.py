"""`mnist-jax predict` as users run it."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets
from conftest import ROOT, run_command
from PIL import Image

from mnist_jax.cli.predict import text_cell
from mnist_jax.serving.classifier import load_classifier
from mnist_jax.serving.pictures import fit_image

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The last 100 of the bundled digits, as dark PNGs of 80 pixels, with the class in their name."""
    folder = tmp_path_factory.mktemp("images")
    bunch = sklearn.datasets.load_digits()
    for number, (pixels, label) in enumerate(zip(bunch.images[-100:], bunch.target[-100:], strict=True)):
        image = Image.fromarray((255 - pixels * 15.9).astype("uint8"))
        image.resize((80, 80), Image.Resampling.BICUBIC).save(folder / f"{number:03d}-{label}.png")
    return folder


def predict(workdir, *arguments, **options) -> subprocess.CompletedProcess:
    return run_command("predict", f"--workdir={workdir}", *arguments, **options)


def test_a_folder_as_json(tiny_run, images):
    done = predict(tiny_run, "--json", "--top=2", images)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == sorted(map(str, images.iterdir()))
    classifier = load_classifier(tiny_run)
    fitted = [fit_image(Image.open(line["file"]), classifier.image_shape, "digits")[0] for line in lines]
    expected = classifier.probabilities(np.stack(fitted))
    np.testing.assert_allclose([line["probability"] for line in lines], expected.max(axis=1), atol=1e-6)
    assert [line["label"] for line in lines] == [str(label) for label in expected.argmax(axis=1)]
    for line in lines:
        assert line["top"][0] == {"label": line["label"], "probability": line["probability"]}
        assert len(line["top"]) == 2
        assert line["top"][0]["probability"] >= line["top"][1]["probability"] >= 0
        assert line["ink"] == "dark"


def test_files_of_a_folder_that_are_left_out_are_counted(tiny_run, images, tmp_path):
    first = sorted(images.iterdir())[0].read_bytes()
    for name in ("a.png", "b.XCF", "c.xcf", "Thumbs.db", "@eaDir/a.png", ".hidden/a.png", ".a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(first)
    done = predict(tiny_run, "--json", tmp_path)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert done.stderr == "mnist-jax predict: files left out: 4 hidden or system, 2 .xcf\n"


def test_a_pattern_as_csv_says_the_same(tiny_run, images):
    done = predict(tiny_run, "--csv", images / "00*.png")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 10
    asked = predict(tiny_run, "--json", images)
    expected = {line["file"]: line for line in map(json.loads, asked.stdout.splitlines())}
    for row in rows:
        line = expected[row["file"]]
        assert [row["label_1"], row["label_3"]] == [line["label"], line["top"][2]["label"]]
        assert float(row["probability_1"]) == pytest.approx(line["probability"], abs=1e-6)


def test_names_are_shown_as_they_are(tiny_run, images, tmp_path):
    first = sorted(images.iterdir())[0]
    names = ["[red].png", ":smile:.png", "a b.png"]
    for name in names:
        (tmp_path / name).write_bytes(first.read_bytes())
    done = predict(tiny_run, *names, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in names)


def test_a_name_of_any_bytes_is_shown_in_each_form(tiny_run, images, tmp_path):
    names = [b"=cmd|x.png", b"-1.png", b"a\x1b[31m\n.png", b"\xff.png", "\u00fc.png".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(sorted(images.iterdir())[0].read_bytes())
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    options = {"cwd": tmp_path, "env": ascii_only, "given": b"\0".join(names)}
    shown = ["=cmd|x.png", "-1.png", "a\\x1b[31m\\n.png", "\\udcff.png", "\\xfc.png"]
    done = predict(tiny_run, "-", **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"| {name} " in done.stdout for name in shown)
    done = predict(tiny_run, "--json", "-", **options)
    assert [os.fsencode(json.loads(line)["file"]) for line in done.stdout.splitlines()] == names
    done = predict(tiny_run, "--csv", "-", **options)
    assert [row["file"] for row in csv.DictReader(io.StringIO(done.stdout))] == [
        "./=cmd|x.png", "./-1.png", *shown[2:]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-cat", "'-cat"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\t=1", "\\t=1"),
        ("-1", "-1"),
        ("+1.5e3", "+1.5e3"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_a_class_is_no_formula_in_a_spreadsheet(text, cell):
    assert text_cell(text) == cell


def test_a_result_that_cannot_be_written_is_an_error(tiny_run, images):
    program = [sys.executable, "-m", "mnist_jax", "predict", f"--workdir={tiny_run}", str(images)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "mnist-jax predict: standard output cannot be written: No space left on device\n"


def test_a_broken_file_is_told_and_the_rest_go_on(tiny_run, images, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    first = sorted(images.iterdir())[0]
    done = predict(tiny_run, tmp_path / "broken.png", tmp_path / "gone.png", first)
    assert done.returncode == 1
    assert [line.rsplit(": ", 1)[1] for line in done.stderr.splitlines()] == [
        "it is not an image that can be read",
        "No such file or directory",
    ]
    assert done.stdout.count("dark") == 1


def test_standard_input_is_an_image_or_names(tiny_run, images):
    first, second = sorted(images.iterdir())[:2]
    (line,) = predict(tiny_run, "--json", "-", given=first.read_bytes()).stdout.splitlines()
    assert json.loads(line)["file"] == "standard input"
    (by_name, _) = predict(tiny_run, "--json", "-", given=f"{first}\n{second}\n".encode()).stdout.splitlines()
    assert json.loads(by_name)["top"] == json.loads(line)["top"]
    done = predict(tiny_run, "-", given=b"\n")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "standard input is empty" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--top=0", "x.png"], "mnist-jax predict: --top must be an integer of at least 1 (got '0')\n"),
        (["nothing*"], "mnist-jax predict: nothing* matches no file\n"),
        (["--checkpoint=1", "x.png"], "it has: "),
    ],
)
def test_a_mistake_is_told_in_a_line(tiny_run, arguments, told):
    done = predict(tiny_run, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert told in done.stderr
