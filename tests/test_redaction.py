import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_jax.redaction import LEFT_OUT, keys_of, redact

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
}
HARMLESS = (
    "learning_rate = 0.1",
    "key = jax.random.key(0)",
    "key, other = jax.random.split(key)",
    'token = os.environ["TOKEN"]',
    "password: str",
    f'COMMIT = "{HEX}"',
    "config.wandb.project = 'mnist_digit_classification'",
)


def patch_of(*lines, name="mnist_jax/train.py"):
    body = "".join(f"+{line}\n" for line in lines)
    head = f"diff --git a/{name} b/{name}\nindex {HEX}..{HEX[::-1]} 100644\n--- a/{name}\n+++ b/{name}\n"
    return f"{head}@@ -1,0 +1,{len(lines)} @@\n{body}".encode()


@pytest.mark.parametrize("line", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("sign", "+- ")
def test_a_line_with_a_key_is_left_out_and_its_file_told(line, sign):
    patch = patch_of("before = 1", line, "after = 2").replace(f"+{line}".encode(), f"{sign}{line}".encode())
    found, files = redact(patch, {"zebra-umbrella"})
    assert found == patch.replace(line.encode(), LEFT_OUT.encode())
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


def test_what_is_no_key_stays():
    patch = patch_of(*HARMLESS)
    assert redact(patch, ()) == (patch, [])


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_a_patch_without_keys_stays_to_the_byte(parts):
    patch = patch_of("a = 1") + b"\n".join(parts)
    assert redact(patch, ())[0] == patch


def test_keys_are_told_by_the_names_of_variables():
    environment = {"WANDB_API_KEY": "long enough", "HF_TOKEN": "short", "KEYBOARD": "us-international"}
    assert keys_of(environment) == {"long enough"}


def test_what_is_left_of_a_patch_can_be_applied(tmp_path):
    patch, _ = redact(patch_of("a = 1", SECRETS["AWS"], "b = 2", name="new.py"), ())
    (tmp_path / "new.py").write_text("")
    subprocess.run(["git", "apply", "--unidiff-zero"], cwd=tmp_path, input=patch, check=True)
    assert (tmp_path / "new.py").read_text() == f"a = 1\n{LEFT_OUT}\nb = 2\n"
