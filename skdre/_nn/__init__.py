"""Torch parts that are no estimators: training loop, networks, batches."""
