import os
import pathlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.config.fields import validate
from mnist_jax.storage.checkpoints import Checkpoints
from mnist_jax.system.errors import UserError
from mnist_jax.training import optimizers, steps


@pytest.fixture
def state(request, tiny_config):
    """Of SGD, or of the optimizer that a test asks for."""
    tiny_config.optimizer.name = getattr(request, "param", "sgd")
    tiny_config.model.norm = "batch"
    tiny_config.train.ema_decay = 0.9
    return jax.tree.map(jnp.copy, created(validate(tiny_config)))  # which a test may donate


_created: dict[str, steps.TrainState] = {}


def created(config):
    """The state before the first step, made once for each optimizer."""
    if config.optimizer.name not in _created:
        optimizer = optimizers.create_optimizer(config, optimizers.create_schedule(config, 10, 100))
        images = np.zeros((1, 8, 8, 1), np.uint8)
        _created[config.optimizer.name] = steps.create_state(config, images, 10, optimizer)[1]
    return _created[config.optimizer.name]


def at(state, step):
    """A state unlike that of any other step."""
    moved = jax.tree.map(
        lambda leaf: leaf + 0.5 * step if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state
    )
    return moved._replace(step=jnp.int32(step))


def notes_of(config, **progress):
    return {"config": config.to_dict(), "progress": progress}


def checkpoints(folder, config, **changes):
    settings = config.checkpoint.copy_and_resolve_references()
    settings.update(changes)
    return Checkpoints(folder / "checkpoints", settings)


def restore_latest(store, state, config, *, force=False):
    warnings = []
    restored, notes = store.restore_latest(state, config, warnings.append, force=force)
    return restored, notes, warnings


def steps_in(folder: pathlib.Path) -> list[int]:
    return sorted(int(entry.name) for entry in (folder / "checkpoints").iterdir() if entry.name.isdigit())


@pytest.mark.parametrize("state", ["sgd", "adamw"], indirect=True)
def test_everything_comes_back_to_the_bit(state, tiny_config, tmp_path):
    saved = at(state, 7)
    expected = jax.tree.map(np.array, saved)
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(7, saved, notes=notes_of(tiny_config, wall_seconds=1.5), metrics={"accuracy": 0.5})
    with checkpoints(tmp_path, tiny_config) as store:
        restored, notes, warnings = restore_latest(store, state, tiny_config)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert notes["progress"] == {"wall_seconds": 1.5}
    assert warnings == []


@pytest.mark.whole
def test_saves_and_reads_leave_no_thread_and_no_open_file(state, tiny_config, tmp_path):
    held = []
    with checkpoints(tmp_path, tiny_config) as store:
        for step in range(1, 17):
            store.save(step, at(state, step), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
            store.wait()
            store.restore(step, state)
            held.append((threading.active_count(), len(os.listdir("/dev/fd"))))
    threads, files = zip(*held, strict=True)
    # Threads come and go; each save had left one of them, and three files.
    assert min(threads[12:]) <= min(threads[2:5]) + 5
    assert min(files[12:]) <= min(files[2:5]) + 15


def test_a_save_is_not_changed_by_the_steps_after_it(state, tiny_config, tmp_path):
    """The next step overwrites the donated state while the save is under way."""
    advance = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf + 1, s), donate_argnums=0)
    current = at(state, 1)
    expected = jax.tree.map(np.array, current)
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, current, notes=notes_of(tiny_config), metrics=None)
        for _ in range(20):
            current = advance(current)
        jax.block_until_ready(current)
        store.wait()
        restored = store.restore(1, state)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 3), ("loss", 2)])
def test_the_latest_and_the_best_are_kept(state, tiny_config, tmp_path, metric, best):
    scores = {1: (0.5, 0.9), 2: (0.8, 0.1), 3: (0.9, 0.5), 4: (0.7, 0.6), 5: (0.6, 0.7), 6: (0.6, 0.7)}
    with checkpoints(tmp_path, tiny_config, metric=metric, keep=2) as store:
        for step, (accuracy, loss) in scores.items():
            store.save(
                step,
                at(state, step),
                notes=notes_of(tiny_config),
                metrics={"accuracy": accuracy, "loss": loss},
            )
        store.wait()
        assert store.best == best
    assert steps_in(tmp_path) == [best, 5, 6]
    with checkpoints(tmp_path, tiny_config, metric=metric) as store:
        step, metrics, restored = store.restore_best(state, pytest.fail)
        assert (step, metrics) == (best, {"accuracy": scores[best][0], "loss": scores[best][1]})
        assert int(restored.step) == best


