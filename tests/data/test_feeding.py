import functools

import jax
import numpy as np
import pytest

from mnist_jax.config.validation import validate
from mnist_jax.data.cache import Arrays
from mnist_jax.data.feeding import make_feed, memory_map, training_rows
from mnist_jax.data.order import batch_indices
from mnist_jax.system.mesh import AXIS, make_mesh, place, replicated, state_shardings
from mnist_jax.training import optimizers, steps

pytestmark = pytest.mark.whole

RNG = np.random.default_rng(0)
MESH = jax.sharding.Mesh(np.array(jax.devices()[:1]), (AXIS,))
ARRAYS = Arrays(RNG.integers(0, 256, (50, 8, 8, 1), np.uint8), RNG.integers(0, 10, 50, np.int32))


def test_device_and_host_placement_train_to_the_same_bits(tiny_config):
    """Several steps per call; tests/whole/test_train.py has one per call."""
    chunk = 4
    config = validate(tiny_config)
    schedule = optimizers.create_schedule(config, 10, 100)
    optimizer = optimizers.create_optimizer(config, schedule)
    graphdef, _ = steps.make_create_state(config, 10, optimizer)(
        jax.random.key(config.seed), np.zeros((1, 8, 8, 1), np.uint8)
    )
    mesh = make_mesh(config)
    train_chunk = steps.compiled(
        steps.make_train_chunk(config, graphdef, optimizer, schedule), mesh, replicated(mesh)
    )

    def train(placement):
        _, state = steps.make_create_state(config, 10, optimizer)(
            jax.random.key(config.seed), np.zeros((1, 8, 8, 1), np.uint8)
        )
        # As after a step, otherwise the second step would compile again.
        state = place(state, state_shardings(mesh, state, shard_params=False))
        chunks = [(start, chunk) for start in range(0, 12, chunk)]
        order = functools.partial(batch_indices, 0, batch_size=16, size=50)
        for _, rows in training_rows(make_feed(ARRAYS, placement, mesh), chunks, order):
            state, _ = train_chunk(state, rows)
        return state

    jax.tree.map(np.testing.assert_array_equal, train("device"), train("host"))


def test_a_split_too_large_for_the_device_is_streamed(monkeypatch):
    indices = np.array([[3, 1], [3, 2]], np.int32)
    monkeypatch.setattr("mnist_jax.system.devices.fits_on_device", lambda nbytes: False)
    streamed = make_feed(ARRAYS, "auto", MESH)(indices)
    assert streamed.images.shape == (2, 2, 8, 8, 1)
    monkeypatch.setattr("mnist_jax.system.devices.fits_on_device", lambda nbytes: True)
    resident = make_feed(ARRAYS, "auto", MESH)(indices)
    assert resident.images.shape == ARRAYS.images.shape
    jax.tree.map(np.testing.assert_array_equal, streamed.examples(), resident.examples())


def test_an_error_in_the_thread_reaches_the_loop():
    def broken(indices):
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        list(training_rows(broken, [(0, 1)], lambda start, count: np.zeros((1, 2), np.int32)))


def test_rows_of_a_memory_map_are_asked_for_and_are_the_same(tmp_path):
    """Of a slice, too, as a split is: where it starts in the file counts."""
    np.save(tmp_path / "images.npy", ARRAYS.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")[7:]
    pages, offset = memory_map(mapped)
    assert pages[offset : offset + 64] == ARRAYS.images[7].tobytes()
    assert memory_map(ARRAYS.images) is None
    assert memory_map(mapped[::2]) is None
    indices = np.array([[42, 0, 3]], np.int32)
    rows = make_feed(Arrays(mapped, ARRAYS.labels[7:]), "host", MESH)(indices)
    np.testing.assert_array_equal(rows.images, ARRAYS.images[7:][indices])
