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
    ("name", "near"),
    [
        ("train.batchsize", "train.batch_size"),
        ("trian.epochs", "train.epochs"),
        ("warmup", "schedule.warmup"),
        ("optimizer.lr", "optimizer.learning_rate"),
        ("train.lr", "optimizer.learning_rate"),
        ("wd", "optimizer.weight_decay"),
        ("batch-size", "train.batch_size"),
        ("data.batch_size", "train.batch_size"),
        ("eval.every", "evaluation.every_steps"),
        ("num_epochs", "train.epochs"),
        ("train.momentum", "optimizer.momentum"),
        ("model.hidden", "model.dense"),
        ("model.type", "model.name"),
        ("dataset", "data.name"),
        ("optimizer.beta1", "optimizer.b1"),
        ("\u2603", None),
        ("workers", None),
    ],
)
def test_an_unknown_field_is_reported_with_the_most_similar(name, near):
    hint = f"did you mean config.{near}?" if near else "--help config lists every field"
    assert unknown_field(name) == f"config.{name} does not exist; {hint}"


def test_a_group_is_reported_with_its_fields():
    told = unknown_field("checkpoint")
    assert told == "config.checkpoint must be followed by a field of this group: metric, keep, every_steps"
    assert unknown_field("trian").endswith("; did you mean config.train, a group of fields?")
