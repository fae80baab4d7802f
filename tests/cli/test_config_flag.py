"""`--config` and its fields, read from a command line."""

import os
import subprocess
import sys

import pytest

from configs import digits
from mnist_jax.cli.config_flag import find, read
from mnist_jax.system import installation
from mnist_jax.system.errors import UserError


@pytest.mark.parametrize("name", ["digits", "configs/digits.py"])
def test_a_config_has_a_name_or_a_path(name, monkeypatch):
    monkeypatch.chdir(installation.ROOT)
    config, rest = read([f"--config={name}", "--workdir=x"])
    assert config.name == name
    assert config.fields.to_dict() == digits.get_config().to_dict()
    assert (config.changes, rest) == ({}, ["--workdir=x"])


def test_fields_are_changed_wherever_they_stand_and_however_they_are_written():
    config, rest = read(
        [
            "--config", "mnist", "--workdir", "x", "--config=digits", "--config.train.epochs=3", "a.png",
            "-config.augment.flip", "--noconfig.model.residual", "--config.model.widths=(8, 16)",
            "--config.seed", "7", "--config.train.epochs=4", "--resume=force",
        ]
    )  # fmt: skip
    assert rest == ["--workdir", "x", "a.png", "--resume=force"]
    assert config.name == "digits"
    assert config.fields.data.name == "digits"
    assert config.changes == {
        "train.epochs": 4,
        "augment.flip": True,
        "model.residual": False,
        "model.widths": (8, 16),
        "seed": 7,
    }
    assert config.fields.train.epochs == 4
    assert tuple(config.fields.model.widths) == (8, 16)


def test_flags_may_be_in_a_file(tmp_path):
    (tmp_path / "flags").write_text("--config.train.epochs=3\n--workdir=x\n")
    config, rest = read(["--config=digits", f"--flagfile={tmp_path / 'flags'}"])
    assert (config.changes, rest) == ({"train.epochs": 3}, ["--workdir=x"])


@pytest.mark.parametrize(
    ("name", "folder", "told"),
    [
        ("digts", "", r"^--config=digts: there is no such config; did you mean digits\?$"),
        ("zzz", "sweeps", r"^--config=zzz: there is no such config; there are report, search$"),
        ("a/digits.py", "", r"^--config=a/digits.py: there is no such file; --config=digits is the one that"),
        ("a/zzz.py", "", r"^--config=a/zzz.py: there is no such file$"),
    ],
)
def test_a_config_that_is_not_there_is_one_line_with_what_is(name, folder, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        find(name, "--config", folder)


def test_a_file_of_the_users_may_have_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("from configs import digits\n\nget_config = digits.get_config\n")
    config, _ = read(["--config=mine"])
    assert config.fields.data.name == "digits"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "config.learning_rate = 0.1",
            "config.learning_rate does not exist; did you mean config.optimizer.learning_rate?",
        ),
        ("config.train.epoch = 3", "config.epoch does not exist; did you mean config.train.epochs?"),
    ],
)
def test_a_field_that_a_file_adds_is_one_short_line(line, told, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from configs import default\n\n\ndef get_config():\n"
        f"    config = default.get_config()\n    {line}\n    return config\n"
    )
    with pytest.raises(UserError) as error:
        read([f"--config={file}"])
    assert str(error.value) == f"--config={file}: {told}"


def test_a_folder_of_configs_of_the_users_own_is_not_in_the_way(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").touch()
    program = (
        "from mnist_jax.cli.config_flag import read; print(read(['--config=digits'])[0].fields.data.name)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=installation.child_environment(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "digits\n"
