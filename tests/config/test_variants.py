import pathlib
import re
import sys
from unittest import mock

import pytest
from absl import flags
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import config_flags
from scipy.stats import loguniform
from sklearn.model_selection import ParameterGrid, ParameterSampler

from configs import digits
from mnist_jax.config.population import grouped
from mnist_jax.config.variants import called, flags_of, load_file, members_of, named, over_folds, over_seeds
from mnist_jax.system.errors import UserError

SWEEPS = pathlib.Path("configs/sweeps")


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_every_sweep_here_says_how_to_run_it(path):
    assert f"--sweep={path.stem} " in path.read_text()


def test_the_reports_experiments_are_six_settings_with_three_seeds():
    members = members_of(digits.get_config(), load_file("configs/sweeps/report.py", "get_sweep")())
    assert len(members) == 18
    assert {member.config.seed for member in members} == {0, 1, 2}
    by_name = {member.name: member.config for member in members}
    assert by_name["baseline-seed_0"].train.batch_size == 128
    assert by_name["one_more_layer-seed_1"].model.widths == (32, 64, 128)
    worst = by_name["sgd_batch_256-seed_2"]
    assert (worst.optimizer.name, worst.optimizer.learning_rate, worst.train.batch_size) == ("sgd", 0.01, 256)


def test_grids_and_random_settings_are_named_by_what_they_are():
    grid = named(ParameterGrid({"train.batch_size": [64, 256], "model.widths": [(8, 8)]}))
    assert set(grid) == {"widths=8_8,batch_size=64", "widths=8_8,batch_size=256"}
    spaces = {"optimizer.learning_rate": loguniform(1e-3, 1)}
    drawn = named(ParameterSampler(spaces, 5, random_state=0))
    assert drawn == named(ParameterSampler(spaces, 5, random_state=0))
    assert len(members_of(digits.get_config(), drawn)) == 5


@pytest.mark.parametrize(
    "space",
    [
        {"data.train": ["train[:50%]", "train[50%:]"]},
        {"optimizer.learning_rate": [0.1, 0.1000001]},
    ],
)
def test_settings_of_one_name_are_refused(space):
    with pytest.raises(UserError, match="^the settings of a sweep must have different names "):
        named(ParameterGrid(space))


def test_numbers_of_numpy_are_written_as_pythons():
    drawn = ParameterSampler({"optimizer.learning_rate": loguniform(1e-3, 1)}, 3, random_state=0)
    members = members_of(digits.get_config(), named(drawn))
    assert all(
        re.fullmatch(r"--config.optimizer.learning_rate=[\d.]+", *flags_of(m.overrides)) for m in members
    )
    (together,) = grouped(digits.get_config(), members)
    rates = next(flag for flag in flags_of(together.overrides) if "population.learning_rate" in flag)
    assert re.fullmatch(r"--config.population.learning_rate=\(([\d.]+, ){2}[\d.]+\)", rates)


def test_seeds_are_a_dimension_of_their_own():
    sweep = over_seeds({"a": {}, "b": {"train.epochs": 3}}, (4, 7))
    assert list(sweep) == ["a-seed_4", "b-seed_4", "a-seed_7", "b-seed_7"]
    assert sweep["b-seed_7"] == {"train.epochs": 3, "seed": 7}


def test_folds_are_a_dimension_of_their_own():
    sweep = over_folds({"a": {}, "b": {"train.epochs": 3}}, 2, seed=7)
    assert list(sweep) == ["a-fold_0", "b-fold_0", "a-fold_1", "b-fold_1"]
    assert sweep["b-fold_1"] == {"train.epochs": 3, "data.folds": 2, "data.fold_seed": 7, "data.fold": 1}
    assert len(members_of(digits.get_config(), over_seeds(sweep, range(3)))) == 12
    with pytest.raises(UserError, match=r"config.data.fold must be less than config.data.folds"):
        members_of(digits.get_config(), over_folds({"a": {}}, 1))


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({}, "must return a dict from names"),
        ([{"seed": 1}], "must return a dict from names"),
        ({"a/b": {"seed": 1}}, "must be at most 151 letters, digits and .,=+-_ (got 'a/b')"),
        ({"..": {}}, "(got '..')"),
        ({"a": {"trian.epochs": 3}}, "member a: config.trian.epochs does not exist; did you mean"),
        (
            {"a": {"train.epochs": 0}},
            "member a: config.train.epochs must be an integer of at least 1 (got 0)",
        ),
        ({"a": {"train": 3}}, "member a: config.train must be followed by a field"),
        ({"a": None}, "member a: its changes must be a dict from fields to values (got None)"),
        ({"a": {}, "b": {"seed": 0}}, "the members a and b must be different runs"),
        ({"a": {}, "b": {"wandb.name": "b"}}, "the members a and b must be different runs"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_anything_runs(sweep, expected):
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        members_of(digits.get_config(), sweep)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (None, "must be a file; those of this program are in"),
        ("def get_sweep(:", "SyntaxError"),
        ("x = 1", "must have a function get_sweep()"),
        ("import no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path, program, expected):
    path = tmp_path / "sweep.py"
    if program:
        path.write_text(program)
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        load_file(str(path), "get_sweep")
    assert expected in str(caught.value)


def test_what_a_sweeps_function_raises_is_told():
    def get_sweep():
        return 1 / 0

    with pytest.raises(
        UserError, match=r"^get_sweep\(\) of the sweep's file: ZeroDivisionError: division by"
    ):
        called(get_sweep)


overrides = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**31 - 1),
        "model.widths": st.lists(st.integers(1, 512), min_size=1, max_size=4).map(tuple),
        "data.mean": st.lists(st.floats(0, 1), min_size=1, max_size=1).map(tuple),
        "optimizer.learning_rate": st.floats(1e-9, 1e3),
        "optimizer.momentum": st.floats(0, 0.999) | st.just(0),
        "augment.flip": st.booleans(),
        "model.norm": st.sampled_from(["none", "batch"]),
        "wandb.notes": st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    },
)


@given(overrides)
def test_the_flags_of_a_member_give_its_config(changes):
    (member,) = members_of(digits.get_config(), {"a": changes})
    values, argv = flags.FlagValues(), ["main.py", "--config=configs/digits.py", *flags_of(member.overrides)]
    with mock.patch.object(sys, "argv", argv):  # where ml_collections looks for fields
        config_flags.DEFINE_config_file("config", flag_values=values)
        values(argv)
    assert values.config.to_dict() == member.config.to_dict()
