import os

import pytest
from conftest import ROOT, git

from mnist_jax.storage.git import Change
from mnist_jax.storage.redaction import known_keys, redacted, unsafe_files

# Put together here, so that nobody's search for keys in this repository finds any.
HEX = "".join(f"{digit:x}" for digit in [*range(16), *range(15, -1, -1), *range(3, 11)])
LETTERS = "aB3dE5fG7hJ9kL1m" + "N3pQ5rS7tU9vW1xY"
SECRETS = {
    "W&B's key": f'wandb.login(key="{HEX}")',
    "on the next line": f'wandb.login(\n    "{HEX}",\n)',
    "its newer kind": "key = 'wandb_v1_" + f"{LETTERS}'",
    "in an assignment": f'os.environ["WANDB_API_KEY"] = "{HEX}"',
    "in brackets below it": f'os.environ["WANDB_API_KEY"] = (\n    "{HEX}"\n)',
    "of any form below it": f'os.environ["SERVICE_TOKEN"] = (\n    "{LETTERS}"\n)',
    "behind a backslash": f'token = \\\n    "{LETTERS}"',
    "annotated": f'wandb_api_key: str = "{HEX}"',
    "annotated with a type of parts": f'access_token: str | None = "{LETTERS}"',
    "annotated with an expression": f'secret: Optional[str] = field(default="{LETTERS}")',
    "set by a function": f'os.environ.setdefault("HF_TOKEN", "{LETTERS}")',
    "in a table": f'{{\n    "api_key":\n        "{LETTERS}",\n}}',
    "in two parts": f'token = (\n    "{LETTERS[:9]}"\n    "{LETTERS[9:]}"\n)',
    "in three quotes": f'password = """{LETTERS}"""',
    "AWS": "id = 'AKIA" + "QWERTYUIOPASDFGH'",
    "GitHub": "x = 'ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789'",
    "GitHub's newer kind": "x = 'github_pat_" + "11ABCDEFG0abcdefghijkl_mnopqrstuvwx'",
    "OpenAI": "x = 'sk-proj-" + f"{LETTERS}'",
    "GitLab": "x = 'glpat-" + "aB3dE5fG7hJ9kL1mN3pQ'",
    "an address": "url = 'https://me:" + "pa55word@example.org/data'",
    "a password": "password = 'correct-horse-" + "battery'",
    "one that is known": "nothing but = 'zebra-umbrella'",
    "one that is known, in two parts": "nothing = ('zebra-' 'umbrella')",
    "a token": "login(token='hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH')",
    "a header": "headers = {'Authorization': 'Bearer " + "abcdefghijklmnop1234'}",
    "Google": "x = 'AIza" + "SyA1234567890abcdefghijklmnopqrstuv'",
    "a secret of any form": "client_secret = '" + "qwertzuiopasdfghjkl'",
    "one that is declared harmless": "id = 'AKIA" + "QWERTYUIOPASDFGH'  # pragma: allowlist secret",
    "bytes that are no UTF-8": "password = 'p\udce4ssw" + "ord12345'",
    "a private key": "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEpAIBAAK\n-----END RSA PRIVATE" + " KEY-----",
    "a private key of PGP": "-----BEGIN PGP PRIVATE" + " KEY BLOCK-----\nlQOYBF",
    "a text of letters at random": 'x = "dGhpcyBpcyBub3QgYSBzZWNyZXQsIGJ1dCBpdCBs' + 'b29rcyBsaWtlIG9uZQ=="',
}
HARMLESS = """
learning_rate = 0.1
key = jax.random.key(0)
key, other = jax.random.split(key)
token = os.environ["TOKEN"]
password: str
COMMIT = COMMITS[-1]
config.wandb.project = 'mnist_digit_classification'
key = jax.random.wrap_key_data(state.key)
tokens: collections.abc.Sequence[int]
rows.sort(key="accuracy")
"""


def unsafe(*sides, name="mnist_jax/train.py", keys=("zebra-umbrella",)):
    contents = [side.encode(errors="surrogateescape") if isinstance(side, str) else side for side in sides]
    return unsafe_files([Change(name, contents)], keys) == {name}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_file_with_a_key_is_unsafe_before_and_after(secret):
    far = "\n".join(f"x{i} = {i}" for i in range(100))
    planted = f"{HARMLESS}{far}\n{secret}\n{far}\n"
    assert unsafe(HARMLESS, planted)
    assert unsafe(planted, HARMLESS)
    assert unsafe(planted)


def test_files_without_keys_are_safe():
    assert not unsafe(HARMLESS, HARMLESS.replace("0.1", "0.2"))
    changes = [Change("a.py", [b"a\n"]), Change("b.py", [SECRETS["AWS"].encode()])]
    assert unsafe_files(changes, ()) == {"b.py"}
    assert unsafe_files([], ()) == set()


