import contextlib
import fcntl
import json
import multiprocessing
import os
import shutil
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from configs import digits, folder
from mnist_jax import data
from mnist_jax.config.validation import validate
from mnist_jax.storage import workdir
from mnist_jax.storage.provenance import describe_data
from mnist_jax.storage.record import read_record, require_current
from mnist_jax.storage.schema import SCHEMA
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import sealed

MACHINE = {"python": "3", "os": "", "cpu": "", "cores": 2, "memory_bytes": 1}
MACHINE |= {"accelerator": {}, "packages": {}}
PROCESS = {"started": "", "from_step": 0, "code": {}, "accelerator": {}, "packages_sha256": ""}


def config_of(**changes):
    config = digits.get_config()
    config.update_from_flattened_dict(changes)
    return validate(config)


def write_record(folder, **fields):
    config = json.loads(json.dumps(config_of().to_dict()))
    sections = {
        "config": config,
        "code": {"commit": None, "dirty": None},
        "data": {"name": "s/1", "fingerprint": "0", "classes": [], "image_shape": [1, 1, 1], "splits": {}},
        "environment": MACHINE,
        "processes": [],
        "command": ["main.py"],
        "parameters": 1,
    }
    record = {"schema": SCHEMA, "status": "running", "started": "2026-01-01T00:00:00+00:00"}
    record |= {**sections, **fields}
    (folder / "run.json").write_text(
        json.dumps({key: value for key, value in record.items() if value is not None})
    )


def hold(folder, held, release):
    with workdir.locked(folder):
        held.set()
        release.wait()


def test_a_refused_command_leaves_nothing_but_what_it_wrote(tmp_path):
    folder = tmp_path / "runs" / "a"

    def refused(write):
        with contextlib.suppress(UserError), workdir.locked(folder):
            write()
            raise UserError("refused")

    refused(lambda: (folder / "checkpoints").mkdir())
    assert list(tmp_path.iterdir()) == []
    refused(lambda: (folder / "run.json").touch())
    assert sorted(os.listdir(folder)) == [".lock", "run.json"]


def test_a_second_run_is_refused_until_the_first_ends_however_it_ends(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, held, release))
    process.start()
    assert held.wait(60)
    with pytest.raises(UserError, match="is in use by another run"), workdir.locked(tmp_path):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with workdir.locked(tmp_path):
        pass


def probe(folder, go_on):
    while go_on.is_set():
        workdir.is_held(folder)


def test_a_start_is_not_refused_while_others_ask_whether_a_run_is_there(tmp_path):
    context = multiprocessing.get_context("spawn")
    go_on = context.Event()
    go_on.set()
    (tmp_path / ".lock").touch()
    processes = [context.Process(target=probe, args=(tmp_path, go_on)) for _ in range(2)]
    for process in processes:
        process.start()
    try:
        for _ in range(100):
            with workdir.locked(tmp_path):
                assert workdir.is_held(tmp_path)
    finally:
        go_on.clear()
        for process in processes:
            process.join()


def test_asking_whether_a_run_is_there_takes_and_makes_nothing(tmp_path):
    assert not workdir.is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with workdir.locked(tmp_path):
        assert workdir.is_held(tmp_path)
        (tmp_path / "run.json").touch()
    with (tmp_path / ".lock").open() as other:  # one that asks at the same time
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not workdir.is_held(tmp_path)


def test_what_a_kill_left_half_written_goes_away(tmp_path):
    (tmp_path / ".0123abcd.partial").write_text("half")
    with workdir.locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.whole
def test_a_link_at_any_name_that_a_run_leaves_is_refused(tiny_run, tmp_path):
    names = [path.relative_to(tiny_run) for path in sorted(tiny_run.rglob("*"))]
    assert {"run.json", "metrics.jsonl", "checkpoints/75/train/manifest.ocdbt"} <= set(map(str, names))
    for name in [*names, "profile", "wandb/images", "optuna.db", "output.log", "evaluation-75.html"]:
        folder, target = tmp_path / "run", tmp_path / "target"
        shutil.copytree(tiny_run, folder)
        target.write_text("precious")
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(target)
        with pytest.raises(UserError, match=rf"^{path} must not be a link [^\n]+$"), workdir.locked(folder):
            pass
        assert target.read_text() == "precious"
        shutil.rmtree(folder)


