import pytest
from conftest import ROOT

from configs import default
from mnist_jax.config import reference
from mnist_jax.config.fields import FIELDS, GROUPS, default_config
from mnist_jax.storage import record


@pytest.mark.parametrize(
    ("path", "render"),
    [
        ("configs/default.py", reference.render_default),
        ("docs/config.md", reference.render_page),
        ("docs/run-json.md", record.render_page),
    ],
)
def test_what_is_generated_is_up_to_date(path, render):
    """`make docs` writes it."""
    assert (ROOT / path).read_text() == render()


def test_the_default_config_is_the_table():
    assert default.get_config().to_dict() == default_config().to_dict()
    assert default.get_config().is_locked


def test_every_default_follows_its_rule_and_every_field_has_a_group_and_help():
    for name, field in FIELDS.items():
        assert field.rule.accepts(field.default), name
        assert field.help, name
        assert name.rpartition(".")[0] in GROUPS, name


def test_the_help_names_every_field_with_its_default():
    text = reference.help_text()
    assert all(f"--config.{name}=" in text for name in FIELDS)
    assert "--config.train.batch_size=128\n" in text
