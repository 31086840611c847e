import pickle

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gamma, kstest, laplace, lognorm, multivariate_normal, norm, t

from skdre.datasets import (
    known_ratio_problems,
    make_known_ratio,
    make_mixture_shift,
    make_product_shift,
    make_ring_shift,
    make_warped_shift,
)

CENTERS = np.array([[0.0, 1.0, 2.0], [-3.0, 0.5, 1.0]])
OTHERS = np.array([[1.0, 1.0, -1.0], [0.0, 0.0, 0.0], [2.0, -2.0, 0.5]])


@pytest.fixture(scope="module")
def mixture():
    return make_mixture_shift(
        (40_000, 30_000),
        numerator_centers=CENTERS,
        denominator_centers=OTHERS,
        numerator_scale=0.5,
        denominator_scale=1.5,
        random_state=0,
    )


class TestMixture:
    def test_log_ratio_is_that_of_the_densities(self, mixture):
        def log_density(X, centers, scale):
            parts = [multivariate_normal(c, scale**2).pdf(X) for c in centers]
            return np.log(np.mean(parts, axis=0))

        X = np.concatenate([mixture.numerator[:50], mixture.denominator[:50]])
        expected = log_density(X, CENTERS, 0.5) - log_density(X, OTHERS, 1.5)
        np.testing.assert_allclose(mixture.log_ratio(X), expected, rtol=1e-9, atol=1e-9)

    def test_rows_lie_around_their_centers(self, mixture):
        for rows, centers, scale in (
            (mixture.numerator, CENTERS, 0.5),
            (mixture.denominator, OTHERS, 1.5),
        ):
            covariance = np.cov(centers.T, bias=True) + scale**2 * np.eye(3)
            np.testing.assert_allclose(
                rows.mean(axis=0), centers.mean(axis=0), atol=0.05
            )
            np.testing.assert_allclose(np.cov(rows.T), covariance, atol=0.08)
        assert mixture.numerator.shape == (40_000, 3)
        assert mixture.denominator.shape == (30_000, 3)

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"numerator_centers": [0.0, 1.0]}, "Expected 2D array"),
            ({"numerator_centers": [[np.nan, 1.0]]}, "numerator_centers contains NaN"),
            ({"denominator_centers": [[0.0]]}, "same number of columns, got 2 and 1"),
            ({"numerator_scale": 0.0}, "numerator_scale"),
            ({"denominator_scale": -1.0}, "denominator_scale"),
            ({"n_samples": (3, 0)}, "n_samples"),
        ],
    )
    def test_bad_input(self, params, message):
        centers = {
            "numerator_centers": [[0.0, 1.0]],
            "denominator_centers": [[1.0, 2.0]],
        }
        with pytest.raises(ValueError, match=message):
            make_mixture_shift(**centers | params)


class TestProduct:
    def test_columns_have_the_distributions(self):
        p, q = gamma(2, scale=1.5), lognorm(0.8)
        shift = make_product_shift(
            (2000, 3000), 2, numerator=p, denominator=q, random_state=0
        )
        assert kstest(shift.numerator.ravel(), p.cdf).pvalue > 0.01
        assert kstest(shift.denominator.ravel(), q.cdf).pvalue > 0.01
        assert kstest(shift.numerator.ravel(), q.cdf).pvalue < 1e-6
        assert shift.numerator.shape == (2000, 2)
        assert shift.denominator.shape == (3000, 2)

    def test_log_ratio_is_that_of_the_densities(self):
        p, q = t(3, loc=0.5), laplace(scale=0.7)
        shift = make_product_shift(20, 3, numerator=p, denominator=q, random_state=0)
        X, _ = shift.pool()
        expected = [np.log(np.prod(p.pdf(x)) / np.prod(q.pdf(x))) for x in X]
        np.testing.assert_allclose(shift.log_ratio(X), expected, rtol=1e-9, atol=1e-12)
        total, _ = quad(
            lambda x: np.exp(shift.log_ratio([[x, 0, 0]])[0]) * q.pdf(x), -60, 60
        )
        center = np.exp(2 * (p.logpdf(0) - q.logpdf(0)))
        assert total == pytest.approx(center, rel=1e-4)

    def test_outside_a_support(self):
        shift = make_product_shift(
            5, 2, numerator=gamma(2), denominator=norm(), random_state=0
        )
        log_ratio = shift.log_ratio([[1.0, 1.0], [1.0, -1.0]])
        assert np.isfinite(log_ratio[0])
        assert log_ratio[1] == -np.inf
        positive = make_product_shift(
            5, 2, numerator=gamma(2), denominator=lognorm(1), random_state=0
        )
        with pytest.raises(ValueError, match="outside the support of both"):
            positive.log_ratio([[-1.0, 1.0]])

    def test_bad_input(self):
        with pytest.raises(ValueError, match="numerator"):
            make_product_shift(5, 2, numerator="normal", denominator=norm())
        with pytest.raises(ValueError, match="n_features"):
            make_product_shift(5, 0, numerator=norm(), denominator=norm())


