import os
import pathlib
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax.config.validation import validate
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


_created: dict[str, steps.State] = {}


def created(config):
    """The state before the first step, made once for each optimizer."""
    if config.optimizer.name not in _created:
        optimizer = optimizers.create_optimizer(config, optimizers.create_schedule(config, 10, 100))
        images = np.zeros((1, 8, 8, 1), np.uint8)
        train = steps.make_create_state(config, 10, optimizer)(jax.random.key(config.seed), images)[1]
        _created[config.optimizer.name] = steps.State(train, train.model)
    return _created[config.optimizer.name]


def at(state, step, best=None):
    """A state unlike that of any other step, with the best model of a step."""

    def moved(tree, step):
        tree = jax.tree.map(
            lambda leaf: leaf + 0.5 * step if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree
        )
        return tree._replace(step=jnp.int32(step))

    return steps.State(moved(state.train, step), moved(state.best, step if best is None else best))


def notes_of(config, best=None, **progress):
    best = best and {"step": best, "scores": {"accuracy": 0.5}}
    return {"config": config.to_dict(), "progress": progress, "best": best}


def checkpoints(folder, config, **options):
    return Checkpoints(folder / "checkpoints", config.checkpoint.keep, **options)


def filled(folder, state, config, *, best=1, count=2):
    """The folder with checkpoints of steps 1, 2 and so on."""
    with checkpoints(folder, config) as store:
        for step in range(1, count + 1):
            notes = notes_of(config, min(best, step), wall_seconds=1.5)
            store.save(step, at(state, step, min(best, step)), notes=notes)
    return folder / "checkpoints"


def restore_latest(store, state, config, *, force=False):
    warnings = []
    restored, notes = store.restore_latest(state, config, warnings.append, force=force)
    return restored, notes, warnings


def model_of(store, state, step=None):
    """The model that a reader gets, and what it is warned of."""
    warnings = []
    return store.restore_model(state.best, warnings.append, step=step), warnings


def steps_in(folder: pathlib.Path) -> list[int]:
    return sorted(int(entry.name) for entry in (folder / "checkpoints").iterdir() if entry.name.isdigit())


def damage(folder: pathlib.Path) -> None:
    for file in [folder, *folder.rglob("*")]:
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("state", ["sgd", "adamw"], indirect=True)
def test_everything_comes_back_to_the_bit(state, tiny_config, tmp_path):
    saved = at(state, 7, 3)
    expected = jax.tree.map(np.array, saved)
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(7, saved, notes=notes_of(tiny_config, 3, wall_seconds=1.5))
    with checkpoints(tmp_path, tiny_config) as store:
        restored, notes, warnings = restore_latest(store, state, tiny_config)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert notes["progress"] == {"wall_seconds": 1.5}
    assert warnings == []


class Forgetful(Checkpoints):
    """Saves whose end nobody takes, so that each leaves a thread and open files."""

    def wait(self):
        self._saving = None
        super().wait()


@pytest.mark.whole
@pytest.mark.parametrize(("kind", "leaks"), [(Checkpoints, False), (Forgetful, True)])
def test_saves_and_reads_leave_no_thread_and_no_open_file(state, tiny_config, tmp_path, kind, leaks):
    threads, files = [], []
    with kind(tmp_path / "checkpoints", tiny_config.checkpoint.keep) as store:
        for step in range(1, 17):
            store.save(step, at(state, step), notes=notes_of(tiny_config, step))
            store.wait()
            restore_latest(store, state, tiny_config)
            threads.append(threading.active_count())
            files.append(len(os.listdir("/dev/fd")))
    # Threads come and go; a leak has one more, or a file, after each of the ten saves between.
    grown = [min(held[10:]) - min(held[:6]) for held in (threads, files)]
    assert [growth >= 5 for growth in grown] == [leaks, leaks]


def test_a_save_is_not_changed_by_the_steps_after_it(state, tiny_config, tmp_path):
    """The next step overwrites the donated state while the save is under way."""
    advance = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf + 1, s), donate_argnums=0)
    current = at(state, 1)
    expected = jax.tree.map(np.array, current)
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, current, notes=notes_of(tiny_config, 1))
        for _ in range(20):
            current = advance(current)
        jax.block_until_ready(current)
        store.wait()
        restored, _, _ = restore_latest(store, state, tiny_config)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)


