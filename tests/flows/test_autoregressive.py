"""Autoregressive transformations: masks, and the inverse that grows."""

import numpy as np
import pytest
import torch

from skdre._nn.settings import seeded
from skdre.flows._autoregressive import spread_degrees
from skdre.flows._flows import build_flow


def make_transforms(name, n_features, hidden_features, n_transforms=2):
    with seeded(0):
        flow = build_flow(
            name,
            n_features,
            n_transforms=n_transforms,
            hidden_features=hidden_features,
        )
        for parameter in flow.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return flow.double().requires_grad_(False)


def rows(n_rows, n_features):
    rng = np.random.default_rng(1)
    return torch.as_tensor(2 * rng.normal(size=(n_rows, n_features)))


@pytest.mark.parametrize("name", ["maf", "nsf"])
@pytest.mark.parametrize(
    ("n_features", "hidden_features"),
    [
        (4, ()),
        (2, (5,)),
        (3, (1,)),
        (5, (3, 2)),
        (6, (40, 30)),
        (20, (7, 30)),
        (20, (4,)),
    ],
)
def test_growing_inverse_is_that_by_passes(name, n_features, hidden_features):
    transform = make_transforms(name, n_features, hidden_features)().transform
    z = rows(9, n_features)
    with torch.enable_grad():
        by_passes = transform.inv(z)
    with torch.no_grad():
        grown = transform.inv(z)
    torch.testing.assert_close(grown, by_passes, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(transform(grown), z, rtol=1e-8, atol=1e-8)


def test_growing_inverse_computes_each_unit_once(monkeypatch):
    flow = make_transforms("maf", 12, (30, 5), n_transforms=1)
    computed = []
    addmm = torch.addmm

    def counted(bias, weight, inputs):
        computed.append(len(weight))
        return addmm(bias, weight, inputs)

    monkeypatch.setattr(torch, "addmm", counted)
    with torch.no_grad():
        flow().transform.inv(rows(4, 12))
    assert sum(computed) == 30 + 5 + 2 * 12


def test_inverse_has_gradients():
    z = rows(4, 3).requires_grad_()
    x = make_transforms("maf", 3, (8,))().transform.inv(z)
    (gradient,) = torch.autograd.grad(x[:, 1].sum(), z)
    step = 1e-6 * torch.eye(3)[0]
    with torch.no_grad():
        transform = make_transforms("maf", 3, (8,))().transform
        ahead, behind = (transform.inv(z + s * step)[:, 1] for s in (1, -1))
    torch.testing.assert_close(gradient[:, 0], (ahead - behind) / 2e-6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("hidden_features", [(4,), (6, 3), (50,), (9, 40)])
def test_who_sees_whom(reverse, hidden_features):
    n_features = 12
    flow = make_transforms("maf", n_features, hidden_features)
    transform = flow.transform.transforms[int(reverse)]
    x = rows(1, n_features)[0]
    jacobian = torch.autograd.functional.jacobian(lambda x: transform()(x), x)
    if reverse:
        jacobian = jacobian.flip(0, 1)
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian.diagonal() > 0).all()
    # Every column conditions the last one, however few the hidden units.
    assert (jacobian[-1] != 0).all()
    n_seen = (jacobian.tril(-1) != 0).sum(1)
    n_kinds = min(*hidden_features, n_features - 1)
    assert len(n_seen.unique()) >= n_kinds
    assert (n_seen.diff() >= 0).all()


@pytest.mark.parametrize("n_units", [1, 3, 11, 12, 50, 1000])
def test_degrees_are_spread_evenly(n_units):
    degrees = spread_degrees(n_units, 12)
    assert (degrees.diff() >= 0).all()
    assert degrees.min() >= 1
    assert degrees.max() == 11
    counts = torch.bincount(degrees, minlength=12)[1:]
    assert counts.max() - counts.min() <= 1
    gaps = torch.cat([torch.zeros(1), degrees]).diff()
    assert gaps.max() <= np.ceil(11 / n_units)
