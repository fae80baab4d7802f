"""Weights & Biases, written and uploaded by a process of its own, for which training never waits.

Door: `process.WandbProcess`.
"""