def test_the_latest_are_kept_and_each_has_the_best(state, tiny_config, tmp_path):
    filled(tmp_path, state, tiny_config, best=3, count=6)
    assert steps_in(tmp_path) == [5, 6]
    with checkpoints(tmp_path, tiny_config, read_only=True) as store:
        model, warnings = model_of(store, state)
        assert warnings == []
        jax.tree.map(np.testing.assert_array_equal, model, at(state, 6, 3).best)
        model, _ = model_of(store, state, step=3)
        jax.tree.map(np.testing.assert_array_equal, model, at(state, 6, 3).best)


@pytest.mark.parametrize("averaged", [True, False])
def test_the_model_of_a_step_is_what_evaluation_uses(state, tiny_config, tmp_path, averaged):
    state = state if averaged else state._replace(train=state.train._replace(ema={}))
    filled(tmp_path, state, tiny_config)
    with checkpoints(tmp_path, tiny_config, read_only=True) as store:
        model, _ = model_of(store, state, step=2)
        expected = at(state, 2).train
        jax.tree.map(np.testing.assert_array_equal, model, expected.model)
        params = store.restore_params(2, state.best)
        jax.tree.map(np.testing.assert_array_equal, params, expected.params)
        with pytest.raises(UserError, match=r"^--checkpoint must be a step in .* .got 7.; it has: 1, 2$"):
            model_of(store, state, step=7)


def test_before_the_first_validation_there_is_no_best(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1, 0), notes=notes_of(tiny_config))
    with checkpoints(tmp_path, tiny_config, read_only=True) as store:
        with pytest.raises(UserError, match=r"validated yet; choose one by --checkpoint=STEP: 1$"):
            model_of(store, state)
        assert int(model_of(store, state, step=1)[0].step) == 1


