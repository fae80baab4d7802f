"""The files that names and folders stand for."""

import collections
import os

import pytest

from mnist_jax.data import finding
from mnist_jax.system.errors import UserError


def test_files_are_found_by_name_folder_and_pattern(tmp_path):
    for name in ("b.PNG", "a.jpg", "deep/c.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(*names):
        paths = finding.find([str(tmp_path / name) for name in names], collections.Counter())
        return [path.removeprefix(f"{tmp_path}/") for path in paths]

    assert found("") == ["a.jpg", "b.PNG", "deep/c.webp"]
    assert found("b.PNG", "gone.png", "**/*.webp") == ["b.PNG", "gone.png", "deep/c.webp"]
    (tmp_path / "[1].png").touch()
    assert found("[1].png") == ["[1].png"]
    for name, told in (("x*", "matches no file"), ("empty", "has no image that can be read")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=told):
            found(name)


def test_a_folder_means_the_images_below_it(tmp_path):
    for name in ("b.png", "a/2.jpg", "a/10.JPG", "a/x.txt", ".hidden.png", "@eaDir/b.png", "a/.git/x/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    left_out = collections.Counter()
    files = list(finding.find([str(tmp_path), "gone.png", str(tmp_path / ".hidden.png")], left_out))
    below = [os.path.join(tmp_path, name) for name in ("a/10.JPG", "a/2.jpg", "b.png")]
    assert files == [*below, "gone.png", str(tmp_path / ".hidden.png")]
    assert left_out == {".txt": 1, "hidden or system": 3}
    assert finding.describe_left_out(left_out) == "3 hidden or system, 1 .txt"


def test_links_are_followed_once_in_the_order_of_their_names(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").touch()
    for name in ("z", "again", "link"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    assert finding.images_below(str(tmp_path / "set")).images == [str(tmp_path / "set" / "again" / "x.png")]


def test_many_kinds_are_named_in_part():
    counts = {f".x{k}": 1 + k for k in range(20)}
    assert finding.describe_left_out(counts) == (
        "20 .x19, 19 .x18, 18 .x17, 17 .x16, 16 .x15, 15 .x14, 14 .x13, 13 .x12, 78 others"
    )
