"""LikelihoodRatioAligner: closed forms, the bound, training, and awkward input."""

import copy
import functools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.linalg import sqrtm
from sklearn.base import clone
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from skorch.callbacks import Callback

from skdre import LikelihoodRatioAligner, pool
from skdre.flows import _alignment, _alignment_certificate, _alignment_training
from skdre.flows._alignment_certificate import (
    certificate,
    own_log_likelihood,
    shared_log_likelihood,
    warn_unless_aligned,
)
from skdre.flows._alignment_training import (
    DomainLogDensity,
    DomainRows,
    gradient_norm,
    summed_loss,
)
from skdre.flows._flows import build_flow
from skdre.flows._gaussian import GaussianFlow
from skdre.flows._gaussian_alignment import optimal_map
from skdre.flows._transforms import Continuous

SMALL = {"n_transforms": 2, "hidden_features": (16,), "batch_size": 128}

unconverged = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def gaussians(n_source=200, n_target=300, d=3, seed=0):
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(n_source, d)) @ rng.normal(size=(d, d)) + 3
    target = rng.normal(size=(n_target, d)) @ rng.normal(size=(d, d)) - 5
    return source, target


def fit(source, target, *args, **params):
    aligner = LikelihoodRatioAligner(*args, **{"random_state": 0} | params)
    return aligner.fit(*pool(numerator=target, denominator=source))


def moments(X):
    return X.mean(axis=0), np.cov(X.T, ddof=0).reshape(X.shape[1], X.shape[1])