@pytest.mark.parametrize(
    "name", ["a.py", "a.svg", "package-lock.json", "a", "a.b\u00e9", "caf\u00e9/x.py", "\udce9.py"]
)
def test_no_name_hides_a_key(name):
    assert unsafe(SECRETS["GitHub"], name=name)


@pytest.mark.parametrize("name", ["settings.yaml", "deploy.env", "run.sh", "x.toml", "a.cfg"])
@pytest.mark.parametrize(
    "line", ["API_KEY: abcdefgh12", "export DB_PASSWORD=abcdefgh12", "  token = abcdefgh12"]
)
def test_settings_need_no_quotes(name, line):
    assert unsafe(f"a: 1\n{line}\nb: 2\n", name=name)


@pytest.mark.parametrize(
    "content",
    [b"GIF89a\0\1\2", "key".encode("utf-16"), b"x" * 20_001, None],
    ids=["no text", "UTF-16", "a long line", "large or no file"],
)
def test_what_cannot_be_searched_is_unsafe(content):
    assert unsafe("a = 1\n", content, name="x.bin")


def test_a_dotenv_is_unsafe_whatever_it_has():
    assert unsafe("A=1\n", name="configs/.env")


def test_other_locales_hide_nothing(monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda _=True: "euc_jp")
    assert unsafe("# caf\u00e9 \udce9\n" + SECRETS["GitHub"])


@pytest.mark.whole
def test_the_files_of_this_program_are_safe():
    """Else the patch of whoever changes them would lack them."""
    names = git(ROOT, "ls-files", "--", "*.py", "*.jinja", "*.md", "*.toml", "*.sh").splitlines()
    if not names:
        pytest.skip("the tests do not lie in a git checkout")
    changes = [Change(name, [(ROOT / name).read_bytes()]) for name in names if (ROOT / name).exists()]
    assert unsafe_files(changes, ()) == set()


def test_keys_are_told_by_the_names_of_variables(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if "://" in os.environ[name]]:
        monkeypatch.delenv(name)
    given = {"WANDB_API" + "_KEY": "long enough", "X_TOKEN": "short", "KEYBOARD": "us-english"}
    given |= {"HTTPS_PROXY": "http://me:" + "of-the-proxy@proxy:3128"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text(
        "HF_TOKEN=of-the-file\n"
        + "OTHER=something\n"
        + "WANDB_API_KEY=another-key\n"
        + "WANDB_BASE_URL=https://me:"
        + "of-the-server@example.org\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password of-the-netrc\n")
    (tmp_path / "_netrc").write_text("machine api.wandb.ai login user password of-the-other\n")
    (tmp_path / "third").write_text("machine api.wandb.ai login user password of-the-third\n")
    expected = {"long enough", "another-key", "of-the-file", "of-the-proxy", "of-the-server"}
    known = known_keys()
    assert expected | {"of-the-netrc", "of-the-other"} <= known
    assert not {"short", "us-english", "something"} & known
    monkeypatch.setenv("NETRC", "~/third")
    assert expected | {"of-the-third"} <= known_keys()


def test_printed_keys_and_passwords_are_replaced_and_the_rest_is_kept():
    line = "epoch 1.0/2.0  train loss 0.12  validation accuracy 0.98"
    assert redacted(line, {"zebra-umbrella"}) == line
    login = "https://me:" + "pa55word@example.org/data"
    text = f"{line}\nis zebra-umbrella at {login} and {SECRETS['its newer kind']}"
    assert redacted(text, {"zebra-umbrella"}).splitlines() == [
        line,
        "is [redacted] at https://[redacted]@example.org/data and [redacted]",
    ]


@pytest.mark.parametrize(
    "key",
    [
        "ghp" + "_0123456789abcdefABCDEF0123456789abcd",
        "glpat" + "-0123456789abcdefABCD",
        "xoxb" + "-0123456789-abc",
        "sk" + "_live_0123456789abcdef",
        "AKIA" + "0123456789ABCDEF",
        "eyJ" + "hbGciOiJIUzI1.eyJzdWIiOiIx.SflKxwRJ",
    ],
)
def test_forms_of_other_keys_are_replaced_in_printed_lines(key):
    assert redacted(f"at {key} now", set()) == "at [redacted] now"
    query = f"https://example.org/x?a=1&access_token={key}"
    assert redacted(query, set()) == "https://example.org/x?a=1&[redacted]"


@pytest.mark.parametrize("name", [".env", ".netrc"])
def test_pipes_are_not_waited_for(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("X_TOKEN", "long enough")
    os.mkfifo(tmp_path / name)
    assert "long enough" in known_keys()
