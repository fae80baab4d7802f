"""Weights & Biases: a separate process writes and uploads the log, and training never waits for it.

Door: `process.WandbProcess`.
"""