class TestRing:
    # The second is wide enough that |N(radius, width^2)| is folded at 0.
    @pytest.mark.parametrize(
        ("d", "radius", "width"),
        [(1, 4.0, 0.5), (1, 0.5, 0.7), (2, 3.0, 0.3), (3, 2.0, 0.4)],
    )
    def test_numerator_integrates_to_one(self, d, radius, width):
        shift = make_ring_shift(5, d, radius=radius, width=width, spread=2.0)
        # Midpoints: for smooth functions that vanish at the ends the error is tiny.
        step, end = width / 3, radius + 8 * width
        axis = np.arange(-end + step / 2, end, step)
        X = np.stack(np.meshgrid(*[axis] * d), axis=-1).reshape(-1, d)
        log_p = shift.log_ratio(X) + norm.logpdf(X, scale=2).sum(axis=1)
        assert np.exp(log_p).sum() * step**d == pytest.approx(1, rel=1e-4)

    def test_rows_lie_on_the_shell(self):
        shift = make_ring_shift((3000, 2000), 4, radius=4.0, width=0.4, random_state=0)
        distance = np.linalg.norm(shift.numerator, axis=1)
        assert kstest(distance, norm(4.0, 0.4).cdf).pvalue > 0.01
        direction = shift.numerator / distance[:, None]
        np.testing.assert_allclose(direction.mean(axis=0), 0, atol=0.05)
        np.testing.assert_allclose(np.cov(direction.T), np.eye(4) / 4, atol=0.02)
        assert kstest(shift.denominator.ravel(), norm(scale=2).cdf).pvalue > 0.01

    def test_bad_input(self):
        with pytest.raises(ValueError, match="radius"):
            make_ring_shift(5, radius=0)
        with pytest.raises(ValueError, match="n_samples"):
            make_ring_shift((1, 2, 3))


class TestWarpedCovariance:
    COVARIANCE = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.4]])

    def test_log_ratio_and_moments(self):
        shift = make_warped_shift(
            40_000,
            3,
            warp="sinh",
            mean_shift=1.5,
            covariance=self.COVARIANCE,
            random_state=0,
        )
        mean = np.full(3, 1.5 / np.sqrt(3))
        z = shift.latent_numerator
        np.testing.assert_allclose(z.mean(axis=0), mean, atol=0.03)
        np.testing.assert_allclose(np.cov(z.T), self.COVARIANCE, atol=0.05)
        np.testing.assert_allclose(shift.numerator, np.sinh(2 * z))
        p, q = (
            multivariate_normal(mean, self.COVARIANCE),
            multivariate_normal(np.zeros(3)),
        )
        expected = p.logpdf(z[:100]) - q.logpdf(z[:100])
        np.testing.assert_allclose(
            shift.log_ratio(shift.numerator[:100]), expected, rtol=1e-8, atol=1e-8
        )

    def test_number_is_a_multiple_of_the_identity(self):
        shifts = [
            make_warped_shift(30, 2, mean_shift=0, covariance=each, random_state=1)
            for each in (0.25, 0.25 * np.eye(2))
        ]
        np.testing.assert_array_equal(shifts[0].numerator, shifts[1].numerator)
        X = shifts[0].denominator
        expected = norm.logpdf(X, scale=0.5) - norm.logpdf(X)
        np.testing.assert_allclose(shifts[0].log_ratio(X), expected.sum(axis=1))

    @pytest.mark.parametrize(
        ("covariance", "message"),
        [
            (0.0, "covariance"),
            (np.eye(3), r"covariance must be .*shape \(2, 2\)"),
            ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
            ([[1.0, 2.0], [2.0, 1.0]], "positive definite"),
            ([[1.0, np.nan], [np.nan, 1.0]], "symmetric"),
        ],
    )
    def test_bad_covariance(self, covariance, message):
        with pytest.raises(ValueError, match=message):
            make_warped_shift(5, 2, covariance=covariance)


