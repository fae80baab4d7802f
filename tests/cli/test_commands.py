"""The list of commands, and what all of them have in common."""

import importlib
import subprocess
import sys

import pytest
from conftest import ROOT, run_command

from mnist_jax import __version__
from mnist_jax.cli import commands


def test_help_lists_every_command_with_the_first_line_of_its_module(capsys):
    assert commands.main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name, summary in commands.COMMANDS.items():
        assert f"\n  {name} " in listed
        assert importlib.import_module(f"mnist_jax.cli.{name}").__doc__.splitlines()[0] == summary
        assert summary in " ".join(listed.split())
    assert max(map(len, listed.splitlines())) <= 80


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_the_help_of_a_command_has_usage_flags_exit_statuses_and_an_example(name, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.main([name, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: mnist-jax {name} ")
    assert f"    mnist-jax {name} " in told
    assert "Exit status: 0" in " ".join(told.split())
    assert "2 an error in the command" in " ".join(told.split())
    assert "--verbosity" in told
    assert max(map(len, told.splitlines())) <= 80


def test_help_of_a_command_by_its_name(capsys):
    with pytest.raises(SystemExit):
        commands.main(["help", "runs"])
    assert capsys.readouterr().out.startswith("usage: mnist-jax runs ")


def test_the_help_of_a_group_of_fields(capsys):
    for arguments in (["train", "--help", "config.schedule"], ["explore", "--help", "config.schedule"]):
        with pytest.raises(SystemExit):
            commands.main(arguments)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("schedule: ")
        assert all(line.startswith("  --config.schedule.") for line in lines[1:] if line[2] == "-")
    assert commands.main(["train", "--help", "config.schedul"]) == 2
    assert capsys.readouterr().err.startswith("mnist-jax train: config.schedul does not exist; ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["trian"], "mnist-jax: 'trian' is not a command; did you mean train?\n"),
        (["--nothing"], "mnist-jax: '--nothing' is not a command; mnist-jax --help lists the commands\n"),
        (["runs", "--jsn"], "mnist-jax runs: --jsn is not a flag; did you mean --json?\n"),
        (["runs", "--status=old"], "mnist-jax runs: --status must be one of running, finished, "),
        (
            ["predict", "x.png"],
            "mnist-jax predict: --workdir is missing; for example --workdir=runs/digits\n",
        ),
        (
            ["predict", "--workdir=x"],
            "mnist-jax predict: IMAGE is missing; mnist-jax predict --help shows an example\n",
        ),
        (["reproduce", "x", "--tolerance=a"], "--tolerance must be a number (got 'a')\n"),
        (
            ["demo", "--workdir=x", "--port"],
            "mnist-jax demo: --port must be given with a value, such as --port=PORT\n",
        ),
        (["runs", "--json=3"], "mnist-jax runs: --json must be given without a value (got '3')\n"),
        (
            ["evaluate", "--checkpoint=new", "--workdir=x"],
            "--checkpoint must be a step, or best (got 'new')\n",
        ),
        (
            ["evaluate", "--config.seed=3", "--workdir=x"],
            "--config must be given with --config.seed=3; without",
        ),
        (["compare"], "mnist-jax compare: WORKDIR is missing; for example runs/report/*\n"),
        (["train", "digits"], "mnist-jax train: --config is missing; for example --config=digits\n"),
        (["explore"], "mnist-jax explore: --config is missing; for example --config="),
        (["sweep", "--config=digits", "--workdir=x", "--sweep=reprt"], "did you mean report?\n"),
    ],
)
def test_an_error_is_one_line_with_the_name_of_the_command(arguments, told, capsys, monkeypatch):
    monkeypatch.setattr("mnist_jax.system.terminal.quiet_libraries", lambda: None)
    assert commands.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1


def test_the_version_is_that_of_the_package(capsys):
    assert commands.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mnist-jax {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("--help",), ("train", "--help"), ("train", "--config=digits"), ("runs", ".")]
)
def test_what_computes_nothing_imports_no_jax(arguments):
    program = (
        "import sys\nfrom mnist_jax.cli.commands import main\n"
        f"try: main({list(arguments)})\nexcept SystemExit: pass\n"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.whole
def test_the_package_is_a_program():
    done = run_command("trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mnist-jax: 'trian' is not a command; did you mean train?\n"
