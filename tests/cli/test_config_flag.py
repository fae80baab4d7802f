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
            "--config.optimizer.momentum=0.5",
            "--config", "mnist", "--workdir", "x", "--config=digits", "--config.train.epochs=3", "a.png",
            "-config.augment.flip", "--noconfig.model.residual", "--config.model.widths=(8, 16)",
            "--config.seed", "7", "--config.train.epochs=4", "--resume=force",
        ]
    )  # fmt: skip
    assert rest == ["--workdir", "x", "a.png", "--resume=force"]
    assert config.name == "digits"
    assert config.fields.data.name == "digits"
    assert config.changes == {
        "optimizer.momentum": 0.5,
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
        ("digts", "", r"^--config=digts must be a file, or a config of this program; did you mean digits\?$"),
        (
            "zzz",
            "sweeps",
            r"^--config=zzz must be a file, or a config of this program; it has report, search$",
        ),
        ("a/digits.py", "", r"^--config=a/digits.py must be a file; --config=digits is one of this program$"),
        ("configs.digits", "", r"^--config=configs.digits must be a file; --config=digits is one of "),
        ("a/zzz.py", "", r"^--config=a/zzz.py must be a file$"),
        ("mine", "", r"^--config=mine must be a file; did you mean --config=mine.py\?$"),
    ],
)
def test_a_config_that_is_not_there_is_one_line_with_what_is(name, folder, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()
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
        ("config.lr = 0.1", "config.lr does not exist; did you mean config.optimizer.learning_rate?"),
        ("config.train.epoch = 3", "config.train.epoch does not exist; did you mean config.train.epochs?"),
        ("config.train.epoch *= 3", "config.train.epoch does not exist; did you mean config.train.epochs?"),
        ("config.trian.epochs = 3", "config.trian.epochs does not exist; did you mean config.train.epochs?"),
        ("config.update({'seed_': 3})", "config.seed_ does not exist; did you mean config.seed?"),
        (
            "config.train.epochs = '3'",
            "config.train.epochs must be an integer of at least 1 (got '3')",
        ),
        ("config.augment.flip = 0.5", "config.augment.flip must be True or False (got 0.5)"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_in_a_file_is_one_short_line_with_its_number(line, told, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from configs import default\n\n\ndef get_config():\n"
        f"    config = default.get_config()\n    {line}\n    return config\n"
    )
    with pytest.raises(UserError) as error:
        read([f"--config={file}"])
    assert str(error.value) == f"--config={file}, line 6: {told}"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("get_confg = 1", "must have a function get_config()"),
        ("def get_config():\n    return {'seed': 3}", ": get_config() must return a ConfigDict (got dict)"),
    ],
)
def test_a_file_must_give_a_config(program, told, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(program)
    with pytest.raises(UserError) as error:
        read([f"--config={file}"])
    assert str(error.value).removeprefix(f"--config={file}").strip() == told


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
