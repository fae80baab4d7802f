import pytest

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.reporting.console import Console, print_result
from mnist_jax.training.plan import make_plan


def train_row(step, steps, loss, speed):
    return {
        "split": "train",
        "step": step,
        "epoch": step / 430,
        "steps": steps,
        "loss": loss,
        "accuracy": 0.5,
        "images_per_second": speed,
    }


@pytest.mark.parametrize(("speeds", "shown"), [((100.0, 300.0), "  150 images/s"), ((None, None), "")])
def test_without_a_terminal_each_evaluation_is_a_plain_line(capsys, speeds, shown):
    """Training is averaged over all steps since the evaluation before."""
    console = Console(make_plan(validate(default.get_config()), 55_000))
    console.start()
    console.log(train_row(100, 100, 3.0, speeds[0]))
    console.log(train_row(200, 100, 1.0, speeds[1]))
    console.log({"split": "validation", "step": 430, "epoch": 1.0007, "loss": 0.25, "accuracy": 0.9})
    console.log({"split": "validation", "step": 860, "epoch": 2.0014, "loss": 0.2, "accuracy": 0.95})
    console.log({"split": "test", "step": 860, "epoch": 2.0014, "loss": 0.25, "accuracy": 0.9})
    console.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"epoch 1.0/10.0  train loss 2.0000 accuracy 0.5000  validation loss 0.2500 accuracy 0.9000{shown}",
        "epoch 2.0/10.0  validation loss 0.2000 accuracy 0.9500",
    ]
    assert err == ""


def test_the_result_is_a_table_and_where_things_are(capsys, tmp_path):
    scores = {
        "accuracy": 0.98765,
        "macro_precision": None,
        "macro_recall": 0.5,
        "macro_f1": 0.25,
        "loss": 0.1,
    }
    scores |= {"macro_roc_auc": 0.99, "intervals": {"accuracy": [0.9, 0.99], "macro_f1": [None, None]}}
    record = {
        "data": {"name": "mnist/3.0.1", "splits": {"test": {"expression": "test"}}},
        "metrics": {"test": {**scores, "examples": 10_000}},
        "best": {"step": 9},
        "steps": 10,
        "train_seconds": 1.0,
        "wall_seconds": 2.0,
        "images_per_second": None,
    }
    print_result(record, tmp_path, "https://wandb.example/run")
    out = capsys.readouterr().out
    for text in (
        "mnist/3.0.1 test",
        "0.9877",
        "undefined",
        "10,000",
        "0.9000 to 0.9900",
        "best step 9 of 10",
        str(tmp_path / "run.json"),
        str(tmp_path / "report.html"),
        "https://wandb.example/run",
    ):
        assert text in out
