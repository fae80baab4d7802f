"""A JAX/Flax training pipeline for small image classifiers whose runs can be trusted and repeated."""

__version__ = "0.2.0"
