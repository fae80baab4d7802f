import pytest

from configs import default
from mnist_jax.config.fields import FIELDS, GROUPS, IN_EVERY_RECORD, default_config, unknown_field


def test_the_default_config_has_the_fields_and_defaults_of_the_table():
    config = default_config()
    assert config.to_dict() == default.get_config().to_dict()
    assert config.is_locked


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_has_a_group_a_help_and_values_that_follow_its_rule(name):
    field = FIELDS[name]
    assert name.rpartition(".")[0] in GROUPS
    assert field.help
    assert field.help == field.help.strip(" .")
    assert "\n" not in field.help
    assert field.rule.accepts(field.default)
    assert field.earlier is IN_EVERY_RECORD or field.rule.accepts(field.earlier)


def test_the_fields_of_a_group_stand_together():
    groups = [name.rpartition(".")[0] for name in FIELDS]
    assert list(dict.fromkeys(groups)) == list(GROUPS)
    assert groups == sorted(groups, key=list(GROUPS).index)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.batchsize", "config.train.batchsize does not exist; did you mean config.train.batch_size?"),
        ("warmup", "config.warmup does not exist; did you mean config.schedule.warmup?"),
        ("☃", "config.☃ does not exist; configs/default.py lists every field"),
    ],
)
def test_an_unknown_field_is_reported_with_the_most_similar(name, expected):
    assert unknown_field(name) == expected
