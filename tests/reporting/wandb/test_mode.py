import itertools
import json
import os
import subprocess
import sys

import ml_collections
import pytest

from mnist_jax.reporting.wandb import mode as module
from mnist_jax.reporting.wandb.mode import (
    ClientSettings,
    ask_client,
    check_mode,
    effective_mode,
    start_asking,
    wandb_environment,
)
from mnist_jax.system.errors import UserError
from mnist_jax.system.installation import child_environment

pytestmark = pytest.mark.whole

VALUE = "k" * 40
KEY = {"WANDB_API" + "_KEY": VALUE}
LOGIN = "me:" + "pa55word"


def config(mode="auto"):
    return ml_collections.FrozenConfigDict({"mode": mode})


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A home and a folder of no user's; returns the home. No answer is left of another test."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("NETRC", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    module._answers.clear()
    return tmp_path / "home"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# Each: files, variables. ~ is the home.
SETTINGS = {
    "nothing": ({}, {}),
    "offline in the folder": ({"wandb/settings": "mode = offline"}, KEY),
    "offline in a hidden folder": ({".wandb/settings": "mode = offline"}, KEY),
    "offline of the user": ({"~/.config/wandb/settings": "mode = offline"}, KEY),
    "offline of the user, online in the folder": (
        {"~/.config/wandb/settings": "mode = offline", "wandb/settings": "mode = online"},
        KEY,
    ),
    "disabled of the user": ({"~/.config/wandb/settings": "mode = disabled"}, KEY),
    "a folder of settings": ({"~/else/settings": "mode = offline"}, {**KEY, "WANDB_CONFIG_DIR": "~/else"}),
    "offline in the folder, online in the environment": (
        {"wandb/settings": "mode = offline"},
        {**KEY, "WANDB_MODE": "online"},
    ),
    "dryrun": ({}, {**KEY, "WANDB_MODE": "dryrun"}),
    "run": ({}, {**KEY, "WANDB_MODE": "run"}),
    "shared": ({}, {**KEY, "WANDB_MODE": "shared"}),
    "what other libraries read": ({}, {**KEY, "WANDB_DISABLED": "true"}),
    "a key in the folder's settings": ({"wandb/settings": f"api_key = {VALUE}"}, {}),
    "netrc": ({"~/.netrc": f"machine api.wandb.ai login user password {VALUE}"}, {}),
    "netrc as on Windows": ({"~/_netrc": f"machine api.wandb.ai login user password {VALUE}"}, {}),
    "netrc by its variable": (
        {"~/keys": f"machine api.wandb.ai login user password {VALUE}"},
        {"NETRC": "~/keys"},
    ),
    "netrc of another host": (
        {"~/.netrc": f"machine api.wandb.ai login user password {VALUE}"},
        {"WANDB_BASE_URL": "https://example.org"},
    ),
    "netrc of a host in the settings": (
        {
            "~/.netrc": f"machine example.org:8080 login user password {VALUE}",
            "wandb/settings": "base_url = http://example.org:8080",
        },
        {},
    ),
    "a token in a file": ({"token": "x"}, {"WANDB_IDENTITY_TOKEN_FILE": "token"}),
    "project and entity": (
        {"wandb/settings": "project = a\nentity = b", "~/.config/wandb/settings": "project = c"},
        {**KEY, "WANDB_ENTITY": "d"},
    ),
}
CLIENT = """
import json, wandb
from wandb.sdk.lib import wbauth
from mnist_jax.reporting.wandb.client import client_settings
ours = client_settings()
settings = wandb.setup().settings
key = settings.api_key or settings.identity_token_file or wbauth.read_netrc_auth(host=settings.base_url)
print(json.dumps([ours, settings.mode, settings.base_url, bool(key)]))
"""


@pytest.mark.parametrize("name", SETTINGS)
def test_what_counts_for_the_client_counts_here(name, home, tmp_path, monkeypatch):
    files, variables = SETTINGS[name]
    for path, text in files.items():
        content = f"[default]\n{text}\n" if path.endswith("settings") else text
        write(tmp_path / "work" / path.replace("~", str(home)), content)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    environment = child_environment(wandb_environment())
    printed = subprocess.check_output([sys.executable, "-c", CLIENT], env=environment)
    answer, mode, base_url, has_key = json.loads(printed)
    ours = module._answers[module._key(wandb_environment())] = ClientSettings(**answer)
    assert ours.problem is None
    assert (ours.mode, ours.base_url, ours.has_key) == (mode, base_url, has_key)
    expected = {"dryrun": "offline", "offline": "offline", "disabled": "disabled"}.get(
        mode, "online" if has_key else "offline"
    )
    assert effective_mode(config(), wandb_environment()) == expected
    if name.startswith("offline of the user, "):
        assert expected == "online"
    elif "offline" in name and "online" not in name:
        assert expected == "offline"


