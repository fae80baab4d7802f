import json
import shutil

import pytest
from conftest import run_main

from mnist_jax.evaluation import evaluate_checkpoint
from mnist_jax.loop import train_and_evaluate
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole


@pytest.fixture
def workdir(tiny_run, tmp_path):
    """A copy of the finished run of `tiny_config`."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def record_of(workdir):
    return json.loads((workdir / "run.json").read_text())


def test_the_best_checkpoint_gives_the_numbers_of_training(workdir):
    before = record_of(workdir)
    done = run_main(f"--workdir={workdir}", "--mode=evaluate", "--checkpoint=best")
    assert done.returncode == 0, done.stderr
    found = json.loads((workdir / f"evaluation-{before['best']['step']}.json").read_text())
    assert found["metrics"] == before["metrics"]["test"]
    assert "macro F1" in done.stdout
    assert record_of(workdir) == before


def test_a_checkpoint_by_its_step(workdir, tiny_config):
    first = evaluate_checkpoint(workdir, tiny_config, step=38)
    last = evaluate_checkpoint(workdir, tiny_config, step=75)
    assert first["metrics"]["loss"] != last["metrics"]["loss"]
    with pytest.raises(UserError, match=r"--checkpoint must be a step in .*got 40.*it has: 38, 75"):
        evaluate_checkpoint(workdir, tiny_config, step=40)


def test_folders_of_another_machine_are_not_made_here(workdir, tmp_path):
    record = record_of(workdir)
    elsewhere = tmp_path / "elsewhere"
    record["config"]["data"].update(data_dir=str(elsewhere), cache_dir=str(elsewhere))
    del record["record_sha256"]
    (workdir / "run.json").write_text(json.dumps(record))
    assert evaluate_checkpoint(workdir)["step"] == record["best"]["step"]
    assert not elsewhere.exists()


def test_an_evaluation_is_whole_or_not_there(workdir, tiny_config, file_limit):
    before = set(workdir.iterdir())
    file_limit(8192)
    with pytest.raises(UserError, match=r"^\S+/evaluation-\d+\.json cannot be written: File too large$"):
        evaluate_checkpoint(workdir, tiny_config)
    assert set(workdir.iterdir()) == before


def test_no_file_is_written_through_a_link_beside_it(workdir, tiny_config, tmp_path):
    """As in a workdir of somebody else's, whose run is not finished."""
    names = [path.name for path in workdir.iterdir() if path.is_file() and not path.name.startswith(".")]
    (workdir / "run.json").unlink()
    targets = {}
    for name in names:
        targets[name] = tmp_path / f"target of {name}"
        targets[name].write_text("precious")
        (workdir / f"{name}.partial").symlink_to(targets[name])
    assert train_and_evaluate(tiny_config, workdir)["status"] == "finished"
    assert {target.read_text() for target in targets.values()} == {"precious"}
    for name in names:
        assert not (workdir / name).is_symlink()


def test_a_save_under_way_is_left_alone(workdir, tiny_config):
    under_way = workdir / "checkpoints" / "76.orbax-checkpoint-tmp"
    shutil.copytree(workdir / "checkpoints" / "75", under_way)
    evaluate_checkpoint(workdir, tiny_config)
    assert under_way.exists()


def test_what_cannot_be_evaluated_is_told(workdir, tiny_config, tmp_path):
    with pytest.raises(UserError, match="elsewhere must be the workdir of a run"):
        evaluate_checkpoint(tmp_path / "elsewhere", tiny_config)
    shutil.rmtree(workdir / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint in"):
        evaluate_checkpoint(workdir, tiny_config)
    tiny_config.seed = 5
    with pytest.raises(UserError, match="another config"):
        evaluate_checkpoint(workdir, tiny_config)
