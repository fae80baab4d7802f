import multiprocessing
import pathlib
import time

import numpy as np
import pytest

from mnist_jax.data import cache
from mnist_jax.system.errors import UserError

IMAGES = np.arange(40 * 16, dtype=np.uint8).reshape(40, 4, 4, 1)
LABELS = np.arange(40, dtype=np.int32) % 3


def build(folder: pathlib.Path) -> None:
    with (folder.parent / "builds").open("a") as count:
        count.write("x")
    time.sleep(0.2)  # long enough for others to come in between
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", LABELS)


def load(folder: pathlib.Path):
    arrays, sha256 = cache.load_or_build(folder, build)
    np.testing.assert_array_equal(arrays.images, IMAGES)
    np.testing.assert_array_equal(arrays.labels, LABELS)
    return sha256


def builds(folder: pathlib.Path) -> int:
    return len((folder.parent / "builds").read_text())


def test_built_once_then_memory_mapped(tmp_path):
    folder = tmp_path / "set" / "train"
    assert load(folder) == load(folder)
    assert builds(folder) == 1
    arrays, _ = cache.load_or_build(folder, build)
    assert isinstance(arrays.images, np.memmap)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "record.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone", "empty"])
def test_damage_is_noticed_and_repaired(tmp_path, capsys, name, damage):
    folder = tmp_path / "train"
    load(folder)
    file = folder / name
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "flip":
        content[-5] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    load(folder)
    assert builds(folder) == 2
    assert "is damaged" in capsys.readouterr().err


def test_what_a_killed_build_left_is_cleared_away(tmp_path):
    partial = tmp_path / "train.partial"
    partial.mkdir()
    (partial / "images.npy").write_bytes(b"half")
    load(tmp_path / "train")
    assert not partial.exists()


@pytest.mark.whole
def test_processes_that_build_at_once_build_once(tmp_path):
    folder = tmp_path / "train"
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        assert len(set(pool.map(load, [folder] * 3))) == 1
    assert builds(folder) == 1


def test_a_place_that_cannot_be_written_is_named():
    with pytest.raises(UserError, match="config.data.cache_dir"):
        cache.load_or_build(pathlib.Path("/proc/nowhere/train"), build)


def test_content_hash_tells_shapes_and_dtypes_apart():
    hashes = {
        cache.content_hash(a) for a in (IMAGES, IMAGES.reshape(4, 40, 4, 1), IMAGES.view(np.int8), IMAGES[:0])
    }
    assert len(hashes) == 4