def moons(n_samples=400, degrees=-50, seed=0):
    """Source rows, a rotation of new moons, and target rows, with their labels."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target, target_labels = make_moons(n_samples, noise=0.05, random_state=seed)
    source, source_labels = make_moons(n_samples, noise=0.05, random_state=seed + 100)
    return source @ turn.T, source_labels, target, target_labels


@functools.cache
def fitted_moons():
    source, _, target, _ = moons()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(
            source,
            target,
            "realnvp",
            "realnvp",
            max_iter=200,
            learning_rate=0.01,
            **SMALL,
        )


# The affine map between Gaussians ---------------------------------------------------


def transport_matrix(source, target):
    root = np.real(sqrtm(source))
    inverse = np.linalg.inv(root)
    return inverse @ np.real(sqrtm(root @ target @ root)) @ inverse


@pytest.mark.parametrize("d", [1, 2, 5, 20])
def test_optimal_map_is_the_optimal_transport(d):
    rng = np.random.default_rng(d)
    source, target = (a @ a.T for a in rng.normal(size=(2, d, d + 3)))
    M = optimal_map(source, target)
    assert_allclose(M, transport_matrix(source, target), rtol=1e-6, atol=1e-8)
    assert_allclose(M, M.T)
    assert np.linalg.eigvalsh(M)[0] > 0
    assert_allclose(M @ source @ M, target, rtol=1e-8, atol=1e-10)


def test_optimal_map_of_covariances_that_commute():
    axes = stats.ortho_group.rvs(3, random_state=0)
    source = axes @ np.diag([1.0, 4.0, 9.0]) @ axes.T
    target = axes @ np.diag([25.0, 1.0, 0.01]) @ axes.T
    expected = axes @ np.diag([5.0, 0.5, 0.1 / 3]) @ axes.T
    assert_allclose(optimal_map(source, target), expected, atol=1e-12)


def test_optimal_map_moves_least():
    """Among maps of the same moments, which differ by a rotation."""
    rng = np.random.default_rng(0)
    source, target = (a @ a.T for a in rng.normal(size=(2, 3, 4)))
    X = rng.normal(size=(4000, 3)) @ np.linalg.cholesky(source).T

    def cost(M):
        return np.mean(np.sum((X @ M.T - X) ** 2, axis=1))

    best = cost(optimal_map(source, target))
    A, B = np.linalg.cholesky(source), np.linalg.cholesky(target)
    others = [
        cost(B @ W @ np.linalg.inv(A))
        for W in stats.special_ortho_group.rvs(3, size=200, random_state=0)
    ]
    assert best < min(others)


@pytest.mark.parametrize("standardize", [True, False])
def test_closed_form_is_the_optimal_transport_of_the_moments(standardize):
    source, target = gaussians()
    aligner = fit(source, target, standardize=standardize)
    (m_a, S_a), (m_b, S_b) = moments(source), moments(target)
    unit = np.sqrt((np.diag(S_a) + np.diag(S_b)) / 2) if standardize else np.ones(3)
    size = np.outer(unit, unit)
    M = transport_matrix(S_a / size, S_b / size) * np.outer(unit, 1 / unit)
    assert_allclose(aligner.coef_, M, rtol=1e-8)
    new = np.random.default_rng(1).normal(size=(50, 3))
    expected = m_b + (new - m_a) @ M.T
    assert_allclose(aligner.transform(new), expected, rtol=1e-8)
    assert_allclose(new @ aligner.coef_.T + aligner.intercept_, expected, rtol=1e-8)
    assert_allclose(aligner.inverse_transform(expected), new, rtol=1e-8)


@pytest.mark.parametrize("standardize", [True, False])
def test_closed_form_matches_moments_and_its_loss_is_zero(standardize):
    source, target = gaussians()
    aligner = fit(source, target, standardize=standardize)
    for found, expected in zip(
        moments(aligner.transform(source)), moments(target), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    assert abs(aligner.log_likelihood_ratio_) < 1e-10
    assert aligner.converged_
    assert aligner.shrinkage_ == 0
    assert aligner.loss_curve_.size == 0
    # An inverted or scaled map leaves a loss.
    assert fit(source, source @ [[1.1, 0, 0], [0, 1, 0], [0, 0, 1]]).coef_[0, 0] > 1.05


def best_gaussian(X):
    return stats.multivariate_normal(*moments(X)).logpdf(X).mean()


def gaussian_ratio(source, target, M=None):
    """Brute force: Eq. 2 for a linear map and the Gaussian family."""
    M = np.eye(source.shape[1]) if M is None else M
    moved = source @ M.T
    n = max(len(source), len(target))
    rows = np.concatenate([np.resize(moved, (n, 3)), np.resize(target, (n, 3))])
    both = stats.multivariate_normal(*moments(rows))
    return (
        best_gaussian(source)
        + best_gaussian(target)
        - both.logpdf(moved).mean()
        - both.logpdf(target).mean()
        - np.linalg.slogdet(M)[1]
    )


def test_initial_log_likelihood_ratio_against_scipy():
    source, target = gaussians(200, 200)
    aligner = fit(source, target)
    assert aligner.initial_log_likelihood_ratio_ == pytest.approx(
        gaussian_ratio(source, target)
    )
    assert aligner.initial_log_likelihood_ratio_ > 1


def test_lemma_2_1_for_affine_maps_and_gaussians():
    """No map goes below 0, and only those that match the moments reach it."""
    source, target = gaussians(200, 200)
    source, target = (each - each.mean(axis=0) for each in (source, target))
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(100, 3, 3))
    assert min(gaussian_ratio(source, target, M) for M in maps) > 1e-3
    M = fit(source, target).coef_
    assert abs(gaussian_ratio(source, target, M)) < 1e-10
    # The shared maximum is then the maximum of each sample (second statement).
    rows = np.concatenate([source @ M.T, target])
    assert_allclose(moments(rows)[1], moments(target)[1], rtol=1e-9)
    # Another map of the same moments reaches it too: the family does not see it.
    root = np.real(sqrtm(moments(target)[1]))
    turn = root @ stats.special_ortho_group.rvs(3, random_state=0) @ np.linalg.inv(root)
    assert abs(gaussian_ratio(source, target, turn @ M)) < 1e-10


def test_log_likelihood_ratio_against_densities_by_hand():
    source, target = gaussians(d=2)
    rng = np.random.default_rng(0)
    parameters = [(rng.normal(size=2), np.diag(rng.uniform(1, 2, 2))) for _ in range(3)]
    densities = [GaussianFlow(2).set_moments(*each, 0.0) for each in parameters]
    M, fixed = np.array([[1.0, 0.0], [0.5, 2.0]]), np.array([0.3, -1.0])
    flow = GaussianFlow(2).set_map(M, fixed)  # all of it lower triangular
    M = M @ np.eye(2)
    weights = [rng.uniform(1, 2, len(source)), rng.uniform(1, 2, len(target))]
    samples = (source, target)
    found = own_log_likelihood(densities[:2], samples, weights)
    found -= shared_log_likelihood(flow, densities[2], samples, weights)
    of_a, of_b, of_both = (stats.multivariate_normal(*each) for each in parameters)
    moved = (source - fixed) @ M.T
    lost_a = of_a.logpdf(source) - of_both.logpdf(moved) - np.log(2)
    lost_b = of_b.logpdf(target) - of_both.logpdf(target)
    expected = np.average(lost_a, weights=weights[0])
    expected += np.average(lost_b, weights=weights[1])
    assert found == pytest.approx(expected)


def test_equal_samples_are_left_alone():
    source, _ = gaussians()
    aligner = fit(source, source[::-1])
    assert_allclose(aligner.transform(source), source, rtol=1e-9)
    assert aligner.initial_log_likelihood_ratio_ == pytest.approx(0, abs=1e-10)


def test_samples_of_one_distribution_are_moved_little():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 2000, 3))
    aligner = fit(source, target)
    assert_allclose(aligner.transform(source), source, atol=0.3)
    # About (d + d (d + 1) / 2) / n for equal Gaussians (Wilks).
    assert 0 < aligner.initial_log_likelihood_ratio_ < 5 * 9 / 2000


def test_numerator_can_move():
    source, target = gaussians()
    there, back = fit(source, target), fit(source, target, moving="numerator")
    assert_allclose(back.transform(target), there.inverse_transform(target), rtol=1e-8)
    assert_allclose(moments(back.transform(target))[1], moments(source)[1], rtol=1e-8)


def test_labels_name_the_samples():
    source, target = gaussians()
    X = np.concatenate([source, target])
    y = np.repeat(["a", "b"], [len(source), len(target)])
    aligner = LikelihoodRatioAligner().fit(X, y)
    assert_array_equal(aligner.classes_, ["a", "b"])
    assert_allclose(aligner.transform(X[:5]), fit(source, target).transform(source[:5]))


def test_units_of_the_columns():
    source, target = gaussians()
    unit = np.array([1e-6, 1.0, 1e9])
    moved = fit(source, target).transform(source)
    scaled = fit(source * unit, target * unit)
    assert_allclose(scaled.transform(source * unit), moved * unit, rtol=1e-6)
    raw = fit(source, target, standardize=False)
    turn = stats.ortho_group.rvs(3, random_state=0)
    turned = fit(source @ turn, target @ turn, standardize=False)
    assert_allclose(
        turned.transform(source @ turn), raw.transform(source) @ turn, rtol=1e-6
    )
    with pytest.raises(ValueError, match="use standardize=True"):
        fit(source * unit, target * unit, standardize=False)


@pytest.mark.parametrize("params", [{}, {"flow": "realnvp", "max_iter": 25, **SMALL}])
@unconverged
def test_weight_is_repetition(params):
    source, target = gaussians(40, 60)
    X, y = pool(numerator=target, denominator=source)
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, size=len(y)).astype(float)
    aligner = LikelihoodRatioAligner(random_state=0, **params)
    weighted = clone(aligner).fit(X, y, sample_weight=weight)
    order = rng.permutation(np.repeat(np.arange(len(y)), weight.astype(int)))
    repeated = clone(aligner).fit(X[order], y[order])
    assert_array_equal(weighted.transform(X), repeated.transform(X))
    assert weighted.log_likelihood_ratio_ == repeated.log_likelihood_ratio_
    assert not np.allclose(weighted.transform(X), aligner.fit(X, y).transform(X))


def test_sizes_of_the_samples_change_nothing():
    source, target = gaussians()
    few = fit(source, target)
    many = fit(source, np.tile(target, (20, 1)))
    assert_allclose(few.coef_, many.coef_, rtol=1e-9)
    assert few.initial_log_likelihood_ratio_ == pytest.approx(
        many.initial_log_likelihood_ratio_
    )


# Covariances without an inverse -----------------------------------------------------


def test_more_features_than_rows():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 20, 60)) * [[[1.0]], [[2.0]]] + 5
    aligner = fit(source, target)
    assert aligner.shrinkage_ > 0.05
    new = rng.normal(size=(500, 60)) + 5
    moved = aligner.transform(new)
    # Directions without rows are not blown up.
    assert np.std(moved, axis=0).max() < 4
    assert_allclose(moved.mean(axis=0), target.mean(axis=0), atol=2)
    assert_allclose(aligner.inverse_transform(moved), new, rtol=1e-6)
    assert abs(aligner.log_likelihood_ratio_) < 1e-8
    with pytest.raises(
        ValueError, match=r"shrinkage=0, but .* singular .*shrinkage=.auto"
    ):
        fit(source, target, shrinkage=0)


def test_shrinkage_is_chosen_by_left_out_rows():
    """With 30 rows of 20 columns of one distribution, moments are best forgotten."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 30, 20))
    new = rng.normal(size=(1000, 20))
    shrunk, exact = fit(source, target), fit(source, target, shrinkage=0)
    assert exact.shrinkage_ == 0 < shrunk.shrinkage_
    moved = [np.mean((each.transform(new) - new) ** 2) for each in (shrunk, exact)]
    assert moved[0] < moved[1] / 2
    assert shrunk.log_likelihood_ratio_ == pytest.approx(0, abs=1e-9)
    assert fit(source, target, shrinkage=1).coef_ == pytest.approx(np.eye(20))


