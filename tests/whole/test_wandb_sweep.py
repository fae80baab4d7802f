"""scripts/wandb_sweep.yaml, taken as W&B's agent takes it, and the run that such an agent starts."""

import json
import os
import subprocess
import sys
from unittest import mock

import pytest
import yaml
from absl import flags
from conftest import ROOT, TINY, run_main
from ml_collections import config_flags
from test_wandb import only, read_log
from wandb.sdk.launch.sweeps import utils

from mnist_jax.config.validation import validate

pytestmark = pytest.mark.whole

SWEEP = yaml.safe_load((ROOT / "scripts" / "wandb_sweep.yaml").read_text())


def command_of(values: dict, folder, run_id: str) -> list[str]:
    """What main.py is given, when the agent runs the sweep's command for these values."""
    stub = folder / "python"
    stub.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    stub.chmod(0o755)
    given = {"args": {name: {"value": value} for name, value in values.items()}, "program": SWEEP["program"]}
    macros = {
        **utils.create_sweep_command_args(given),
        "env": ["/usr/bin/env"],
        "program": [SWEEP["program"]],
    }
    command: list[str] = []
    for part in utils.create_sweep_command(list(SWEEP["command"])):
        command += macros[part[2:-1]] if part.startswith("${") else [part]
    environment = {**os.environ, "PATH": f"{folder}:/usr/bin:/bin", "WANDB_RUN_ID": run_id}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("place", [0, -1])
def test_the_agents_command_gives_a_config_that_may_be(tmp_path, place):
    values = {}
    for name, space in SWEEP["parameters"].items():
        values[name] = space["values"][place] if "values" in space else space[("min", "max")[place]]
    program, *argv = command_of(values, tmp_path, "the-run")
    assert program == "main.py"
    assert "--workdir=runs/wandb_sweep/the-run" in argv
    assert (ROOT / program).exists()
    parsed = flags.FlagValues()
    fields = [flag for flag in argv if flag.startswith("--config")]
    with mock.patch.object(sys, "argv", ["main.py", *fields]):
        config_flags.DEFINE_config_file("config", flag_values=parsed)
        parsed(sys.argv)
    config = validate(parsed.config)
    assert config.train.batch_size == values["config.train.batch_size"]
    assert str(tuple(config.model.widths)) == values["config.model.widths"]


def test_what_it_maximizes_is_logged(tiny_run):
    split, key = SWEEP["metric"]["name"].split("/")
    rows = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert all(key in row for row in rows if row["split"] == split)


def test_a_run_of_an_agent_has_the_id_and_the_sweep_that_it_gives(tmp_path):
    given = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "agents1"}
    done = run_main(
        *TINY, "--config.wandb.mode=offline", f"--workdir={tmp_path}", env={**os.environ, **given}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run.json").read_text())["wandb_id"] == "agents1"
    (log,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    (run,) = only(read_log(log), "run")
    assert (run.run_id, run.sweep_id) == ("agents1", "sweep1")
