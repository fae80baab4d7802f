"""Downloads from a server in this process, which can fail as servers do."""

import contextlib
import errno
import hashlib
import http.server
import multiprocessing
import os
import socket
import threading
import time

import pytest
import requests

from configs import default
from mnist_jax.data import downloads
from mnist_jax.data.downloads import Remote, data_folder, fetch, manual_folder
from mnist_jax.system.errors import UserError

CONTENT = bytes(range(256)) * 10_000  # more than two chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        self.server.asked.append(self.path)
        mood = self.server.moods.pop(0) if self.server.moods else "whole"
        if mood == "gone":
            self.send_error(404)
            return
        if mood == "silent":
            self.server.over.wait()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        content = b"x" * len(CONTENT) if mood == "other" else CONTENT
        self.wfile.write(content[: len(CONTENT) // 2] if mood in ("cut", "stalled") else content)
        if mood == "stalled":
            self.server.over.wait()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.moods, server.asked, server.over = [], [], threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


def remote(server, name="file.bin") -> Remote:
    return Remote(f"http://127.0.0.1:{server.server_port}/{name}", name, SHA256)


def test_a_file_is_downloaded_once(server, tmp_path, capsys):
    for _ in range(2):
        found = fetch("aset", [remote(server)], None, tmp_path / "down")
        assert found["file.bin"].read_bytes() == CONTENT
    assert server.asked == ["/file.bin"]
    assert capsys.readouterr().out == f"downloading file.bin of aset to {tmp_path / 'down'}, once\n"


def test_files_of_the_users_folder_are_taken_and_the_others_downloaded(server, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_bytes(CONTENT)
    found = fetch("aset", [remote(server, "a"), remote(server, "b")], tmp_path / "mine", tmp_path / "down")
    assert found == {"a": tmp_path / "mine" / "a", "b": tmp_path / "down" / "b"}
    assert server.asked == ["/b"]


@pytest.mark.parametrize(
    ("mood", "expected"),
    [
        ("cut", "could not be downloaded"),
        ("stalled", "could not be downloaded"),
        ("silent", "could not be downloaded"),
        ("gone", "could not be downloaded: 404"),
        ("other", f"its sha256 must be {SHA256}"),
    ],
)
def test_what_goes_wrong_is_one_line_and_the_next_try_starts_cleanly(
    server, tmp_path, monkeypatch, mood, expected
):
    monkeypatch.setattr(downloads, "ANSWER_SECONDS", 1.0)
    server.moods = [mood]
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        fetch("aset", [remote(server)], None, tmp_path)
    assert expected in str(caught.value)
    assert "--config.data.manual_dir" in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}
    assert fetch("aset", [remote(server)], None, tmp_path)["file.bin"].read_bytes() == CONTENT


def test_a_download_that_is_killed_starts_again(server, tmp_path):
    server.moods = ["stalled"]
    process = multiprocessing.get_context("spawn").Process(target=fetched, args=[(remote(server), tmp_path)])
    process.start()
    wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob("tmp*")))
    process.kill()
    process.join()
    assert not (tmp_path / "file.bin").exists()
    fetch("aset", [remote(server)], None, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "file.bin"}


def test_a_kept_file_that_was_damaged_is_downloaded_again(server, tmp_path, capsys):
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    assert fetch("aset", [remote(server)], None, tmp_path)["file.bin"].read_bytes() == CONTENT
    assert capsys.readouterr().out == f"downloading file.bin of aset to {tmp_path}, once\n"


def wait_until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def fetched(given) -> bytes:
    one, folder = given
    return fetch("aset", [one], None, folder)["file.bin"].read_bytes()


@pytest.mark.whole
def test_processes_that_download_at_once_do_not_harm_each_other(server, tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(fetched, [(remote(server), tmp_path)] * 2) == [CONTENT] * 2
    assert server.asked == ["/file.bin"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_reported_and_leaves_nothing(server, tmp_path, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("shutil.move", full)  # the last that pooch does with a file
    with pytest.raises(
        UserError, match=rf"^the files of aset cannot be kept in .*{os.strerror(number)}; [^\n]*$"
    ):
        fetch("aset", [remote(server)], None, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_file_of_the_users_folder_that_is_none_is_named(server, tmp_path, make):
    (tmp_path / "mine").mkdir()
    make(tmp_path / "mine" / "a")
    with pytest.raises(
        UserError, match=r"^[^\n]*/mine/a must be a readable file of aset \(got it is not a regular file\); "
    ):
        fetch("aset", [remote(server, "a")], tmp_path / "mine", tmp_path / "down")
    assert server.asked == []


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "down").write_text("a file")
    with pytest.raises(UserError, match=r"^the files of aset cannot be kept in .*--config.data.data_dir$"):
        fetch("aset", [remote(server)], None, tmp_path / "down")


def test_no_network_shows_at_once(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr("requests.head", no_network)
    one = Remote("https://host.example/a.gz", "a.gz", SHA256)
    with pytest.raises(
        UserError, match=r"^aset is not prepared: host.example cannot be reached .*manual_dir$"
    ):
        fetch("aset", [one], None, tmp_path)
    with pytest.raises(UserError, match=r"has no a.gz and host.example cannot be reached"):
        fetch("aset", [one], tmp_path, tmp_path / "down")


def test_a_proxy_that_never_answers_is_not_waited_for(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(downloads, "ANSWER_SECONDS", 0.3)
        with pytest.raises(UserError, match="cannot be reached to download it"):
            fetch("aset", [Remote("https://host.example/a.gz", "a.gz", SHA256)], None, tmp_path)


def test_the_folder_of_sets_is_the_users_then_the_environments(monkeypatch, tmp_path):
    config = default.get_config().data
    with contextlib.suppress(KeyError):
        monkeypatch.delenv("TFDS_DATA_DIR")
    assert data_folder(config).name == "tensorflow_datasets"
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert data_folder(config) == tmp_path
    config.data_dir = "~/sets"
    assert data_folder(config).name == "sets"
    assert "~" not in str(data_folder(config))


def test_the_users_folder_of_files_has_to_exist(tmp_path):
    config = default.get_config().data
    assert manual_folder(config) is None
    config.manual_dir = str(tmp_path)
    assert manual_folder(config) == tmp_path
    config.manual_dir = str(tmp_path / "none")
    with pytest.raises(
        UserError, match=r"^config.data.manual_dir must be an existing folder \(got '.*/none'\)$"
    ):
        manual_folder(config)