def test_collinear_features_of_both_samples():
    """The rows stay on their plane, and the moments match."""
    source, target = gaussians(d=2)
    lift = np.array([[1.0, 0.0, 1.0, 2.0], [0.0, 1.0, 1.0, -1.0]])
    aligner = fit(source @ lift, target @ lift)
    assert aligner.shrinkage_ == 0
    moved = aligner.transform(source @ lift)
    assert_allclose(moved[:, 2], moved[:, 0] + moved[:, 1], atol=1e-6)
    assert_allclose(moments(moved)[1], moments(target @ lift)[1], rtol=1e-6)
    assert abs(aligner.log_likelihood_ratio_) < 1e-6


@pytest.mark.parametrize("offset", [0.0, 4.0])
def test_constant_column(offset):
    source, target = gaussians(d=2)
    add = functools.partial(np.insert, obj=1, axis=1)
    aligner = fit(add(source, values=7.0), add(target, values=7.0 + offset))
    plain = fit(source, target)
    moved = aligner.transform(add(source, values=7.0))
    assert_allclose(moved[:, [0, 2]], plain.transform(source), rtol=1e-8)
    assert_allclose(moved[:, 1], 7.0 + offset)
    assert aligner.shrinkage_ == 0


def test_column_that_is_constant_in_one_sample():
    source, target = gaussians(d=2)
    target[:, 1] = 0.0
    aligner = fit(source, target)
    assert aligner.shrinkage_ > 0
    moved = aligner.transform(source)
    assert np.std(moved[:, 1]) < 0.3 * np.std(source[:, 1])
    assert_allclose(aligner.inverse_transform(moved), source, rtol=1e-6)
    with pytest.raises(ValueError, match="covariance of the target is singular"):
        fit(source, target, shrinkage=0)


