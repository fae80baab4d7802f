import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mnist_jax import optimizers, steps
from mnist_jax.checkpoints import Checkpoints
from mnist_jax.config import validate
from mnist_jax.errors import UserError


@pytest.fixture(params=["sgd", "adamw"])
def state(request, tiny_config):
    tiny_config.optimizer.name = request.param
    tiny_config.model.norm = "batch"
    tiny_config.train.ema_decay = 0.9
    config = validate(tiny_config)
    optimizer = optimizers.create_optimizer(config, optimizers.create_schedule(config, 10, 100))
    return steps.create_state(config, (8, 8, 1), 10, optimizer)[1]


def at(state, step):
    """A state unlike that of any other step."""
    moved = jax.tree.map(
        lambda leaf: leaf + 0.5 * step if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state
    )
    return moved._replace(step=jnp.int32(step))


def checkpoints(folder, config, **changes):
    settings = config.checkpoint.copy_and_resolve_references()
    settings.update(changes)
    return Checkpoints(folder / "checkpoints", settings)


def steps_in(folder: pathlib.Path) -> list[int]:
    return sorted(int(entry.name) for entry in (folder / "checkpoints").iterdir() if entry.name.isdigit())


def test_everything_comes_back_to_the_bit(state, tiny_config, tmp_path):
    saved = at(state, 7)
    expected = jax.tree.map(np.array, saved)
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(7, saved, notes={"wall_seconds": 1.5}, metrics={"accuracy": 0.5})
    with checkpoints(tmp_path, tiny_config) as store:
        restored, notes, warnings = store.restore_latest(state)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert (notes, warnings) == ({"wall_seconds": 1.5}, [])


def test_a_save_is_not_changed_by_the_steps_after_it(state, tiny_config, tmp_path):
    """The next step overwrites the donated state while the save is under way."""
    advance = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf + 1, s), donate_argnums=0)
    current = at(state, 1)
    expected = jax.tree.map(np.array, current)
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, current, notes={}, metrics=None)
        for _ in range(20):
            current = advance(current)
        jax.block_until_ready(current)
        store.wait()
        restored, _ = store.restore(1, state)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 3), ("loss", 2)])
def test_the_latest_and_the_best_are_kept(state, tiny_config, tmp_path, metric, best):
    scores = {1: (0.5, 0.9), 2: (0.8, 0.1), 3: (0.9, 0.5), 4: (0.7, 0.6), 5: (0.6, 0.7), 6: (0.6, 0.7)}
    with checkpoints(tmp_path, tiny_config, metric=metric, keep=2) as store:
        for step, (accuracy, loss) in scores.items():
            store.save(step, at(state, step), notes={}, metrics={"accuracy": accuracy, "loss": loss})
        store.wait()
        assert store.best[0] == best
    assert steps_in(tmp_path) == [best, 5, 6]
    with checkpoints(tmp_path, tiny_config, metric=metric) as store:
        assert store.best == (best, {"accuracy": scores[best][0], "loss": scores[best][1]})


def test_of_equals_the_latest_is_best_and_kept(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config, keep=1) as store:
        for step in (1, 2, 3):
            store.save(step, at(state, step), notes={}, metrics={"accuracy": 0.9 if step < 3 else 0.1})
        store.save(4, at(state, 4), notes={}, metrics=None)
        store.wait()
        assert store.best[0] == 2
    assert steps_in(tmp_path) == [2, 4]


def test_an_empty_folder_gives_the_state_given(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        assert store.restore_latest(state) == (state, {}, [])
        with pytest.raises(UserError, match="no checkpoint"):
            _ = store.best


def damage(folder: pathlib.Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_damaged_checkpoint_gives_way_to_the_one_before(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        for step in (1, 2):
            store.save(step, at(state, step), notes={}, metrics={"accuracy": 0.5})
    damage(tmp_path / "checkpoints" / "2" / "state")
    with checkpoints(tmp_path, tiny_config) as store:
        restored, _, warnings = store.restore_latest(state)
        assert int(restored.step) == 1
        assert len(warnings) == 1
        assert str(tmp_path / "checkpoints" / "2") in warnings[0]
        assert "\n" not in warnings[0]
        store.save(2, at(state, 2), notes={}, metrics={"accuracy": 0.5})
        store.wait()
        assert int(store.restore_latest(state)[0].step) == 2


def test_no_readable_checkpoint_is_told(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes={}, metrics={"accuracy": 0.5})
    damage(tmp_path / "checkpoints" / "1" / "state")
    with checkpoints(tmp_path, tiny_config) as store, pytest.raises(UserError, match="cannot be read"):
        store.restore_latest(state)


def test_what_a_kill_left_half_saved_is_cleared_away(state, tiny_config, tmp_path):
    with checkpoints(tmp_path, tiny_config) as store:
        store.save(1, at(state, 1), notes={}, metrics={"accuracy": 0.5})
    left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    (left / "state").mkdir(parents=True)
    with checkpoints(tmp_path, tiny_config) as store:
        assert int(store.restore_latest(state)[0].step) == 1
    assert not left.exists()
