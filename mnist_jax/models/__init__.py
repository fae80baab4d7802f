"""The networks, as pure functions of parameters and images.

Door: `create_model` and `apply_model`. `registry.MODELS` names the networks.
"""

from mnist_jax.models.registry import MODELS, abstract_model, apply_model, create_model

__all__ = ["MODELS", "abstract_model", "apply_model", "create_model"]
