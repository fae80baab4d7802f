"""A model and a data set of the user's, from Python and from the command line."""

import json
import re
import shlex
import signal
import subprocess
import sys

import launcher
import numpy as np
import pytest
from conftest import ROOT, TINY, run_command, run_main, start_main
from PIL import Image
from whole_runs import wait_for_step

import mnist_jax

pytestmark = pytest.mark.whole

MODULE = """
import numpy as np
from flax import nnx

import mnist_jax


class Mine(nnx.Module):
    def __init__(self, image_shape, num_classes, width=4, *, rngs):
        self.hidden = nnx.Linear(int(np.prod(image_shape)), width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.output = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.hidden(x.reshape(x.shape[0], -1))))
        return self.output(self.dropout(x))


def striped(config):
    labels = np.arange(600) % 3
    images = np.random.default_rng(0).integers(0, 100, (600, 8, 8), np.uint8)
    images[np.arange(600), 2 * labels] += 150
    return {"train": (images[:500], labels[:500]), "test": (images[500:], labels[500:])}


mnist_jax.register_model("mine", Mine)
mnist_jax.register_data("striped", striped, class_names=["top", "middle", "bottom"])
"""
FLAGS = (
    *TINY,
    "--config.model.name=mine",
    "--config.model.kwargs=width=16",
    "--config.data.name=striped",
    "--config.data.train=train[:400]",
    "--config.data.validation=train[400:]",
    "--config.data.test=test",
    "--config.train.epochs=30",
    "--config.train.batch_size=16",
)
SCRIPT = """
import sys

import mnist_jax
import own_module

config = mnist_jax.get_config("digits")
config.model.name, config.model.kwargs = "mine", "width=16"
config.data.name, config.data.test = "striped", "test"
config.data.train, config.data.validation = "train[:400]", "train[400:]"
config.train.epochs, config.train.batch_size, config.schedule.warmup = 8, 16, 0.1
config.wandb.mode = "disabled"
record = mnist_jax.train(config, sys.argv[1])
images, labels = own_module.striped(None)["test"]
found = mnist_jax.load(sys.argv[1])(images).argmax(axis=1)
assert (found == labels).mean() == record["metrics"]["test"]["accuracy"], (found, labels)
print("accuracy", record["metrics"]["test"]["accuracy"])
"""

EXPORTED = """
import pathlib
import sys

import jax
import numpy as np

exported = jax.export.deserialize(bytearray(pathlib.Path(sys.argv[1]).read_bytes()))
image = np.full((1, 8, 8, 1), 50, np.uint8)
image[:, 4] += 150
print(np.argmax(exported.call(image)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, shared_folder):
    """A working folder with the user's module in it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_module.py").write_text(MODULE)
    (folder / "script.py").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def own(folder):
    """The flag that imports the module, from any working folder."""
    return f"--import={folder / 'own_module.py'}"


@pytest.fixture(scope="module")
def trained(folder, own):
    """The workdir of an uninterrupted run."""
    workdir = folder / "trained"
    done = run_main(own, *FLAGS, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir


def read(workdir):
    return json.loads((workdir / "run.json").read_text())


def test_it_learns_and_the_record_names_the_module(trained):
    record = read(trained)
    assert record["imports"] == ["own_module"]
    assert record["data"]["classes"] == ["top", "middle", "bottom"]
    assert record["metrics"]["test"]["accuracy"] > 0.9


def test_a_killed_run_resumes_to_the_same_bits(trained, folder, own):
    workdir = folder / "killed"
    process = start_main(own, *FLAGS, f"--workdir={workdir}")
    wait_for_step(process, workdir, 50)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = run_main(own, *FLAGS, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert read(workdir)["resumes"] == 1
    assert read(workdir)["params_sha256"] == read(trained)["params_sha256"]


def test_the_commands_take_it(trained, folder, own):
    image = folder / "image.png"
    pixels = np.full((8, 8), 50, np.uint8)
    pixels[4] += 150
    Image.fromarray(pixels).save(image)
    predicted = run_command("predict", own, f"--workdir={trained}", "--json", str(image))
    assert json.loads(predicted.stdout)["label"] == "bottom", predicted.stderr
    exported = run_command("export", own, f"--workdir={trained}", f"--into={folder / 'export'}")
    assert exported.returncode == 0, exported.stderr
    evaluated = run_command("evaluate", own, *FLAGS, f"--workdir={trained}")
    assert evaluated.returncode == 0, evaluated.stderr
    again = run_command("reproduce", own, str(trained), f"--into={folder / 'again'}")
    assert "bit-identical" in again.stdout, again.stderr
    # An exported model needs no module of the user's.
    (folder / "exported.py").write_text(EXPORTED)
    done = launcher.run([str(folder / "exported.py"), str(folder / "export" / "model.stablehlo")])
    assert done.stdout.strip() == "2", done.stderr


@pytest.mark.parametrize("command", ["predict", "export"])
def test_without_the_module_a_run_says_which_is_needed(trained, folder, command):
    """A workdir never causes an import by itself."""
    more = [str(folder / "image.png")] if command == "predict" else []
    done = run_command(command, f"--workdir={trained}", *more)
    assert done.returncode == 2
    assert "--import=own_module" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_import_that_fails_is_one_line(folder):
    (folder / "broken_module.py").write_text("raise ValueError('not today')\n")
    for name, said in (("no_such_module", "No module named"), (folder / "broken_module.py", "not today")):
        done = run_main(f"--import={name}", *TINY, f"--workdir={folder / 'x'}")
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_from_a_script(trained, folder):
    done = launcher.run([str(folder / "script.py"), str(folder / "by_script")])
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert read(folder / "by_script")["imports"] == ["own_module"]


def test_the_examples_of_the_documentation_run(tmp_path):
    """One after the other, in one folder, as a reader would."""
    page = (ROOT / "docs" / "python-api.md").read_text()
    for number, (language, name, code) in enumerate(
        re.findall(r"^```(python|sh)(?: (\S+))?\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ):
        if language == "sh":
            for line in code.replace("\\\n", "").strip().splitlines():
                done = launcher.run(["-m", "mnist_jax", *shlex.split(line)[1:]], cwd=tmp_path)
                assert done.returncode == 0, done.stderr
            continue
        file = tmp_path / (name or f"example{number}.py")
        file.write_text(code)
        if not name:
            done = launcher.run([str(file)], cwd=tmp_path)
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "stripes2" / "export" / "model.stablehlo").is_file()


def test_importing_the_package_is_cheap():
    program = "import mnist_jax, sys; print({'jax', 'numpy', 'absl'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_every_name_of_the_api_exists():
    for name in mnist_jax.__all__:
        assert getattr(mnist_jax, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = mnist_jax.trian
