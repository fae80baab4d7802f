import os

import ml_collections
import pytest

from mnist_jax.reporting.wandb.process import effective_mode, wandb_environment
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole

KEY = {"WANDB_API_KEY": "k" * 40}


def config(mode):
    return ml_collections.FrozenConfigDict({"mode": mode})


@pytest.fixture(autouse=True)
def _no_netrc(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)


@pytest.mark.parametrize(
    ("mode", "environment", "expected"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": ""}, "offline"),
        ("auto", KEY, "online"),
        ("auto", {**KEY, "WANDB_MODE": "disabled"}, "disabled"),
        ("auto", {**KEY, "WANDB_MODE": "offline"}, "offline"),
        ("auto", {**KEY, "WANDB_MODE": "dryrun"}, "online"),
        ("online", {**KEY, "WANDB_MODE": "offline"}, "online"),
        ("offline", KEY, "offline"),
        ("disabled", KEY, "disabled"),
    ],
)
def test_the_mode_follows_config_environment_and_key(mode, environment, expected):
    assert effective_mode(config(mode), environment) == expected


@pytest.mark.parametrize("mode", ["online", "auto"])
def test_online_without_a_key_is_told(mode):
    with pytest.raises(UserError, match=r"config\.wandb\.mode .* no WANDB_API_KEY"):
        effective_mode(config(mode), {"WANDB_MODE": "online"})


def test_a_key_in_netrc_counts_for_its_host_alone(tmp_path):
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password " + "k" * 40)
    (tmp_path / ".netrc").chmod(0o600)
    assert effective_mode(config("auto"), {}) == "online"
    assert effective_mode(config("auto"), {"WANDB_BASE_URL": "https://elsewhere.org"}) == "offline"
    (tmp_path / ".netrc").write_text("what is this")
    assert effective_mode(config("auto"), {}) == "offline"


def test_dotenv_adds_what_the_environment_lacks_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_ENTITY", "mine")
    (tmp_path / ".env").write_text(
        "# a comment\nexport WANDB_API_KEY='k#$HOME'\nWANDB_ENTITY=yours\nAWS_SECRET=s\nWANDB_NOTES=\n"
    )
    found = wandb_environment(tmp_path)
    assert found["WANDB_API_KEY"] == "k#$HOME"
    assert found["WANDB_ENTITY"] == "mine"
    assert not {"AWS_SECRET", "WANDB_NOTES"} & found.keys()
    assert wandb_environment(tmp_path / "nowhere")["WANDB_ENTITY"] == "mine"


@pytest.mark.parametrize("content", [b"# caf\xe9\nWANDB_API_KEY=secret", None])
def test_a_dotenv_that_cannot_be_read_is_told_without_its_content(tmp_path, content):
    if content is None:
        pytest.skip("root reads everything") if os.getuid() == 0 else None
        (tmp_path / ".env").touch(mode=0)
    else:
        (tmp_path / ".env").write_bytes(content)
    with pytest.raises(UserError, match=r"\.env cannot be read: ") as raised:
        wandb_environment(tmp_path)
    assert "secret" not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__
