import os
import subprocess
import sys

from mnist_jax.system import installation


def test_a_child_imports_this_copy_of_the_package_from_anywhere(tmp_path):
    program = "import mnist_jax; print(mnist_jax.__file__)"
    environment = installation.child_environment(os.environ)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(installation.PACKAGE / "__init__.py")


def test_what_python_finds_by_itself_is_not_put_before_the_standard_library(monkeypatch):
    monkeypatch.setattr(installation.sysconfig, "get_path", lambda _: str(installation.ROOT))
    assert installation.child_environment({"PYTHONPATH": "x"}) == {"PYTHONPATH": "x"}


def test_the_configs_are_those_of_the_checkout_unless_the_package_has_some(tmp_path, monkeypatch):
    assert (installation.configs_folder() / "digits.py").is_file()
    (tmp_path / "configs").mkdir()
    monkeypatch.setattr(installation, "PACKAGE", tmp_path)
    assert installation.configs_folder() == tmp_path / "configs"
