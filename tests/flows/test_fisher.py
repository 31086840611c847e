"""Gradients of a flow's log density against finite differences."""

import numpy as np
import pytest
import torch

from skdre import FlowFeaturizer
from skdre.flows._gaussian import GaussianFlow
from skdre.flows._likelihood import parameter_gradients


def rows(n=40, d=3, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, d))
    X[:, 1] += X[:, 0] ** 2
    return X


@pytest.mark.parametrize(
    "flow", ["maf", "nsf", "realnvp", "ffjord", "gaussian", "copula"]
)
def test_finite_differences(flow):
    model = FlowFeaturizer(
        flow, n_transforms=2, hidden_features=(4,), max_epochs=2, random_state=0
    ).fit(rows())
    new = rows(5, seed=1)
    scores = model.fisher_scores(new)
    parameters = list(model.flow_.parameters())
    assert scores.shape == (5, sum(each.numel() for each in parameters))
    assert not any(each.requires_grad for each in parameters)

    rng = np.random.default_rng(0)
    step = 1e-4 if flow == "ffjord" else 1e-6
    for _ in range(3):
        direction = rng.normal(size=scores.shape[1])
        parts = torch.split(
            torch.as_tensor(direction), [each.numel() for each in parameters]
        )
        moved = []
        for sign in (1, -2, 1):  # forth, back, and home again
            if sign == 1 and moved:
                moved.append(model.score_samples(new))
            for each, part in zip(parameters, parts, strict=True):
                each.data += sign * step * part.reshape(each.shape)
            if not moved:
                moved.append(model.score_samples(new))
        change = (moved[0] - moved[1]) / (2 * step)
        np.testing.assert_allclose(
            scores @ direction, change, rtol=1e-3, atol=1e-3 * np.abs(change).max()
        )


def test_they_vanish_over_the_rows_of_a_maximum_likelihood_fit():
    U = rows(400)
    flow = GaussianFlow(3).set_moments(U.mean(axis=0), np.cov(U.T, bias=True), 0.0)
    gradients = parameter_gradients(flow, U)
    np.testing.assert_allclose(gradients.sum(axis=0), 0, atol=1e-9)
    assert np.abs(gradients).mean() > 0.1
    moved = parameter_gradients(flow, U + np.eye(3)[0]).sum(axis=0)
    assert np.abs(moved).max() > 100


def test_other_widths():
    X = rows()
    model = FlowFeaturizer("gaussian").fit(X)
    with pytest.raises(ValueError, match="2 features"):
        model.fisher_scores(X[:, :2])
