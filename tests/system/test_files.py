import os
import stat

import pytest

from mnist_jax.system.errors import UserError, circumstance
from mnist_jax.system.files import (
    PARTIAL,
    make_folder,
    open_to_append,
    read_regular,
    user_path,
    write_whole,
)


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    for content in (b"first", b"second", b""):
        write_whole(tmp_path / "name", content)
        assert (tmp_path / "name").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    assert stat.S_IMODE((tmp_path / "name").stat().st_mode) == 0o644  # for whom the umask allows it


@pytest.mark.parametrize("planted", ["name", "name.partial"])
def test_a_planted_link_is_not_followed(tmp_path, planted):
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / planted).symlink_to(target)
    write_whole(tmp_path / "name", b"content")
    assert target.read_text() == "precious"
    assert not (tmp_path / "name").is_symlink()
    assert (tmp_path / "name").read_bytes() == b"content"


def test_a_temporary_name_that_is_taken_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _: "0" * 8)
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / PARTIAL.replace("*", "0" * 8)).symlink_to(target)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "name", b"content")
    assert target.read_text() == "precious"
    assert not (tmp_path / "name").exists()


def test_a_file_that_is_too_large_leaves_the_one_before(tmp_path, file_limit):
    write_whole(tmp_path / "name", b"before")
    file_limit(1000)
    with pytest.raises(OSError, match="File too large") as caught:
        write_whole(tmp_path / "name", b"x" * 2000)
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    assert (tmp_path / "name").read_bytes() == b"before"
    assert circumstance(caught.value).startswith(f"File too large at {tmp_path / 'name'}; ")


def test_what_is_appended_to_is_a_file_of_its_own(tmp_path):
    with open_to_append(tmp_path / "log") as log:
        log.write(b"one\n")
    with open_to_append(tmp_path / "log") as log:
        log.write(b"two\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    (tmp_path / "link").symlink_to(tmp_path / "log")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError, match=name):
            open_to_append(tmp_path / name)
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="it is no regular file"):
        open_to_append(tmp_path / "pipe")
    os.close(reader)


def test_a_folder_is_no_link(tmp_path):
    assert make_folder(tmp_path / "folder").is_dir()
    make_folder(tmp_path / "folder")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(UserError, match=r"^\S+/link must be no link \(got one to \S+/folder\); [^\n]+$"):
        make_folder(tmp_path / "link")


def test_a_sparse_file_is_not_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match=r"it has 1,099,511,627,776 bytes, more than 1,073,741,824"):
        read_regular(tmp_path / "sparse")


def test_the_home_folder_of_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/runs") == tmp_path / "runs"
    assert str(user_path("runs/~x/$HOME")) == "runs/~x/$HOME"
    for given in ("gs://bucket/runs", "~nobody-of-this-name/runs"):
        with pytest.raises(UserError, match="^a path must [^\n]+$"):
            user_path(given)