@pytest.mark.parametrize("sizes", [(1, 30), (30, 1), (1, 1)])
def test_one_row_of_a_sample_is_a_mere_shift(sizes):
    source, target = gaussians(*sizes)
    with pytest.warns(UserWarning, match="one distinct row"):
        aligner = fit(source, target)
    shift = target.mean(axis=0) - source.mean(axis=0)
    assert_allclose(aligner.transform(source), source + shift)


# Training ---------------------------------------------------------------------------


def test_flow_aligns_the_moons():
    source, source_labels, target, target_labels = moons()
    aligner = fitted_moons()
    classifier = KNeighborsClassifier().fit(target, target_labels)
    moved = aligner.transform(source)
    assert classifier.score(source, source_labels) < 0.95
    assert classifier.score(moved, source_labels) > 0.97
    assert 0.4 < aligner.initial_log_likelihood_ratio_ < 2 * np.log(2)
    assert -0.02 < aligner.log_likelihood_ratio_ < 0.25
    new, new_labels, new_target, _ = moons(seed=7)
    assert classifier.score(aligner.transform(new), new_labels) > 0.97
    # Rows that the map was not fitted to are less likely, but far likelier than moved
    # the other way.
    score = aligner.score(*pool(numerator=new_target, denominator=new))
    training = aligner.score(*pool(numerator=target, denominator=source))
    assert training - 1 < score < training
    assert aligner.score(*pool(numerator=new, denominator=new_target)) < score - 1


def test_certificate_of_a_flow_is_that_of_its_parts():
    source, _, target, _ = moons()
    aligner = fitted_moons()
    # The best weights are kept.
    n_epochs = 200 // 25 + 100 // 25
    assert len(aligner.loss_curve_) == n_epochs
    assert aligner.loss_curve_[-4:].min() == pytest.approx(
        aligner.log_likelihood_ratio_, abs=1e-3
    )
    assert aligner.loss_curve_[0] > aligner.loss_curve_[-5] > -0.1
    # By hand, the derivative of the map by differences.
    step = 1e-5
    columns = [
        (aligner.transform(source + h) - aligner.transform(source - h)) / (2 * step)
        for h in step * np.eye(2)
    ]
    log_det = np.linalg.slogdet(np.stack(columns, axis=-1))[1]

    def log_density(flow, rows):
        U = torch.as_tensor(aligner.marginal_maps_.forward(rows)[0])
        z, log_det = flow().transform.call_and_ladj(U)
        return stats.norm.logpdf(z.numpy()).sum(axis=1) + log_det.numpy()

    ratio = log_density(aligner.source_density_, source).mean()
    ratio += log_density(aligner.target_density_, target).mean()
    shared = log_density(aligner.density_, aligner.transform(source)).mean()
    shared += log_density(aligner.density_, target).mean() + log_det.mean()
    assert aligner.log_likelihood_ratio_ == pytest.approx(ratio - shared, abs=1e-6)
    # The score is of x itself, whatever the columns were scaled by.
    scale = np.log([column.scale for column in aligner.marginal_maps_.columns]).sum()
    score = aligner.score(*pool(numerator=target, denominator=source))
    assert score == pytest.approx(shared - 2 * scale, abs=1e-6)


def test_inverse_of_a_flow():
    source, _, target, _ = moons()
    aligner = fitted_moons()
    moved = aligner.transform(source)
    assert_allclose(aligner.inverse_transform(moved), source, atol=1e-8)
    assert_allclose(
        aligner.transform(aligner.inverse_transform(target)), target, atol=1e-8
    )