def test_of_equals_the_latest_is_best_and_kept(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config, keep=1) as store:
        for step in (1, 2, 3):
            store.save(
                step,
                at(state, step),
                notes=notes_of(tiny_config),
                metrics={"accuracy": 0.9 if step < 3 else 0.1},
            )
        store.save(4, at(state, 4), notes=notes_of(tiny_config), metrics=None)
        store.wait()
        assert store.best == 2
    assert steps_in(tmp_path) == [2, 4]


def test_an_empty_folder_gives_the_state_given(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        assert restore_latest(store, state, tiny_config) == (state, {}, [])
        with pytest.raises(UserError, match="no checkpoint"):
            _ = store.best


def damage(folder: pathlib.Path) -> None:
    for file in [folder, *folder.rglob("*")]:
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("part", ["state", "state/d", "state/_METADATA", "_CHECKPOINT_METADATA"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(state, tiny_config, tmp_path, part):
    with checkpoints(tmp_path, tiny_config) as store:
        for step in (1, 2):
            store.save(step, at(state, step), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
    damage(tmp_path / "checkpoints" / "2" / part)
    with checkpoints(tmp_path, tiny_config) as store:
        restored, _, warnings = restore_latest(store, state, tiny_config)
        assert int(restored.step) == 1
        assert len(warnings) == 1
        assert str(tmp_path / "checkpoints" / "2") in warnings[0]
        assert "\n" not in warnings[0]
        store.save(2, at(state, 2), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
        store.wait()
        assert int(restore_latest(store, state, tiny_config)[0].step) == 2


@pytest.mark.parametrize("part", ["state", "state/d", "_CHECKPOINT_METADATA"])
def test_no_readable_checkpoint_is_told(state, tiny_config, tmp_path, part):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
    damage(tmp_path / "checkpoints" / "1" / part)
    with (
        checkpoints(tmp_path, tiny_config) as store,
        pytest.raises(UserError, match="no checkpoint in .* can be"),
    ):
        restore_latest(store, state, tiny_config)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(path.read_bytes()[:9]),
        lambda path: path.write_text(path.read_text().replace("0.5", "0.9")),
        lambda path: path.write_text(path.read_text().replace('"sha256"', '"sha257"')),
        lambda path: path.write_text("3"),
        lambda path: path.unlink(),
    ],
)
def test_damaged_metrics_are_told_and_do_not_count(state, tiny_config, tmp_path, harm):
    with checkpoints(tmp_path, tiny_config) as store:
        for step, accuracy in ((1, 0.4), (2, 0.5), (3, 0.3)):
            store.save(step, at(state, step), notes=notes_of(tiny_config), metrics={"accuracy": accuracy})
    harm(tmp_path / "checkpoints" / "2" / "metrics" / "metrics")
    with checkpoints(tmp_path, tiny_config) as store:
        restored, _, warnings = restore_latest(store, state, tiny_config)
        assert int(restored.step) == 3
        with pytest.raises(UserError, match="checkpoints/2 are not .* --checkpoint=STEP$"):
            store.restore_asked(None, state)
        (warning,) = warnings
        assert "the metrics of checkpoint" in warning
        assert "checkpoints/2 are not as they were written" in warning
        step, metrics, _ = store.restore_best(restored, warnings.append)
        assert (step, metrics) == (3, {"accuracy": 0.3})


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda path: path.write_text("{"), "cannot be used"),
        (lambda path: path.write_text(path.read_text().replace("0.5", "0.9")), "the best is not known"),
        (lambda path: path.unlink(), "the best is not known"),
    ],
)
def test_readers_refuse_damaged_metrics(state, tiny_config, tmp_path, harm, expected):
    with checkpoints(tmp_path, tiny_config) as store:
        for step in (1, 2):
            store.save(step, at(state, step), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
    harm(tmp_path / "checkpoints" / "1" / "metrics" / "metrics")
    with pytest.raises(UserError, match=expected):
        Checkpoints(tmp_path / "checkpoints", tiny_config.checkpoint, read_only=True).restore_asked(
            None, state
        )


def test_what_a_kill_left_of_a_save_is_passed_over(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
    left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp" / "metrics"
    left.mkdir(parents=True)
    (left / "metrics").write_text('{"accu')
    with checkpoints(tmp_path, tiny_config) as store:
        restored, _, warnings = restore_latest(store, state, tiny_config)
    assert (int(restored.step), warnings) == (1, [])


def test_the_latest_with_damaged_metrics_gives_way_to_the_one_before(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        for step in (1, 2):
            store.save(step, at(state, step), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
    damage(tmp_path / "checkpoints" / "2" / "metrics")
    with checkpoints(tmp_path, tiny_config) as store:
        restored, _, warnings = restore_latest(store, state, tiny_config)
        assert (int(restored.step), len(warnings)) == (1, 1)
    damage(tmp_path / "checkpoints" / "1" / "metrics")  # then there is none before them
    with checkpoints(tmp_path, tiny_config) as store:
        assert int(restore_latest(store, state, tiny_config)[0].step) == 2


def test_changed_notes_give_way_to_those_before(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        for step in (1, 2):
            notes = notes_of(tiny_config, wall_seconds=1.5)
            store.save(step, at(state, step), notes=notes, metrics={"accuracy": 0.5})
    path = tmp_path / "checkpoints" / "2" / "_CHECKPOINT_METADATA"
    assert path.read_text().count("1.5") == 1
    path.write_text(path.read_text().replace("1.5", "2.5"))
    with checkpoints(tmp_path, tiny_config) as store:
        restored, notes, (warning,) = restore_latest(store, state, tiny_config)
    assert int(restored.step) == 1
    assert notes["progress"] == {"wall_seconds": 1.5}
    assert "its notes are not as they were written" in warning


def test_a_file_in_the_place_of_the_folder_is_told(tiny_config, tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(UserError, match="^[^\n]+cannot be used[^\n]+$"):
        checkpoints(tmp_path, tiny_config)


@pytest.mark.parametrize("name", ["a\\b", "b\\", "x.__lock"])
def test_a_name_that_nothing_can_be_saved_under_is_told(tiny_config, tmp_path, name):
    with pytest.raises(UserError, match="^[^\n]+cannot be used[^\n]+give another --workdir$"):
        checkpoints(tmp_path / name, tiny_config)


def test_a_damaged_best_gives_way_to_the_next_best(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        for step, accuracy in ((1, 0.9), (2, 0.5), (3, 0.7)):
            metrics = {"accuracy": accuracy}
            store.save(step, at(state, step), notes=notes_of(tiny_config), metrics=metrics)
    damage(tmp_path / "checkpoints" / "1" / "state")
    warnings = []
    with checkpoints(tmp_path, tiny_config) as store:
        step, metrics, restored = store.restore_best(state, warnings.append)
    assert (step, metrics, int(restored.step)) == (3, {"accuracy": 0.7}, 3)
    assert len(warnings) == 1
    assert "checkpoints/1 cannot be read" in warnings[0]


def test_metrics_without_a_number_are_not_the_best(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        for step in (1, 2):
            store.save(step, at(state, step), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
    (tmp_path / "checkpoints" / "2" / "metrics" / "metrics").write_text("{}")
    with checkpoints(tmp_path, tiny_config) as store:
        assert store.best == 1


def test_the_checkpoint_of_another_config_is_refused_unless_forced(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
        store.wait()
        tiny_config.seed = 3
        with pytest.raises(UserError, match="config.seed was 0, now 3"):
            restore_latest(store, state, tiny_config)
        assert int(restore_latest(store, state, tiny_config, force=True)[0].step) == 1


def test_other_arrays_are_refused_by_name(state, tiny_config, tmp_path, capfd):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
        store.wait()
        for other in (
            state._replace(ema={}),
            state._replace(
                params={**state.params, "dense": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}
            ),
        ):
            with pytest.raises(UserError, match="^[^\n]+has other parameters or optimizer state[^\n]+$"):
                restore_latest(store, other, tiny_config, force=True)
    assert capfd.readouterr().err == ""


def test_what_a_kill_left_half_saved_is_cleared_away(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes=notes_of(tiny_config), metrics={"accuracy": 0.5})
    left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    (left / "state").mkdir(parents=True)
    with checkpoints(tmp_path, tiny_config) as store:
        assert int(restore_latest(store, state, tiny_config)[0].step) == 1
    assert not left.exists()
