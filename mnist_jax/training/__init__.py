"""Training on devices: the step, the optimizer and its schedule, and predictions of whole splits.

Door: `trainer.Trainer`. `predictor` needs no trainer, for models that are trained.
"""