@pytest.mark.parametrize(
    ("asked", "environment", "expected"),
    [
        ("online", {**KEY, "WANDB_MODE": "offline"}, "online"),
        ("offline", KEY, "offline"),
        ("disabled", KEY, "disabled"),
        ("auto", {**KEY, "WANDB_MODE": ""}, "online"),
        ("auto", {"WANDB_API" + "_KEY": ""}, "offline"),
    ],
)
def test_the_config_overrides_and_what_is_empty_is_not_set(asked, environment, expected, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert effective_mode(config(asked), wandb_environment()) == expected


@pytest.mark.parametrize(
    ("asked", "where"), [("online", "config.wandb.mode"), ("auto", "the mode in W&B's settings")]
)
def test_online_without_a_key_is_refused(asked, where, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(UserError, match=rf"^{where}.* \(got 'online'\): there is no WANDB_API_KEY"):
        effective_mode(config(asked), wandb_environment())


FAULTS = {
    "a mode that there is not": (
        {},
        {**KEY, "WANDB_MODE": "offlin"},
        "refuses the setting mode: Input should be",
    ),
    "such a one in a file": (
        {"wandb/settings": "[default]\nmode = offlin\n"},
        KEY,
        "cannot read its settings or",
    ),
    "a file of another form": (
        {"wandb/settings": "mode = offline\n"},
        KEY,
        "cannot read its settings or netrc",
    ),
    "a netrc of another form": ({"~/.netrc": "what is this"}, {}, "cannot read its settings or netrc"),
    "a short key": ({}, {"WANDB_API" + "_KEY": "short"}, "WANDB_API_KEY invalid: API key must have 40"),
    "an address that is none": (
        {},
        {**KEY, "WANDB_BASE_URL": f"https://{LOGIN}@wandb.ai"},
        "refuses the setting base_url: Value error, \\(an address\\) is not a valid server address",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_the_client_cannot_use_is_reported_and_the_run_is_offline(name, home, tmp_path, monkeypatch):
    files, variables, expected = FAULTS[name]
    for path, text in files.items():
        write(tmp_path / "work" / path.replace("~", str(home)), text)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    told: list[str] = []
    start_asking(config())
    check_mode(config(), told.append)
    assert effective_mode(config(), wandb_environment()) == "offline"
    line = told[-1]
    assert line.startswith("W&B: ")
    assert line.endswith("; the run is logged offline")
    assert not {VALUE, "pa55word", "short"} & set(line.replace("/", " ").split())
    with pytest.raises(UserError, match=expected):
        check_mode(config("online"), told.append)


def test_files_that_are_no_utf8_or_never_end_are_not_waited_for(home, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 5.0)
    (home / ".netrc").write_bytes(b"\xff\xfe")
    assert ask_client(wandb_environment()).problem
    (home / ".netrc").unlink()
    os.mkfifo(home / ".netrc")
    module._answers.clear()
    assert ask_client(wandb_environment()).problem == "its client takes more than 5 s to read its settings"


def test_it_is_asked_once_for_a_training_and_anew_for_the_next(home, monkeypatch):
    asked = itertools.count()
    real = module._ask
    monkeypatch.setattr(module, "_ask", lambda environment: (next(asked) and None) or real(environment))
    for _ in range(2):
        start_asking(config())
        check_mode(config(), print)
        assert effective_mode(config(), wandb_environment()) == "offline"
    start_asking(config(), ahead=True)  # by the command line, which the next call is not to repeat
    start_asking(config())
    check_mode(config(), print)
    assert next(asked) == 3
    start_asking(config("offline"))
    check_mode(config("offline"), print)
    assert next(asked) == 4


def test_dotenv_adds_what_the_environment_lacks_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_ENTITY", "mine")
    monkeypatch.setenv("WANDB_NAME", "")
    (tmp_path / ".env").write_text(
        "# a comment\nexport WANDB_NAME='k#$HOME'\nWANDB_ENTITY=yours\nAWS_REGION=s\nWANDB_NOTES=\n"
    )
    found = wandb_environment(tmp_path)
    assert found["WANDB_NAME"] == "k#$HOME"
    assert found["WANDB_ENTITY"] == "mine"
    assert not {"AWS_REGION", "WANDB_NOTES"} & found.keys()
    assert wandb_environment(tmp_path / "nowhere")["WANDB_ENTITY"] == "mine"
    monkeypatch.setenv("PYTHON_DOTENV_DISABLED", "1")
    assert "WANDB_NAME" not in wandb_environment(tmp_path)


def test_lines_that_do_not_count_and_passwords_in_addresses_are_reported_without_values(monkeypatch):
    (home_env := module.pathlib.Path(".env")).write_text(f"WANDB_API_KEY: {VALUE}\nA\nB=1\n")
    monkeypatch.setenv("WANDB_BASE_URL", f"https://{LOGIN}@example.org/x?token={VALUE}")
    assert wandb_environment()["WANDB_BASE_URL"] == "https://example.org/x"
    told: list[str] = []
    check_mode(config("offline"), told.append)
    assert told == [
        ".env: lines that are not NAME=VALUE are ignored: 1, 2",
        "WANDB_BASE_URL: user name and password are ignored; W&B uses a key",
    ]
    home_env.unlink()