def test_an_empty_folder_gives_the_state_given(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        assert restore_latest(store, state, tiny_config) == (state, {}, [])
        with pytest.raises(UserError, match="no checkpoint"):
            model_of(store, state)


@pytest.mark.parametrize("part", ["train", "best/d", "train/_METADATA", "_CHECKPOINT_METADATA"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(state, tiny_config, tmp_path, part):
    damage(filled(tmp_path, state, tiny_config) / "2" / part)
    with checkpoints(tmp_path, tiny_config) as store:
        restored, _, warnings = restore_latest(store, state, tiny_config)
        assert int(restored.train.step) == 1
        assert len(warnings) == 1
        assert str(tmp_path / "checkpoints" / "2") in warnings[0]
        assert "\n" not in warnings[0]
        store.save(2, at(state, 2), notes=notes_of(tiny_config, 2))
        store.wait()
        assert int(restore_latest(store, state, tiny_config)[0].train.step) == 2


@pytest.mark.parametrize("part", ["best", "best/_METADATA", "_CHECKPOINT_METADATA"])
def test_a_reader_takes_the_best_of_the_checkpoint_before_and_says_so(state, tiny_config, tmp_path, part):
    damage(filled(tmp_path, state, tiny_config) / "2" / part)
    with checkpoints(tmp_path, tiny_config, read_only=True) as store:
        model, (warning,) = model_of(store, state)
    assert int(model.step) == 1
    assert "checkpoints/2 cannot be read" in warning


def test_a_damaged_training_state_does_not_hinder_a_reader(state, tiny_config, tmp_path):
    damage(filled(tmp_path, state, tiny_config) / "2" / "train" / "d")
    with checkpoints(tmp_path, tiny_config, read_only=True) as store:
        model, warnings = model_of(store, state)
    assert (int(model.step), warnings) == (1, [])


@pytest.mark.parametrize("part", ["train", "best/d", "_CHECKPOINT_METADATA"])
def test_no_readable_checkpoint_is_told(state, tiny_config, tmp_path, part):
    damage(filled(tmp_path, state, tiny_config, count=1) / "1" / part)
    with (
        checkpoints(tmp_path, tiny_config) as store,
        pytest.raises(UserError, match="no checkpoint in .* can be"),
    ):
        restore_latest(store, state, tiny_config)


def flip(folder: pathlib.Path, place: int) -> None:
    """Changes a bit of the arrays' bytes in a part of a checkpoint."""
    (path,) = (folder / "ocdbt.process_0" / "d").iterdir()
    content = bytearray(path.read_bytes())
    content[int(place * len(content) / 10)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("part", ["train", "best"])
@pytest.mark.parametrize("place", [3, 5, 6])
def test_an_array_with_another_bit_is_damage(state, tiny_config, tmp_path, part, place):
    flip(filled(tmp_path, state, tiny_config) / "2" / part, place)
    with checkpoints(tmp_path, tiny_config) as store:
        restored, _, (warning,) = restore_latest(store, state, tiny_config)
        _, warnings = model_of(store, state)
    assert int(restored.train.step) == 1
    assert warning.endswith(
        "checkpoints/2 cannot be read (ValueError: its arrays were changed since they were written); "
        "using the one before"
    )
    # A reader needs the best alone.
    assert (warnings == [warning]) == (part == "best")


def test_a_checkpoint_without_checksums_is_believed(state, tiny_config, tmp_path, monkeypatch):
    """As earlier versions wrote them."""
    monkeypatch.setattr("mnist_jax.storage.checkpoints._checksums", lambda parts: None)
    filled(tmp_path, state, tiny_config)
    monkeypatch.undo()
    with checkpoints(tmp_path, tiny_config) as store:
        restored, _, warnings = restore_latest(store, state, tiny_config)
    assert (int(restored.train.step), warnings) == (2, [])


def test_a_part_that_is_gone_is_damage(state, tiny_config, tmp_path):
    shutil.rmtree(filled(tmp_path, state, tiny_config) / "2" / "best")
    with checkpoints(tmp_path, tiny_config) as store:
        restored, _, (warning,) = restore_latest(store, state, tiny_config)
    assert int(restored.train.step) == 1
    assert "checkpoints/2 cannot be read" in warning


def test_changed_notes_give_way_to_those_before(state, tiny_config, tmp_path):
    path = filled(tmp_path, state, tiny_config) / "2" / "_CHECKPOINT_METADATA"
    assert path.read_text().count("1.5") == 1
    path.write_text(path.read_text().replace("1.5", "2.5"))
    with checkpoints(tmp_path, tiny_config) as store:
        restored, notes, (warning,) = restore_latest(store, state, tiny_config)
    assert int(restored.train.step) == 1
    assert notes["progress"] == {"wall_seconds": 1.5}
    assert "its notes were changed since they were written" in warning


def test_a_file_in_the_place_of_the_folder_is_told(tiny_config, tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(UserError, match="^[^\n]+cannot be used[^\n]+$"):
        checkpoints(tmp_path, tiny_config)


@pytest.mark.parametrize("name", ["a\\b", "b\\", "x.__lock"])
def test_a_name_that_nothing_can_be_saved_under_is_told(tiny_config, tmp_path, name):
    with pytest.raises(UserError, match="^[^\n]+cannot be used[^\n]+give another --workdir$"):
        checkpoints(tmp_path / name, tiny_config)


def test_the_checkpoint_of_another_config_is_refused_unless_forced(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes=notes_of(tiny_config, 1))
        store.wait()
        tiny_config.seed = 3
        with pytest.raises(UserError, match="config.seed was 0, now 3"):
            restore_latest(store, state, tiny_config)
        assert int(restore_latest(store, state, tiny_config, force=True)[0].train.step) == 1


def test_other_arrays_are_refused_by_name(state, tiny_config, tmp_path, capfd):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes=notes_of(tiny_config, 1))
        store.wait()
        for other in (
            state._replace(train=state.train._replace(ema={})),
            state._replace(
                best=state.best._replace(
                    params={**state.best.params, "dense": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}
                )
            ),
        ):
            with pytest.raises(UserError, match="^[^\n]+must have the parameters and optimizer state[^\n]+$"):
                restore_latest(store, other, tiny_config, force=True)
    assert capfd.readouterr().err == ""


def test_what_a_kill_left_half_saved_is_cleared_away(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes=notes_of(tiny_config, 1))
    left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    (left / "train").mkdir(parents=True)
    with checkpoints(tmp_path, tiny_config) as store:
        assert int(restore_latest(store, state, tiny_config)[0].train.step) == 1
    assert not left.exists()