def test_score_is_a_log_likelihood():
    source, target = gaussians()
    X, y = pool(numerator=target, denominator=source)
    aligner = fit(source, target)
    density = stats.multivariate_normal(*moments(target))
    moved = aligner.transform(source)
    log_det = np.linalg.slogdet(aligner.coef_)[1]
    expected = density.logpdf(moved).mean() + log_det + density.logpdf(target).mean()
    assert aligner.score(X, y) == pytest.approx(expected)
    unit = np.array([1e3, 1e-5, 1.0])
    rescaled = fit(source * unit, target * unit).score(X * unit, y)
    assert rescaled == pytest.approx(expected - 2 * np.log(unit).sum())
    weight = np.random.default_rng(0).integers(1, 4, size=len(y))
    assert aligner.score(X, y, sample_weight=weight) == pytest.approx(
        aligner.score(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    )
    back = fit(source, target, moving="numerator")
    assert back.score(X, y) == pytest.approx(
        fit(target, source).score(*pool(numerator=source, denominator=target))
    )


@unconverged
@pytest.mark.parametrize("flow", ["realnvp", "maf", "nsf", "ffjord", "affine"])
def test_map_starts_at_the_identity(flow):
    source, _, target, _ = moons(60)
    aligner = fit(source, target, flow, "maf", max_iter=1, learning_rate=1e-9, **SMALL)
    assert_allclose(aligner.transform(source), source, atol=1e-5)
    assert aligner.log_likelihood_ratio_ == pytest.approx(
        aligner.initial_log_likelihood_ratio_, abs=1e-4
    )


@unconverged
def test_affine_map_is_trained_for_other_densities():
    source, target = gaussians(300, 300, d=2)
    exact = fit(source, target)
    params = {"max_iter": 200, "learning_rate": 0.04}
    trained = fit(source, target, lambda d: GaussianFlow(d), **params)
    assert trained.log_likelihood_ratio_ == pytest.approx(0, abs=0.02)
    assert trained.initial_log_likelihood_ratio_ == pytest.approx(
        exact.initial_log_likelihood_ratio_, rel=1e-3
    )
    found, expected = moments(trained.transform(source)), moments(target)
    assert_allclose(found[1], expected[1], atol=0.1 * np.abs(expected[1]).max())


@unconverged
def test_map_that_makes_the_source_easier_is_judged_by_what_it_made():
    """Lemma 2.2's bias lets Eq. 2 fall below 0; that of T(A) and B cannot."""
    rng = np.random.default_rng(0)
    source = np.exp(rng.normal(size=(400, 1)))
    target = rng.normal(size=(400, 1))
    aligner = fit(source, target, "nsf", max_iter=150, learning_rate=0.02, **SMALL)
    moved = aligner.transform(source)
    # Held against the source as it was, the paper's indicator would be far below.
    scale = aligner.marginal_maps_.columns[0].scale
    U = (source - source.mean()) / scale
    of_source = stats.norm(scale=U.std()).logpdf(U).mean()
    own = own_log_likelihood(
        [aligner.source_density_],
        [aligner.marginal_maps_.forward(source)[0]],
        [np.ones(400)],
    )
    assert own > of_source + 0.2
    both = np.concatenate([moved, target])
    expected = best_gaussian(moved) + best_gaussian(target) - 2 * best_gaussian(both)
    assert aligner.log_likelihood_ratio_ == pytest.approx(expected, abs=1e-3)
    assert aligner.log_likelihood_ratio_ >= 0


def identity(d):
    return GaussianFlow(d).set_map(np.eye(d), np.zeros(d))


def judged(samples, density, start=None, max_iter=200, **params):
    """The certificate of a map that moves nothing."""
    start = start or density
    weights = [np.ones(len(U)) for U in samples]
    d = samples[0].shape[1]
    defaults = {"batch_size": 128, "learning_rate": 0.02, "patience": 400}
    return certificate(
        *(identity(d), density, start, samples, weights, np.zeros(d)),
        device=torch.device("cpu"),
        max_iter=max_iter,
        seed=0,
        gradient_tol=0.0,
        **defaults | params,
    )


def test_certificate_of_trained_gaussians_is_that_of_closed_forms():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(300, 2)) @ [[1.0, 0.5], [0.0, 0.8]]
    target = rng.normal(loc=[0.5, 0.0], size=(300, 2))
    both = np.concatenate([source, target])
    start = GaussianFlow(2).set_moments(*moments(both), 0.0)
    exact = judged((source, target), None, start)
    assert judged((source, target), start).ratio == pytest.approx(exact.ratio, abs=0.01)
    own = best_gaussian(source) + best_gaussian(target)
    assert exact.own == pytest.approx(own)
    assert exact.ratio == pytest.approx(own - 2 * best_gaussian(both))
    # Falling short of the maximum is no difference: here all three start far from it.
    same = target[::2], target[1::2]
    far = GaussianFlow(2).set_moments(np.full(2, 2.0), 9 * np.eye(2), 0.0)
    found = judged(same, far, max_iter=100)
    assert found.own < sum(map(best_gaussian, same)) - 0.3
    assert abs(found.ratio) < 0.05


def test_certificate_tells_moved_rows_from_unmoved():
    source, _, target, _ = moons()
    aligner = fitted_moons()
    U, V = (aligner.marginal_maps_.forward(X)[0] for X in (source, target))
    assert judged((U, V), aligner.density_).ratio > 0.3


