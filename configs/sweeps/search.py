"""A space to search: learning rate, batch size, regularization and width of the network.

    mnist-jax sweep --config=mnist --sweep=search --workdir=runs/search \
        --search=optuna --trials=30
"""

import optuna

from mnist_jax.config.variants import Overrides


def suggest(trial: optuna.Trial) -> Overrides:
    width = trial.suggest_categorical("width", [16, 32, 64])
    return {
        "optimizer.learning_rate": trial.suggest_float("learning_rate", 0.01, 0.5, log=True),
        "optimizer.weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True),
        "train.batch_size": trial.suggest_categorical("batch_size", [64, 128, 256]),
        "train.label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
        "model.dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "model.widths": (width, 2 * width),
    }
