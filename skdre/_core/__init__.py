"""What every room stands on: rows and their weights, folds, and column scales."""
