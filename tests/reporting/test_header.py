"""The facts of a run that are printed before it trains."""

import pytest

from configs import digits, mnist_fast
from mnist_jax.config.validation import validate
from mnist_jax.reporting.header import header
from mnist_jax.training.plan import make_plan

CPU = {"platform": "cpu", "kind": "cpu", "cores_usable": 8, "count": 1, "processes": 1}
GPUS = {"platform": "gpu", "kind": "NVIDIA H100 80GB HBM3", "cores_usable": 8, "count": 8, "processes": 2}


def lines_of(config, accelerator=CPU, *, step=0, wandb_mode="offline", workdir="runs/digits", **data):
    record = {
        "data": {
            "name": "digits/1.0.0",
            "classes": list("0123456789"),
            "splits": {role: {"examples": 1197} for role in ("train", "validation", "test")},
            **data,
        },
        "environment": {"cpu": "AMD EPYC", "accelerator": accelerator},
        "parameters": 87_274,
    }
    config = validate(config)
    plan = make_plan(config, 1197)
    return header(config, record, plan, workdir, step=step, wandb_mode=wandb_mode)


def test_a_new_run():
    assert lines_of(digits.get_config()) == [
        "data       digits/1.0.0: 1,197 train, 1,197 validation, 1,197 test; 10 classes",
        "model      cnn, 87,274 parameters",
        "optimizer  sgd, learning rate 0.1; one_cycle, warmup over 20% of the run",
        "device     CPU (AMD EPYC), 8 cores, float32",
        "length     30.0 epochs, 1,123 steps of 32 examples",
        "workdir    runs/digits",
        "W&B        offline (W&B has no API key here, or is set so)",
    ]


def test_a_resumed_run_of_a_population_on_several_devices():
    config = digits.get_config()
    config.population.learning_rate, config.train.patience = (0.05, 0.2), 0
    config.schedule.unit, config.schedule.warmup = "epochs", 2.0
    config.wandb.mode = "online"
    lines = lines_of(config, GPUS, step=300, wandb_mode="online")
    assert "model      2 x cnn, 43,637 parameters each" in lines
    assert "optimizer  sgd, learning rate 0.05 to 0.2; one_cycle, warmup over 2 epochs" in lines
    assert "device     8 x NVIDIA H100 80GB HBM3, 2 processes, float32" in lines
    assert lines[-2:] == ["W&B        online", "resumes    after step 300 of 1123, epoch 8.0"]


def test_it_says_what_a_config_does_silently_and_breaks_long_lines_at_spaces():
    config = mnist_fast.get_config()
    config.train.label_smoothing, config.augment.mixup = 0.1, 0.2
    config.train.patience = 4
    folder = "/" + "a" * 90
    lines = lines_of(config, wandb_mode="disabled", workdir=folder, name="a folder " * 12)
    assert "W&B        off (config.wandb.mode is disabled)" in lines
    assert "loss       train: with label smoothing 0.1, mixup; validation: without" in lines
    assert any("fewer after 4 evaluations" in line for line in lines)
    assert f"workdir    {folder}" in lines
    assert max(len(line) for line in lines if folder not in line) <= 80


@pytest.mark.parametrize("name", ["cifar10_best", "mnist_best", "kmnist", "folder", "table"])
def test_no_line_of_a_config_of_this_program_is_too_long(name):
    from mnist_jax.cli.config_flag import get_config

    assert max(map(len, lines_of(get_config(name)))) <= 80
