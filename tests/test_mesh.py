import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT, TINY, run_main

from mnist_jax.config import validate
from mnist_jax.errors import UserError
from mnist_jax.mesh import make_mesh, place, replicated, split, state_shardings, whole


def with_devices(count):
    return {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}


@pytest.fixture(scope="module")
def found():
    """What trainings on 2, 4 and 8 devices have different from those on one."""
    done = subprocess.run(
        [sys.executable, "tests/devices_program.py"],
        cwd=ROOT, capture_output=True, text=True, env={**with_devices(8), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_any_number_of_devices_computes_the_same_but_for_rounding(found):
    assert {name for name in found if name.startswith("batch norm")} == {
        f"batch norm, {n}" for n in (2, 4, 8)
    }
    assert len(found) == 6
    for name, one in found.items():
        # Adam divides by gradients that are next to nothing, which makes rounding show.
        allowed = 2e-3 if name.startswith("in shares") else 2e-4
        for what in ("params", "model_state", "metrics", "probabilities"):
            assert one[what] < allowed, (name, what)


def test_in_shares_each_device_holds_its_part(found):
    assert found["batch norm, 8"]["held"] == 1
    assert found["in shares, 8"]["held"] < 0.3


def test_one_device_is_a_mesh_too(tiny_config):
    mesh = make_mesh(validate(tiny_config))
    assert mesh.size == jax.device_count() == 1
    tree = {"a": np.arange(8.0), "b": np.float32(3)}
    placed = place(tree, {"a": split(mesh, 0), "b": replicated(mesh)})
    jax.tree.map(np.testing.assert_array_equal, tree, whole(placed, mesh))
    assert set(jax.tree.leaves(state_shardings(mesh, tree, shard_params=True))) == {replicated(mesh)}


def test_more_devices_than_there_are(tiny_config):
    tiny_config.mesh.data = 3
    with pytest.raises(
        UserError, match=r"^config.mesh.data is 3, but there are 1 devices; 0 takes them all$"
    ):
        make_mesh(validate(tiny_config))


def test_a_batch_that_devices_cannot_share_is_told(tmp_path):
    done = run_main(*TINY, f"--workdir={tmp_path}", "--config.train.batch_size=30", env=with_devices(4))
    assert done.returncode == 2
    assert done.stderr == (
        "main.py: config.train.batch_size is 30, which 4 devices cannot share evenly; take a multiple of "
        "their number, or fewer devices by config.mesh.data\n"
    )


def test_a_run_goes_on_with_another_number_of_devices(tmp_path, tiny_run):
    flags = (*TINY, f"--workdir={tmp_path}")
    before = run_main(*flags, "--config.mesh.shard_params", env=with_devices(4))
    assert before.returncode == 0, before.stderr
    shutil.rmtree(tmp_path / "checkpoints" / "75")  # as if it had been killed after 38 steps
    record = json.loads((tmp_path / "run.json").read_text())
    del record["record_sha256"]
    (tmp_path / "run.json").write_text(json.dumps({**record, "status": "running"}))
    done = run_main(*flags)
    assert done.returncode == 0, done.stderr
    records = [json.loads((folder / "run.json").read_text()) for folder in (tmp_path, tiny_run)]
    assert [process["from_step"] for process in records[0]["processes"]] == [0, 38]
    assert records[0]["processes"][0]["accelerator"]["count"] == 4
    for split_name in ("validation", "test"):
        losses = [record["metrics"][split_name]["loss"] for record in records]
        assert losses[0] == pytest.approx(losses[1], rel=1e-2)