def test_three_densities_are_trained_from_one_start(monkeypatch):
    calls = []
    train = _alignment_training.train_on_domains

    def record(module, data, **params):
        states = [each.state_dict() for each in module.densities]
        calls.append((params["max_iter"], copy.deepcopy(states)))
        return train(module, data, **params)

    for module in (_alignment, _alignment_training, _alignment_certificate):
        monkeypatch.setattr(module, "train_on_domains", record)
    source, _, target, _ = moons(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit(source, target, "affine", "maf", max_iter=40, **SMALL)
    assert [n for n, _ in calls] == [8, 40, 40, 40]
    (of_source, of_target), (shared,) = calls[2][1], calls[3][1]
    for name, value in shared.items():
        assert_array_equal(value, of_source[name])
        assert_array_equal(value, of_target[name])


@pytest.mark.parametrize(
    ("ratio", "gain", "message"),
    [
        (-0.3, 0.0, "-0.3 nats, below its bound 0.*not at their maximum"),
        (0.05, 0.2, "still gained 0.2 .* max_iter=40.* Increase max_iter"),
        (0.2, 0.0, "not aligned: the log-likelihood ratio is 0.2 nats, above tol=0.1"),
        (np.nan, 0.0, "not aligned"),
        (0.0, np.nan, "never fitted them better .* Lower learning_rate"),
    ],
)
def test_what_certifies_nothing_is_told(ratio, gain, message):
    with pytest.warns(ConvergenceWarning, match=message):
        warn_unless_aligned(ratio, gain, tol=0.1, max_iter=40)


def test_what_is_aligned_is_not_warned_of(recwarn):
    for ratio in (-0.09, 0.0, 0.09):
        warn_unless_aligned(ratio, 0.05, tol=0.1, max_iter=40)
    assert not recwarn


def test_ratio_that_still_gains_is_told():
    """A hundred small steps are too few for moons that did not move."""
    source, _, target, _ = moons(200)
    params = SMALL | {"max_iter": 100, "tol": 0.001, "learning_rate": 0.001}
    with pytest.warns(ConvergenceWarning, match="still gained .* Increase max_iter"):
        aligner = fit(source, target, "affine", "maf", **params)
    assert not aligner.converged_


def test_too_few_steps_certify_nothing():
    """Densities that have hardly left their common start look alike."""
    source, _, target, _ = moons(200)
    with pytest.warns(ConvergenceWarning, match="too briefly .* Increase max_iter"):
        aligner = fit(source, target, "affine", "maf", max_iter=4, **SMALL)
    assert aligner.log_likelihood_ratio_ < aligner.tol
    assert not aligner.converged_


@unconverged
@pytest.mark.parametrize("kept", [1, 3])
def test_densities_that_learn_nothing_certify_nothing(kept, monkeypatch):
    """Three that are one start have a ratio of 0, whatever the samples are."""
    rates, train = [], _alignment_training.train_on_domains

    def spoil(module, data, *, learning_rate, **params):
        # Far too large steps leave the start the best.
        rates.append((len(module.densities), learning_rate))
        if len(rates) <= kept or kept == 3:
            learning_rate = 1e30
        return train(module, data, learning_rate=learning_rate, **params)

    source, _, target, _ = moons()
    aligner = fitted_moons()
    samples = [aligner.marginal_maps_.forward(X)[0] for X in (source, target)]
    monkeypatch.setattr(_alignment_certificate, "train_on_domains", spoil)
    found = judged(samples, aligner.density_, max_iter=100, learning_rate=0.01)
    assert np.isnan(found.gain) == (kept == 3)
    assert (found.ratio == pytest.approx(0.0, abs=1e-12)) == (kept == 3)
    assert [n for n, _ in rates] == [2] * min(kept + 1, 3) + [1]
    # Both have had steps of the same length.
    assert rates[-1][1] == rates[-2][1] == pytest.approx(0.01 / 10 ** (len(rates) - 2))


@unconverged
@pytest.mark.parametrize("density", ["gaussian", "maf"])
def test_an_absurd_value_decides_nothing_and_is_named(density):
    """By the moments alone it would leave the column of all others without spread."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(300, 2)), rng.normal(loc=1.0, size=(300, 2))
    spoiled = np.concatenate([source, [[1e9, 0.0]]])
    params = {"flow": "affine", "density": density, "max_iter": 50, **SMALL}
    with pytest.warns(UserWarning, match=r"column 0: 1 of .* such as 1e\+09"):
        aligner = fit(spoiled, target, **params)
    spread = aligner.transform(source).std(axis=0)
    clean = fit(source, target, **params).transform(source).std(axis=0)
    assert_allclose(spread, clean, rtol=0.15)


def test_failure_to_align_is_told():
    source, target = gaussians(d=2)
    with pytest.warns(ConvergenceWarning, match="not aligned.*above tol=0.1"):
        aligner = fit(source, target, "realnvp", max_iter=25, **SMALL)
    assert not aligner.converged_
    assert aligner.log_likelihood_ratio_ > 1


@unconverged
def test_repeatable_and_nobody_elses_seeds():
    source, _, target, _ = moons(60)
    params = {"max_iter": 25, **SMALL}
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    one = fit(source, target, "realnvp", "maf", **params)
    assert_array_equal(before[0], torch.get_rng_state())
    assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(2)
    other = fit(source, target, "realnvp", "maf", **params)
    assert_array_equal(one.transform(source), other.transform(source))
    assert one.log_likelihood_ratio_ == other.log_likelihood_ratio_
    seeds = fit(source, target, "realnvp", "maf", **params | {"random_state": 1})
    assert not np.array_equal(seeds.transform(source), one.transform(source))


@pytest.mark.parametrize("which", ["closed form", "flow"])
def test_pickle(which):
    source, _, target, _ = moons()
    aligner = fitted_moons() if which == "flow" else fit(source, target)
    again = pickle.loads(pickle.dumps(aligner))
    assert_array_equal(again.transform(source), aligner.transform(source))
    X, y = pool(numerator=target, denominator=source)
    assert again.score(X, y) == aligner.score(X, y)


@unconverged
def test_gradient_tol_stops_the_training():
    source, _, target, _ = moons(60)
    aligner = fit(source, target, "maf", max_iter=500, gradient_tol=1e9, **SMALL)
    assert aligner.n_iter_ == 100
    assert len(aligner.loss_curve_) == 4  # a Gaussian family needs no more


def small_module(shared=True):
    torch.manual_seed(0)
    flows = [
        build_flow("maf", 2, n_transforms=1, hidden_features=(4,)) for _ in range(3)
    ]
    for parameter in (p for flow in flows for p in flow.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)
    *densities, transform = flows
    module = DomainLogDensity(densities[:1] if shared else densities, transform, [0, 0])
    return module.double().eval(), densities, transform


@pytest.mark.parametrize("shared", [True, False])
def test_log_density_of_labelled_rows(shared):
    module, densities, transform = small_module(shared)
    rng = np.random.default_rng(0)
    rows = torch.as_tensor(rng.normal(size=(20, 1, 3)))
    found = module(rows).detach().numpy()
    assert found.shape == (20, 1)
    for (u0, u1, sign), value in zip(rows[:, 0].tolist(), found.ravel(), strict=True):
        u, log_det = torch.tensor([[u0, u1]], dtype=torch.float64), 0.0
        if sign > 0:
            u, log_det = transform().transform.call_and_ladj(u)
        density = densities[0] if shared or sign > 0 else densities[1]
        z, log_det_z = density().transform.call_and_ladj(u)
        expected = stats.norm.logpdf(z.detach()).sum() + log_det_z + log_det
        assert value == pytest.approx(expected.item())
    for part in (rows[rows[:, 0, 2] > 0], rows[rows[:, 0, 2] < 0]):
        assert torch.isfinite(module(part)).all()


def test_gradient_norm_by_differences():
    module, _, _ = small_module()
    source, target = gaussians(30, 40, d=2)
    data = DomainRows((source, target), (np.ones(30), np.ones(40)), torch.device("cpu"))
    inputs, *targets = (each.double() for each in data.judges.tensors)
    rows = type(data.judges)(inputs, *targets)
    found = gradient_norm(module, dict(module.state_dict()), rows)

    def loss():
        with torch.no_grad():
            return summed_loss(module(inputs), targets).item()

    # The loss itself: means over each sample, summed.
    with torch.no_grad():
        values = module(inputs)[:, 0]
    expected = -values[:30].mean() - values[30:].mean()
    assert loss() == pytest.approx(float(expected), rel=1e-6)
    squares = 0.0
    for parameter in module.parameters():
        flat = parameter.data.view(-1)
        for k in range(len(flat)):
            value, h = flat[k].item(), 1e-6
            flat[k] = value + h
            above = loss()
            flat[k] = value - h
            squares += ((above - loss()) / (2 * h)) ** 2
            flat[k] = value
    assert found == pytest.approx(np.sqrt(squares), rel=1e-4)


def test_gradient_norm_sees_a_continuous_flow():
    """The last layer starts at zero, so by it alone the loss changes at first."""
    flow = build_flow("ffjord", 2, n_transforms=1, hidden_features=(4,))
    module = DomainLogDensity([flow], None, [0.0, 0.0])
    source, target = gaussians(30, 40, d=2)
    data = DomainRows((source, target), (np.ones(30), np.ones(40)), torch.device("cpu"))
    assert gradient_norm(module, module.state_dict(), data.judges) > 0.1


def test_tolerance_of_a_continuous_map_is_that_of_its_training():
    """Coarse steps are fewer; in double precision, once fitted, they count no more."""
    calls, found = [], []
    u = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
    for tolerance in (1e-1, 1e-5):
        torch.manual_seed(0)
        each = Continuous(2, (8,), tolerance=tolerance)
        for parameter in each.parameters():
            torch.nn.init.normal_(parameter)
        n = []
        each.network.register_forward_hook(lambda *_, n=n: n.append(1))
        with torch.no_grad():
            each.float()()(u.float())
            calls.append(len(n))
            found.append(each.double()()(u))
    assert calls[0] < calls[1]
    assert_allclose(*found, atol=1e-6)


@unconverged
def test_continuous_densities():
    params = SMALL | {"hidden_features": (4,), "max_iter": 2, "batch_size": 8}
    aligner = fit(*gaussians(8, 8, d=2), "affine", "ffjord", **params)
    assert np.isfinite(aligner.log_likelihood_ratio_)


@unconverged
def test_callbacks_see_the_map():
    source, _, target, _ = moons(60)
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            u = torch.zeros(1, 2)
            with torch.no_grad():
                seen.append(net.module_.transform().transform(u).numpy())

    params = {"max_iter": 75, "callbacks": [Watch()]}
    fit(source, target, "realnvp", "maf", **SMALL | params)
    assert len(seen) == 3
    assert np.ptp(seen) > 0


@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_interrupted(when, monkeypatch):
    source, _, target, _ = moons(60)
    train = _alignment.train_on_domains
    calls = []

    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    def interrupt(*args, callbacks=(), **params):
        calls.append(1)
        if len(calls) == when:
            callbacks = [*callbacks, Interrupt()]
        return train(*args, callbacks=callbacks, **params)

    for module in (_alignment, _alignment_training, _alignment_certificate):
        monkeypatch.setattr(module, "train_on_domains", interrupt)
    aligner = LikelihoodRatioAligner("realnvp", "maf", max_iter=20, **SMALL)
    X, y = pool(numerator=target, denominator=source)
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        aligner.fit(X, y)
    assert len(calls) == when
    # There is a map to keep once its own training has begun.
    assert hasattr(aligner, "flow_") == (when > 1)
    if when > 1:
        assert not aligner.converged_
        assert len(aligner.loss_curve_) == 1
        assert np.isfinite(aligner.transform(source)).all()
        assert np.isfinite(aligner.score(X, y))
        # Nothing is known of how good it is.
        assert np.isnan(aligner.log_likelihood_ratio_)


@unconverged
@pytest.mark.parametrize("flow", ["realnvp", "maf", "affine"])
def test_singular_samples_do_not_stop_a_training(flow):
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 12, 20))
    source[:, 3], target[:, 4] = source[:, 2], 1.0
    aligner = fit(source, target, flow, "maf", max_iter=50, **SMALL)
    moved = aligner.transform(source)
    assert np.isfinite(moved).all()
    assert_allclose(aligner.inverse_transform(moved), source, atol=1e-5)


# Input and output -------------------------------------------------------------------


def test_data_frames():
    source, target = (pd.DataFrame(each, columns=list("abc")) for each in gaussians())
    aligner = fit(source, target).set_output(transform="pandas")
    moved = aligner.transform(source)
    assert list(moved.columns) == ["a", "b", "c"]
    assert_array_equal(aligner.get_feature_names_out(), ["a", "b", "c"])
    plain = fit(source.to_numpy(), target.to_numpy())
    assert_allclose(moved, plain.transform(source.to_numpy()))


def test_not_fitted():
    for method in ("transform", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(LikelihoodRatioAligner(), method)([[0.0]])


def realnvp_of_more(d):
    return build_flow("realnvp", d + 1, n_transforms=1, hidden_features=(4,))


def test_bad_input():
    source, target = gaussians()
    X, y = pool(numerator=target, denominator=source)
    aligner = fit(source, target)
    with pytest.raises(ValueError, match="X has 2 features"):
        aligner.inverse_transform(X[:, :2])
    with pytest.raises(ValueError, match=r"labels seen in fit, \[0, 1\], got \[1, 2\]"):
        aligner.score(X, y + 1)
    with pytest.raises(ValueError, match="one class only"):
        aligner.score(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="hidden_features must be"):
        fit(source, target, hidden_features=(0,))
    with pytest.raises(ValueError, match="device must be"):
        fit(source, target, device="tpu")
    for name in ("flow", "density"):
        params = {"flow": "affine", "density": "maf"}
        with pytest.raises(TypeError, match=rf"^{name} must be a callable .* zuko"):
            fit(source, target, **params | {name: lambda d: torch.nn.Linear(d, d)})
        with pytest.raises(ValueError, match=rf"^{name} must return a flow of 3 col"):
            fit(source, target, **params | {name: realnvp_of_more})
        with pytest.raises(ValueError, match=rf"^{name}='glow' is for images"):
            fit(source, target, **params | {name: "glow"})
    with pytest.raises(ValueError, match="requires y to be passed"):
        LikelihoodRatioAligner().fit(X, None)
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="X contains NaN"):
        LikelihoodRatioAligner().fit(X, y)
