import pytest

from configs import digits
from mnist_jax.config.population import VARIED, grouped, is_population, members_in
from mnist_jax.config.validation import validate
from mnist_jax.config.variants import members_of
from mnist_jax.system.errors import UserError


def asking(config, **fields):
    config.population.update(fields)
    return validate(config)


def test_seeds_and_values_make_members(tiny_config):
    assert not is_population(validate(tiny_config))
    config = asking(tiny_config, seeds=2, learning_rate=(0.1, 0.2), dropout=(0.0, 0.5))
    assert is_population(config)
    members = members_in(config)
    assert [member.name for member in members] == [
        "learning_rate=0.1,dropout=0,seed=0",
        "learning_rate=0.1,dropout=0,seed=1",
        "learning_rate=0.2,dropout=0.5,seed=0",
        "learning_rate=0.2,dropout=0.5,seed=1",
    ]
    last = members[-1].config
    assert (last.seed, last.optimizer.learning_rate, last.model.dropout) == (1, 0.2, 0.5)
    assert not is_population(last)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"learning_rate": (0.1, 0.2), "momentum": (0.9,)},
            "must have tuples of one length (got 2 of learning_rate, ",
        ),
        ({"seeds": 2, "seed": (1, 2)}, "must have seeds or seed, not both"),
        ({"seeds": 2, "names": ("a",)}, "names must have a name for each of the 2 members (got 1)"),
        ({"seeds": 2, "names": ("a", "a")}, "names must be different (got ('a', 'a'))"),
        ({"seeds": 2, "names": ("a", "../b")}, "(got '../b')"),
        ({"seed": (1, 1), "names": ("a", "b")}, "the members a and b must be different runs"),
        ({"seeds": 2, "names": ("a", "report.html")}, "(got 'report.html'); rename it"),
        ({"seeds": 2, "names": ("a", "Checkpoints")}, "(got 'Checkpoints'); rename it"),
        ({"seeds": 2, "names": ("a", "evaluation-3.html")}, "(got 'evaluation-3.html'); rename it"),
        ({"seeds": 2, "names": ("Net", "net")}, "the members Net and net must differ in more than case"),
        ({"seeds": 2, "names": ("a", "..")}, "(got '..')"),
        ({"seeds": 2, "names": ("a", "ü" * 100)}, "the name of a member must be at most 151 letters"),
    ],
)
def test_a_population_that_cannot_be_is_told(tiny_config, fields, expected):
    config = asking(tiny_config, **fields)
    with pytest.raises(UserError, match="^[^\n]+$") as caught:
        members_in(config)
    assert expected in str(caught.value)


def test_members_of_a_sweep_that_end_at_steps_of_their_own_are_not_put_together():
    base = digits.get_config()
    base.train.patience = 3
    members = members_of(base, {"a": {"seed": 1}, "b": {"seed": 2}})
    with pytest.raises(UserError, match=r"^config.train.patience must be 0 in a population \(got 3\)[^\n]+$"):
        grouped(base, members)


def test_members_of_a_sweep_that_differ_in_numbers_are_put_together():
    base = digits.get_config()
    members = members_of(
        base,
        {
            "a": {"optimizer.learning_rate": 0.1},
            "wide": {"model.widths": (64,), "seed": 3},
            "b": {"seed": 1, "model.dropout": 0.1},
            "wide_b": {"model.widths": (64,), "seed": 4},
            "long": {"train.epochs": 99},
        },
    )
    together = grouped(base, members)
    assert [one.name for one in together] == ["population_0", "population_1", "long"]
    again = [*members_in(together[0].config), *members_in(together[1].config), together[2]]
    by_name = {member.name: member.config for member in members}
    assert {one.name: one.config for one in again} == by_name
    assert set(VARIED) == {"seed", "learning_rate", "momentum", "weight_decay", "label_smoothing", "dropout"}
