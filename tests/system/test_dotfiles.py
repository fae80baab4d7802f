import os

import pytest

from mnist_jax.system.dotfiles import read_env_file
from mnist_jax.system.errors import UserError

VALUE = "a-value-of-the-file"


@pytest.mark.parametrize(
    ("text", "values", "unread"),
    [
        ("", {}, []),
        ("A=1\n\n# comment\nexport B = '2 # 3'\n", {"A": "1", "B": "2 # 3"}, []),
        ("\ufeffA=1\n", {"A": "1"}, []),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}, []),
        ('A="1\n2"\nB: 3\n', {"A": "1\n2"}, [3]),
        (f"WANDB_API_KEY: {VALUE}\n", {}, [1]),
        (f"\n\nWANDB_API_KEY:{VALUE}=\n", {}, [3]),
        (f"WANDB_API_KEY\nset A={VALUE}\n$env:B={VALUE}\nC={VALUE}\n", {"C": VALUE}, [1, 2, 3]),
        (f'A="{VALUE}\nB=1\n', {"B": "1"}, [1]),
        ("A=\n", {"A": ""}, []),
        ("A=${B} $B\n", {"A": "${B} $B"}, []),
    ],
)
def test_lines_of_an_env_file(tmp_path, text, values, unread):
    (tmp_path / ".env").write_bytes(text.encode())
    assert read_env_file(tmp_path / ".env") == (values, unread)


def test_there_need_not_be_one(tmp_path):
    assert read_env_file(tmp_path / ".env") == ({}, [])


def large(path):
    with path.open("wb") as file:
        file.truncate(1 << 30)


FAULTS = {
    "must be UTF-8 text": lambda path: path.write_bytes(b"# caf\xe9\nA=" + VALUE.encode()),
    "must have at most 1 MB": large,
    "it is no regular file": os.mkfifo,
    "regular file": lambda path: path.mkdir(),
    "Permission denied": lambda path: path.touch(mode=0),
}


@pytest.mark.parametrize("expected", FAULTS)
def test_one_that_cannot_be_read_is_refused_without_its_content(tmp_path, expected):
    if expected == "Permission denied" and os.getuid() == 0:
        pytest.skip("root reads everything")
    FAULTS[expected](tmp_path / ".env")
    with pytest.raises(UserError, match=rf"\.env .*{expected}") as raised:
        read_env_file(tmp_path / ".env")
    assert VALUE not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__
