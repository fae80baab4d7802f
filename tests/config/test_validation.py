import importlib
import json
import pathlib

import ml_collections
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import default
from mnist_jax.config.fields import FIELDS
from mnist_jax.config.validation import from_record, validate
from mnist_jax.system.errors import UserError

CONFIGS = [
    path.stem for path in pathlib.Path(default.__file__).parent.glob("*.py") if path.stem != "__init__"
]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_valid_and_says_how_to_run_it(name):
    module = importlib.import_module(f"configs.{name}")
    validate(module.get_config())
    if name != "default":
        assert f"python main.py --config=configs/{name}.py" in module.__doc__


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("train.batch_size", 0, "config.train.batch_size must be an integer of at least 1 (got 0)"),
        ("train.epochs", -1, "config.train.epochs must be an integer of at least 1 (got -1)"),
        (
            "seed",
            2**31,
            "config.seed must be an integer of at least 0 and less than 2147483648 (got 2147483648)",
        ),
        ("model.widths", (8, 2**31), "each an integer of at least 1 and less than 2147483648 (got (8, 2147"),
        ("dtype", "float64", "one of float32, bfloat16"),
        ("model.widths", (), "must be a tuple of one or more entries, each an integer of at least 1 (got ()"),
        ("model.widths", (8, 0), "each an integer of at least 1"),
        ("model.dropout", 1.0, "a number of at least 0 and less than 1 (got 1.0)"),
        ("optimizer.learning_rate", float("nan"), "a number greater than 0 and at most 1e9"),
        ("optimizer.learning_rate", float("inf"), "a number greater than 0 and at most 1e9"),
        ("schedule.warmup", 1e308, "a number from 0 to 1e9"),
        ("data.name", " ", "a non-empty string"),
    ],
)
def test_a_wrong_value_is_reported_with_the_rule_of_its_field(field, value, expected):
    config = default.get_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        validate(config)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"optimizer.name": "adam", "optimizer.weight_decay": 0.1},
            "config.optimizer.weight_decay must be 0 with adam (got 0.1); for weight decay use",
        ),
        (
            {"schedule.warmup": 2.0},
            "config.schedule.warmup must be a fraction of the run, less than 1 (got 2); for epochs use",
        ),
        ({"schedule.warmup": 0.0}, "config.schedule.warmup must be greater than 0 with one_cycle (got 0)"),
        (
            {"schedule.name": "step", "schedule.boundaries": (5.0, 3.0)},
            "config.schedule.boundaries must increase (got (5.0, 3.0))",
        ),
        (
            {"train.steps": 7, "train.accumulate": 4},
            "config.train.steps must be a multiple of config.train.accumulate, 4 (got 7)",
        ),
        ({"data.mean": (0.1, 0.2)}, "must have the same number of entries (got 2 and 1)"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, expected):
    config = default.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError) as caught:
        validate(config)
    assert expected in str(caught.value)


def test_an_unknown_field_is_reported_with_the_most_similar():
    config = default.get_config().unlock()
    config.train.batchsize = 3
    with pytest.raises(
        UserError, match=r"config.train.batchsize does not exist; did you mean config.train.batch_size"
    ):
        validate(config)


def test_a_missing_field_is_reported():
    config = default.get_config().unlock()
    del config.train.epochs
    with pytest.raises(UserError, match=r"config.train.epochs must be in the config"):
        validate(config)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.integers() | st.floats(), max_size=3).map(tuple),
)


@given(st.sampled_from(sorted(FIELDS)), anything)
def test_any_value_is_accepted_or_refused_in_one_line(field, value):
    config = ml_collections.ConfigDict(default.get_config().to_dict(), type_safe=False)
    config.update_from_flattened_dict({field: value})
    try:
        frozen = validate(config)
    except UserError as refused:
        message = str(refused)
    else:
        assert isinstance(frozen, ml_collections.FrozenConfigDict)
        message = f"config.{field} is accepted"
    assert "config." in message
    assert "\n" not in message


def test_a_config_of_json_is_the_config_again():
    config = default.get_config()
    read = from_record(json.loads(json.dumps(config.to_dict())))
    assert read.to_dict() == config.to_dict()
