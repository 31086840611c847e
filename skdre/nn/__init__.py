"""Torch parts that are no estimators: the training loop."""