def test_a_folder_that_is_a_link_itself_and_links_of_others_are_taken(tmp_path):
    (tmp_path / "run" / "wandb" / "offline-run-1" / "files").mkdir(parents=True)
    for link in (
        "run/notes.txt",
        "run/wandb/latest-run",
        "run/wandb/offline-run-1/files/run.json",
        "scratch",
    ):
        (tmp_path / link).symlink_to(tmp_path / "run")
    with workdir.locked(tmp_path / "scratch"):
        assert (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/proc/nowhere", "cannot be written"),
        ("/dev/null", "must be a folder"),
        ("/dev/null/run", "cannot be written"),
    ],
)
def test_a_folder_that_cannot_be_made_is_named(path, why):
    from pathlib import Path

    with pytest.raises(UserError, match=f"--workdir={path} {why}"), workdir.locked(Path(path)):
        pass


def test_a_new_folder_has_no_previous_run(tmp_path):
    assert workdir.previous_run(tmp_path, config_of(), force=False) is None


def test_the_same_config_goes_on_and_another_is_refused_with_its_fields(tmp_path):
    write_record(tmp_path)
    assert workdir.previous_run(tmp_path, config_of(**{"data.cache_dir": "/elsewhere"}), force=False)
    changed = config_of(**{"train.epochs": 3, "model.widths": (4, 4)})
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        workdir.previous_run(tmp_path, changed, force=False)
    assert "config.model.widths was [32, 64], now [4, 4], config.train.epochs was 30, now 3" in str(
        caught.value
    )
    assert "--resume=force" in str(caught.value)
    assert workdir.previous_run(tmp_path, changed, force=True)


def test_a_run_is_finished_for_its_own_config_only(tmp_path):
    results = {"metrics": {"test": {"accuracy": 1.0, "notes": []}, "validation": {}}, "steps": 1}
    results |= {"best": {"step": 1, "metric": "accuracy"}, "params_sha256": "0"}
    results |= {"environment": MACHINE | {"accelerator": {"kind": "cpu"}}, "processes": [PROCESS]}
    write_record(tmp_path, status="finished", **results)
    record = workdir.previous_run(tmp_path, config_of(), force=False)
    assert workdir.is_finished(record, config_of())
    assert not workdir.is_finished(record, config_of(seed=1))
    assert not workdir.is_finished({**record, "status": "interrupted"}, config_of())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "config": 3}', "\x00", "[" * 10**5]
)
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        workdir.previous_run(tmp_path, config_of(), force=False)


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_bit_that_changed_is_noticed_or_changes_nothing(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("run")
    write_record(folder)
    fields = json.loads((folder / "run.json").read_text())
    content = bytearray(sealed(fields))
    content[place % len(content)] ^= 1 << bit
    (folder / "run.json").write_bytes(content)
    try:
        record = read_record(folder)
    except UserError:
        return
    # A seal that is not one any more is another key; all others are as they were.
    assert {key: record[key] for key in fields if key != "config"} == {
        key: value for key, value in fields.items() if key != "config"
    }


def test_a_record_that_was_changed_by_hand_is_refused(tmp_path):
    write_record(tmp_path)
    fields = json.loads((tmp_path / "run.json").read_text())
    text = sealed({**fields, "steps": 100}).decode()
    (tmp_path / "run.json").write_text(text)
    assert read_record(tmp_path)["steps"] == 100
    (tmp_path / "run.json").write_text(text.replace('"steps": 100', '"steps": 200'))
    with pytest.raises(UserError, match=r"run\.json was changed since it was written"):
        read_record(tmp_path)


def test_the_record_of_another_version_is_refused(tmp_path):
    write_record(tmp_path, schema=99)
    with pytest.raises(UserError, match="at most 3 .got 99"):
        workdir.previous_run(tmp_path, config_of(), force=False)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("processes", [1], r"Expected `object`, got `int` - at `\$.processes\[0\]`"),
        ("environment", {"python": 3}, r"at `\$.environment.python`"),
        ("config", "__import__('os')", r"at `\$.config`"),
        ("command", "rm", r"at `\$.command`"),
    ],
)
def test_a_record_of_other_types_is_damaged(tmp_path, key, value, told):
    write_record(tmp_path, **{key: value})
    with pytest.raises(UserError, match=rf"run\.json is damaged \(.*{told}\); remove it"):
        read_record(tmp_path)


