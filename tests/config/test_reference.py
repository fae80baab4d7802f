import pytest

from mnist_jax.config import reference
from mnist_jax.config.fields import FIELDS
from mnist_jax.system.errors import UserError


def test_the_help_lists_every_field_with_default_meaning_and_rule():
    text = reference.help_text("", 80)
    assert all(f"\n  --config.{name}=" in text for name in FIELDS)
    assert (
        "  --config.train.batch_size=128\n"
        "        examples per step; must be an integer of at least 1\n" in text
    )
    assert max(len(line) for line in text.splitlines() if not line.startswith("  --")) <= 80
    names = reference.list_fields(80)
    assert all(name.rpartition(".")[2] in names for name in FIELDS)
    assert max(map(len, names.splitlines())) <= 80


@pytest.mark.parametrize("asked", ["train", "train.batch_size", "seed"])
def test_the_help_of_a_group_or_field(asked):
    flags = [line for line in reference.help_text(asked, 80).splitlines() if line.startswith("  --")]
    assert len(flags) == sum(name == asked or name.startswith(f"{asked}.") for name in FIELDS)


def test_the_help_of_what_does_not_exist():
    with pytest.raises(UserError, match=r"^config.train.batchsize does not exist; did you mean"):
        reference.help_text("train.batchsize", 80)
