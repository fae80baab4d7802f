"""A JAX/Flax training pipeline for small image classifiers, with runs that can be trusted and repeated.

    import mnist_jax

    config = mnist_jax.get_config("digits")
    config.train.epochs = 10
    record = mnist_jax.train(config, "runs/digits")
    model = mnist_jax.load("runs/digits")
    probabilities = model(images)  # uint8 (N, H, W, C)

`register_model` and `register_data` add models and data sets of your own; on the command line
`--import=MODULE` names the module that does so.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_jax.cli.config_flag import get_config as get_config
    from mnist_jax.data.dataset import register_data as register_data
    from mnist_jax.evaluation import evaluate_checkpoint as evaluate
    from mnist_jax.loop import train_and_evaluate as train
    from mnist_jax.models.registry import register_model as register_model
    from mnist_jax.serving.classifier import load_classifier as load
    from mnist_jax.system.errors import UserError as UserError

__version__ = "0.2.0"
__all__ = ["UserError", "evaluate", "get_config", "load", "register_data", "register_model", "train"]

# Imported on first use, so that `import mnist_jax` is fast.
_ATTRIBUTES = {
    "UserError": "system.errors.UserError",
    "evaluate": "evaluation.evaluate_checkpoint",
    "get_config": "cli.config_flag.get_config",
    "load": "serving.classifier.load_classifier",
    "register_data": "data.dataset.register_data",
    "register_model": "models.registry.register_model",
    "train": "loop.train_and_evaluate",
}


def __getattr__(name: str) -> Any:
    if name not in _ATTRIBUTES:
        raise AttributeError(f"module 'mnist_jax' has no attribute {name!r}")
    module, _, attribute = _ATTRIBUTES[name].rpartition(".")
    return getattr(importlib.import_module(f"mnist_jax.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
