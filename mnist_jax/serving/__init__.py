"""Uses of a trained model: predictions, an exported program, a demo page.

Door: `classifier.load_classifier`.
"""
