"""Training on devices: the step, the optimizer and its schedule, and predictions of whole splits.

Door: `trainer.Trainer`. `predictor` evaluates trained models without a trainer.
"""
