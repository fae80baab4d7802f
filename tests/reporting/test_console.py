import io
import re

import pytest

from configs import default
from mnist_jax.config.validation import validate
from mnist_jax.reporting.console import Console, _print_members, decimal, print_result
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


@pytest.mark.parametrize(("speeds", "shown"), [((100.0, 300.0), "        150"), ((None, None), "")])
def test_each_evaluation_is_a_line_under_the_names_of_its_columns(capsys, speeds, shown):
    """Training is averaged over all steps since the evaluation before."""
    console = Console(make_plan(validate(default.get_config()), 55_000), 128)
    console.start()
    console.log(train_row(100, 100, 3.0, speeds[0]))
    console.log(train_row(200, 100, 1.0, speeds[1]))
    console.log({"split": "validation", "step": 430, "epoch": 1.0007, "loss": 0.25, "accuracy": 0.9})
    console.log({"split": "validation", "step": 860, "epoch": 2.0014, "loss": 2e-6, "accuracy": 0.95})
    console.log({"split": "test", "step": 860, "epoch": 2.0014, "loss": 0.25, "accuracy": 0.9})
    console.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        " epoch     step  train loss  accuracy  validation loss  accuracy   images/s",
        f"   1.0      430      2.0000    0.5000           0.2500    0.9000{shown}",
        "   2.0      860                                2.0e-06    0.9500",
    ]
    assert err == ""


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_terminal_shows_each_line_whole_and_a_bar_of_one_width(monkeypatch, width):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    console = Console(make_plan(validate(default.get_config()), 55_000), 128)
    for step, speed in ((100, None), (200, 9.0), (300, 1_234_567.0)):
        console.log(train_row(step, 100, 1.0, speed))
        console._bar.refresh()
        console.start()
    console.log({"split": "validation", "step": 4297, "epoch": 10.0, "loss": 0.25, "accuracy": 0.9})
    console.close()
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", screen.getvalue())]
    assert max(map(len, lines)) <= width
    assert len({len(re.findall("[━╸╺]", line)) for line in lines if "%" in line}) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.98765, "0.9877"), (0.0, "0.0000"), (-0.0, "0.0000"), (2e-6, "2.0e-06"), (-2e-6, "-2.0e-06")],
)
def test_a_number_is_never_zero_by_rounding(value, text):
    assert decimal(value) == text


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


def test_the_members_of_a_population_fit_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    scores = {"accuracy": 0.9, "macro_f1": 0.9, "loss": 2e-6}
    member = {"status": "finished", "validation": scores, "test": scores, "best": {"step": 12345}}
    names = ["learning_rate=0.05,momentum=0.9,seed=10", "b"]
    _print_members([{**member, "member": name} for name in names], {"metric": "loss", "member": "b"})
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "2.0e-06" in out
