import pytest

from mnist_jax.system.names import is_reserved


@pytest.mark.whole
def test_every_name_that_a_run_leaves_is_reserved(tiny_run):
    names = {path.name for path in tiny_run.iterdir()}
    assert {"run.json", "report.html", "checkpoints"} <= names
    assert [name for name in names if not is_reserved(name)] == []


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        ("wandb", True),
        ("tensorboard", True),
        ("output.log", True),
        ("optuna.db-journal", True),
        ("code-0123456789ab.patch", True),
        (".lock", True),
        ("RUN.JSON", True),
        ("learning_rate=0.1,seed=0", False),
        ("trial_0000", False),
        ("population_0", False),
        ("evaluation", False),
    ],
)
def test_names_of_members_are_free(name, reserved):
    assert is_reserved(name) == reserved
