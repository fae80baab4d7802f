"""Metrics of predictions: NumPy arrays in, numbers out.

Door: `detailed.evaluate_in_detail`. `confusion` has what a confusion matrix gives, `curves` ROC and
precision-recall, `calibration` and `intervals` what their names say, `significance` tests of differences.
"""
