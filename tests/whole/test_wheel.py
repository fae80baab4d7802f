"""The wheel, installed outside a checkout, has everything that the commands need."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT, TINY

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def installed(once) -> pathlib.Path:
    """A folder with the unpacked wheel."""

    def build(folder: pathlib.Path) -> None:
        command = [sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={folder}"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = folder.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(folder / "site")

    return once("wheel", build)[0] / "site"


def run(installed: pathlib.Path, folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs `mnist-jax ARGUMENTS` of the wheel in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "mnist_jax", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True,
    )  # fmt: skip


def test_it_has_all_files_of_the_package_and_the_configs(installed):
    packed = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    expected = [ROOT / "mnist_jax", ROOT / "configs"]
    files = {path for folder in expected for path in folder.rglob("*") if path.suffix in (".py", ".jinja")}
    names = {str(path.relative_to(ROOT)).replace("configs/", "mnist_jax/configs/") for path in files}
    assert names <= packed
    assert {name.split("/")[0].split("-")[0] for name in packed} == {"mnist_jax"}
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "mnist-jax = mnist_jax.cli.commands:main" in entry.read_text()


def test_a_sweep_on_a_config_by_name_outside_a_checkout(installed, tmp_path):
    (tmp_path / "mine.py").write_text('def get_sweep():\n    return {"a": {}}\n')
    flags = ["--config=digits", *TINY[1:], "--config.train.epochs=1"]
    done = run(installed, tmp_path, "sweep", *flags, "--sweep=mine.py", "--workdir=runs")
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "runs" / "a" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["code"]["commit"] is None
    assert record["command"][:4] == ["-m", "mnist_jax", "train", "--config=digits"]
    assert (tmp_path / "runs" / "a" / "report.html").is_file()


def test_a_config_of_the_users_starts_from_a_packaged_one(installed, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from configs import digits\n\n"
        "def get_config():\n"
        "    config = digits.get_config()\n"
        "    config.train.epochs = 0\n"
        "    return config\n"
    )
    done = run(installed, tmp_path, "train", "--config=mine.py", "--workdir=run")
    assert done.returncode == 2
    assert "config.train.epochs must be an integer of at least 1 (got 0)" in done.stderr


def test_the_sweeps_that_come_with_it_have_names(installed, tmp_path):
    done = run(installed, tmp_path, "sweep", "--config=mnist", "--sweep=report", "--workdir=x", "--list")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 18
