import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.storage.redaction import LEFT_OUT, known_keys, redact

# Put together here, so that nobody's search for keys in this repository finds any.
HEX = "0123456789abcdef0123" + "f456789abcdef0123e67"
SECRETS = {
    "W&B's key": f'wandb.login(key="{HEX}")',
    "its newer kind": "key = 'wandb_v1_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7'",
    "in an assignment": f'os.environ["WANDB_API_KEY"] = "{HEX}"',
    "AWS": "id = 'AKIA" + "QWERTYUIOPASDFGH'",
    "GitHub": "x = 'ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789'",
    "an address": "url = 'https://me:" + "pa55word@example.org/data'",
    "a password": "password = 'correct-horse-" + "battery'",
    "one that is known": "nothing but = 'zebra-umbrella'",
    "a token": "login(token='hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH')",
    "a header": "headers = {'Authorization': 'Bearer " + "abcdefghijklmnop1234'}",
    "Google": "x = 'AIza" + "SyA1234567890abcdefghijklmnopqrstuv'",
    "a secret of any form": "client_secret = '" + "qwertzuiopasdfghjkl'",
    "one that is declared harmless": "id = 'AKIA" + "QWERTYUIOPASDFGH'  # pragma: allowlist secret",
    "bytes that are no UTF-8": "password = 'p\udce4ssw" + "ord12345'",
}
HARMLESS = (
    "learning_rate = 0.1",
    "key = jax.random.key(0)",
    "key, other = jax.random.split(key)",
    'token = os.environ["TOKEN"]',
    "password: str",
    f'COMMIT = "{HEX}"',
    "config.wandb.project = 'mnist_digit_classification'",
    "key = jax.random.wrap_key_data(state.key)",
    "tokens: collections.abc.Sequence[int]",
)


def patch_of(*lines, name="mnist_jax/train.py", after=""):
    body = "".join(f"+{line}\n" for line in lines)
    head = f"diff --git a/{name} b/{name}\nindex {HEX}..{HEX[::-1]} 100644\n--- a/{name}\n+++ b/{name}\n"
    return f"{head}@@ -1,0 +1,{len(lines)} @@{after}\n{body}".encode(errors="surrogateescape")


@pytest.mark.parametrize("line", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("sign", "+- ")
def test_a_line_with_a_key_is_left_out_and_its_file_told(line, sign):
    content = line.encode(errors="surrogateescape")
    patch = patch_of("before = 1", line, "after = 2").replace(b"+" + content, sign.encode() + content)
    found, files = redact(patch, {"zebra-umbrella"})
    assert found == patch.replace(content, LEFT_OUT.encode())
    assert files == ["mnist_jax/train.py"]


def test_a_private_key_is_left_out_to_its_end():
    block = [
        "-----BEGIN RSA PRIVATE" + " KEY-----",
        "MIIEpAIBAAK",
        "qwerty==",
        "-----END RSA PRIVATE" + " KEY-----",
    ]
    found, files = redact(patch_of("a = 1", *block, "b = 2") + patch_of("c = 3", name="other.py"), ())
    assert found == patch_of("a = 1", *[LEFT_OUT] * 4, "b = 2") + patch_of("c = 3", name="other.py")
    assert files == ["mnist_jax/train.py"]


def test_a_private_key_on_one_line_is_that_line_alone():
    line = '"private_key": "-----BEGIN PRIVATE' + " KEY-----MIIE-----END PRIVATE" + ' KEY-----"'
    assert redact(patch_of(line, "a = 1"), ())[0] == patch_of(LEFT_OUT, "a = 1")


@pytest.mark.parametrize("name", ["settings.yaml", "deploy.env"])
def test_settings_need_no_quotes(name):
    assert redact(patch_of("API_KEY: abcdefgh12", name=name), ()) == (patch_of(LEFT_OUT, name=name), [name])


def test_the_line_that_git_puts_behind_the_place_is_cut():
    assert redact(patch_of("a = 1", after=f' WANDB_API_KEY = "{HEX}"'), ()) == (patch_of("a = 1"), [])


def test_files_that_are_no_text_are_left_out():
    binary = b"diff --git a/x.bin b/x.bin\nindex 1..2 100644\nGIT binary patch\nliteral 3\nKcmZ\n\n"
    assert redact(patch_of("a = 1") + binary + patch_of("b = 2"), ()) == (
        patch_of("a = 1") + patch_of("b = 2"),
        ["x.bin"],
    )


def test_what_is_no_key_stays():
    patch = patch_of(*HARMLESS)
    assert redact(patch, ()) == (patch, [])


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_a_patch_without_keys_stays_to_the_byte(parts):
    patch = patch_of("a = 1") + b"\n".join(parts)
    assert redact(patch, ())[0] == patch


def test_keys_are_told_by_the_names_of_variables(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in {"WANDB_API_KEY": "long enough", "X_TOKEN": "short", "KEYBOARD": "us-english"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text("HF_TOKEN=of-the-file\nOTHER=something\nWANDB_API_KEY=another-key\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password of-the-netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    known = known_keys()
    assert {"long enough", "another-key", "of-the-file", "of-the-netrc"} <= known
    assert not {"short", "us-english", "something"} & known


def test_what_is_left_of_a_patch_can_be_applied(tmp_path):
    patch, _ = redact(patch_of("a = 1", SECRETS["AWS"], "b = 2", name="new.py"), ())
    (tmp_path / "new.py").write_text("")
    subprocess.run(["git", "apply", "--unidiff-zero"], cwd=tmp_path, input=patch, check=True)
    assert (tmp_path / "new.py").read_text() == f"a = 1\n{LEFT_OUT}\nb = 2\n"
