"""The networks, as pure functions of parameters and images.

Door: `create_model`, `apply_model` and `register_model`. `registry.MODELS` names the networks.
"""

from mnist_jax.models.registry import (
    MODELS,
    Graph,
    abstract_model,
    apply_model,
    create_model,
    module_of_model,
    register_model,
    require_model,
)

__all__ = [
    "MODELS",
    "Graph",
    "abstract_model",
    "apply_model",
    "create_model",
    "module_of_model",
    "register_model",
    "require_model",
]