def test_a_pipe_is_no_record(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(UserError, match=r"run\.json cannot be read"):
        read_record(tmp_path)


@pytest.mark.parametrize("key", ["status", "started", "processes", "code", "data", "environment"])
def test_a_record_without_its_keys_is_damaged(tmp_path, key):
    write_record(tmp_path, **{key: None})
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        read_record(tmp_path)


def test_a_record_of_the_first_schema_is_read_but_not_resumed(tmp_path):
    write_record(tmp_path, schema=1)
    record = read_record(tmp_path)
    with pytest.raises(
        UserError, match=r"^the checkpoints in .* an earlier version \(schema 1, not 2 or later\)"
    ):
        require_current(record, tmp_path)
    for schema in (2, SCHEMA):
        write_record(tmp_path, schema=schema)
        require_current(read_record(tmp_path), tmp_path)


@pytest.fixture
def pictures(tmp_path):
    """A folder of images as a config, and the record of a finished run on it."""
    for split, count in (("train", 10), ("test", 2)):
        for level, name in enumerate(("dark", "light")):
            for k in range(count):
                path = tmp_path / "pets" / split / name / f"{k}.bmp"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (4, 4), 200 * level + k).save(path)
    config = folder.get_config()
    config.data.update(dir=str(tmp_path / "pets"), cache_dir=str(tmp_path / "cache"))
    config = validate(config)
    return tmp_path / "pets", config, {"data": describe_data(data.load(config.data))}


@pytest.mark.parametrize(
    "change",
    [
        lambda root: Image.new("L", (4, 4), 99).save(root / "train" / "dark" / "0.bmp"),  # of the same size
        lambda root: Image.new("L", (4, 4), 99).save(root / "train" / "dark" / "10.bmp"),
        lambda root: (root / "test" / "dark" / "0.bmp").unlink(),
        lambda root: (root / "test" / "dark" / "0.bmp").rename(root / "test" / "light" / "9.bmp"),
    ],
)
def test_a_finished_run_does_not_answer_for_other_images(pictures, capsys, change):
    root, config, record = pictures
    (root / "train" / "dark" / "note.txt").touch()
    (root / "train" / "dark" / "1.bmp").touch()  # and is read again, to the same
    workdir.check_finished_data(record, config, root.parent)
    change(root)
    with pytest.raises(UserError, match=r"^config.data.dir must hold .* \(got others in .*give another --wo"):
        workdir.check_finished_data(record, config, root.parent)


def test_a_finished_run_answers_where_its_images_are_gone(pictures, capsys):
    root, config, record = pictures
    root.rename(root.with_name("away"))
    workdir.check_finished_data(record, config, root.parent)
    assert (
        "cannot be compared with those of the finished run: config.data.dir must be a folder"
        in capsys.readouterr().err
    )


def test_sets_with_versions_are_not_looked_at(pictures):
    workdir.check_finished_data({"data": {"version": "x", "left_out": {}}}, config_of(), pictures[0])


def test_a_record_of_the_schema_before_is_read_without_its_matrices(tmp_path):
    test = {"accuracy": 1.0, "confusion": [[1]], "confusion_normalized": [[1.0]], "notes": []}
    write_record(tmp_path, schema=2, metrics={"test": test, "validation": {}})
    assert read_record(tmp_path)["metrics"]["test"] == {"accuracy": 1.0, "notes": []}