def balance(shift, change=lambda log_ratio: log_ratio):
    """Largest z value of E_p[h / (1 + r)] - E_q[h r / (1 + r)], which is 0.

    Both are the integral of h p q / (p + q). Unlike r itself nothing in it has a long
    tail, so that it also holds in samples that lie far apart.
    """
    values = []
    for rows, sign in ((shift.numerator, -1), (shift.denominator, 1)):
        log_ratio = change(shift.log_ratio(rows))
        share = 1 / (1 + np.exp(-sign * log_ratio))
        # The whole space, two regions of it, and where the ratio is above 2. The last
        # finds a scaled log ratio also where p and q are mirror images.
        regions = np.column_stack(
            [
                np.ones(len(rows)),
                rows[:, 0] > 0.3,
                np.abs(rows).max(axis=1) > 1.2,
                log_ratio > np.log(2),
            ]
        )
        values.append(regions * share[:, None])
    p, q = values
    error = np.sqrt((p.var(axis=0) + q.var(axis=0)) / len(p))
    return np.max(np.abs(p.mean(axis=0) - q.mean(axis=0)) / np.maximum(error, 1e-12))


# Too far apart for a sample of the size below to tell a wrong ratio from a right one.
FAR = {"far_moons", "far_clusters_d20", "far_gaussians_d2", "spirals", "lumps_d1"}


@pytest.mark.parametrize("name", known_ratio_problems())
def test_samples_and_log_ratio_belong_together(name):
    shift = make_known_ratio(name, 20_000, random_state=0)
    assert balance(shift) < 4
    if name not in FAR:
        assert balance(shift, lambda log_ratio: log_ratio + 0.5) > 5
    p, q = shift.log_ratio(shift.numerator), shift.log_ratio(shift.denominator)
    assert np.isfinite(p).all()
    assert np.isfinite(q).all() or name == "cut_support_d3"
    if name.startswith("same"):
        np.testing.assert_allclose(p, 0, atol=1e-12)
    else:
        # Kullback-Leibler divergences are positive: an inverted ratio fails.
        assert p.mean() > 0.1
        assert q.mean() < -0.1
        if name not in FAR:
            assert balance(shift, lambda log_ratio: 0.6 * log_ratio) > 5


def test_outside_of_one_support():
    cut = make_known_ratio("cut_support_d3", 10, random_state=0)
    np.testing.assert_allclose(
        cut.log_ratio([[0.2, 0.8, 0.5], [0.4, 0.8, 0.5]]), [-np.log(0.595), -np.inf]
    )
    ring = make_known_ratio("ring_in_a_box", 10, random_state=0)
    # At the radius: the density of the normal, over the circle, over that of the box.
    at = norm(0, 0.22).pdf(0) / (2 * np.pi * 1.8) * 36
    np.testing.assert_allclose(
        ring.log_ratio([[0.0, 1.8], [0.0, 3.1]]), [np.log(at), np.inf]
    )


def test_equal_moments():
    shift = make_known_ratio("equal_moments_d5", 100_000, random_state=0)
    for rows in (shift.numerator, shift.denominator):
        np.testing.assert_allclose(rows.mean(axis=0), 0, atol=0.015)
        np.testing.assert_allclose(np.cov(rows.T), np.eye(5), atol=0.02)


def test_problems_stay_the_same():
    """What a problem is may not depend on the seed of the sample, or change."""
    X = np.full((1, 10), 0.5)
    ratios = [
        make_known_ratio("mixture_d10", 10, random_state=seed).log_ratio(X)[0]
        for seed in range(3)
    ]
    assert len(set(ratios)) == 1


def test_register():
    reported, tuning = known_ratio_problems("reported"), known_ratio_problems("tuning")
    assert not set(reported) & set(tuning)
    assert known_ratio_problems() == reported + tuning
    assert min(len(reported), len(tuning)) >= 12
    widths = [make_known_ratio(name, 2).numerator.shape[1] for name in tuning]
    assert min(widths) == 1
    assert max(widths) == 50
    for name in reported + tuning:
        dimension = name.partition("_d")[2].partition("_")[0]
        width = make_known_ratio(name, 2).numerator.shape[1]
        assert width == (int(dimension) if dimension else 2)


@pytest.mark.parametrize("name", known_ratio_problems())
def test_seed_and_pickle(name):
    shift = make_known_ratio(name, (6, 4), random_state=3)
    again = pickle.loads(pickle.dumps(make_known_ratio(name, (6, 4), random_state=3)))
    X, y = shift.pool()
    assert y.tolist() == [1] * 6 + [0] * 4
    np.testing.assert_array_equal(again.pool()[0], X)
    np.testing.assert_array_equal(again.log_ratio(X), shift.log_ratio(X))
    other = make_known_ratio(name, (6, 4), random_state=4)
    assert np.isin(other.numerator, X).any() == name.startswith("discrete")


def test_bad_names():
    with pytest.raises(ValueError, match=r"name must be one of .*'ring'.* got 'rings'"):
        make_known_ratio("rings")
    with pytest.raises(ValueError, match="role"):
        known_ratio_problems("both")
    with pytest.raises(ValueError, match="n_samples"):
        make_known_ratio("ring", 0)
