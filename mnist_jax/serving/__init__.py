"""A trained model, asked: about images, as an exported program, or on a page.

Door: `classifier.load_classifier`.
"""
