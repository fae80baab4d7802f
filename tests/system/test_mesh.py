import json
import shutil

import jax
import launcher
import numpy as np
import pytest
from conftest import TINY, run_main
from whole_runs import with_devices

from mnist_jax.config.validation import validate
from mnist_jax.serving.classifier import load_trained
from mnist_jax.storage import provenance
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.system.errors import UserError
from mnist_jax.system.mesh import make_mesh, place, replicated, split, state_shardings, whole

pytestmark = pytest.mark.whole


@pytest.mark.rounding
def test_any_number_of_devices_computes_the_same_but_for_rounding():
    """And where the parameters are in shares, each device holds its part."""
    quickly_compiled = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"} | with_devices(8)
    done = launcher.run(["tests/helpers/devices_program.py"], env=quickly_compiled)
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout)
    assert held["whole"] == 1
    assert held["in shares, streamed"] < 0.3


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
        UserError, match=r"^config.mesh.data must be at most 1, the number of devices \(got 3\); 0: all$"
    ):
        make_mesh(validate(tiny_config))


def test_a_batch_that_devices_cannot_share_is_told(tmp_path):
    done = run_main(*TINY, f"--workdir={tmp_path}", "--config.train.batch_size=30", env=with_devices(4))
    assert done.returncode == 2
    assert done.stderr == (
        "main.py: config.train.batch_size must be a multiple of the 4 devices (got 30); change it, or use "
        "fewer devices with config.mesh.data\n"
    )


def test_a_run_goes_on_with_another_number_of_devices(tmp_path):
    flags = (*TINY, f"--workdir={tmp_path}")
    before = run_main(*flags, "--config.mesh.shard_params", env=with_devices(4))
    assert before.returncode == 0, before.stderr
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["environment"]["accelerator"]["count"] == 4
    # One device reads to the bit what four have written in shares.
    like = load_trained(tmp_path).model
    with Checkpoints(tmp_path / "checkpoints", 2, read_only=True) as checkpoints:
        assert provenance.params_hash(checkpoints.restore_params(75, like)) == record["params_sha256"]
    shutil.rmtree(tmp_path / "checkpoints" / "75")  # as if it had been killed after 38 steps
    del record["record_sha256"]
    (tmp_path / "run.json").write_text(json.dumps({**record, "status": "running"}))
    hashes = set()
    for folder in (tmp_path / "one", tmp_path / "again"):
        shutil.copytree(tmp_path / "checkpoints", folder / "checkpoints")
        shutil.copy(tmp_path / "run.json", folder)
        shutil.copy(tmp_path / "metrics.jsonl", folder)
        done = run_main(*TINY, f"--workdir={folder}")
        assert done.returncode == 0, done.stderr
        assert "accelerator changed since the previous process" in done.stderr
        after = json.loads((folder / "run.json").read_text())
        assert (after["status"], after["steps"]) == ("finished", 75)
        assert [process["from_step"] for process in after["processes"]] == [0, 38]
        hashes.add(after["params_sha256"])
    assert len(hashes) == 1
