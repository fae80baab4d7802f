import pytest
from conftest import ROOT

from mnist_jax.config import reference
from mnist_jax.config.fields import FIELDS
from mnist_jax.storage import record
from mnist_jax.system.errors import UserError


@pytest.mark.parametrize(
    ("path", "render"),
    [
        ("configs/default.py", reference.render_default),
        ("docs/config.md", reference.render_page),
        ("docs/run-json.md", record.render_keys),
    ],
)
def test_generated_files_are_up_to_date(path, render):
    assert (ROOT / path).read_text(encoding="utf-8") == render(), f"run `make docs` to write {path}"


def test_the_help_lists_every_field_with_default_meaning_and_rule():
    text = reference.help_text()
    assert all(f"\n  --config.{name}=" in text for name in FIELDS)
    assert (
        "  --config.train.batch_size=128\n"
        "        examples per step; must be an integer from 1 to 2147483647\n" in text
    )
    assert max(map(len, text.splitlines())) <= 100


def test_a_field_is_described_in_one_line():
    assert reference.describe_field("train.batch_size") == (
        "config.train.batch_size: examples per step (default 128; must be an integer from 1 to 2147483647)"
    )
    with pytest.raises(UserError, match=r"^config.train.batchsize does not exist; did you mean"):
        reference.describe_field("train.batchsize")
