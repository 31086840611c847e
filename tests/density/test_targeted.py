"""TargetedSampler against distributions that are known."""

import pickle

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import kstest, norm, skewnorm
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KernelDensity
from sklearn.utils import check_random_state

from skdre import (
    FlowFeaturizer,
    GaussianRatio,
    TargetedSampler,
    pool,
)
from skdre.base import DensityRatioMixin, split_samples

TARGETS = ("numerator", "denominator")

# p is N(1.5, 1), q is N(0, 1), and their mixture has so much of p.
P, Q, SHARE = norm(1.5, 1), norm(0, 1), 0.15

# p is a skew normal of slope 3, and q what it lacks to a standard normal.
SKEW = skewnorm(3)


class KnownMixture(BaseEstimator):
    """The mixture of p and q itself, in x."""

    def fit(self, X, y=None):
        self.fitted_ = True
        self.labels_ = y
        return self

    def sample(self, n_samples, random_state):
        rng = check_random_state(random_state)
        of_p = rng.uniform(size=n_samples) < SHARE
        return (rng.normal(size=n_samples) + 1.5 * of_p).reshape(-1, 1)


class ExpFlow(TransformerMixin, BaseEstimator):
    """A flow x = exp(z) with z standard normal; it counts what it inverts."""

    def fit(self, X, y=None):
        self.fitted_, self.n_inverted_ = True, 0
        return self

    def transform(self, X):
        return np.log(X)

    def inverse_transform(self, Z):
        self.n_inverted_ += len(Z)
        return np.exp(Z)

    def sample(self, n_samples, random_state):
        raise AssertionError("In features, z is drawn and not x.")


class KnownRatio(DensityRatioMixin, BaseEstimator):
    """A log ratio that was given."""

    def __init__(self, log_ratio):
        self.log_ratio = log_ratio

    def fit(self, X, y, sample_weight=None):
        self.classes_ = split_samples(self, X, y, sample_weight).classes
        self.seen_ = X
        return self

    def decision_function(self, X):
        return self.log_ratio(X[:, 0])


def gaussian_log_ratio(x):
    return P.logpdf(x) - Q.logpdf(x)


def skewed_log_ratio(z):
    log_q = np.log1p(-2 * SHARE * norm.cdf(3 * z)) - np.log1p(-SHARE)
    return np.log(2) + norm.logcdf(3 * z) - log_q


def skewed_complement_cdf(z):
    return (norm.cdf(z) - SHARE * SKEW.cdf(z)) / (1 - SHARE)


ROWS = pool(
    numerator=np.linspace(1, 2, 10).reshape(-1, 1),
    denominator=np.linspace(0.5, 1.5, 40).reshape(-1, 1),
)


def gaussian_sampler(**params):
    return TargetedSampler(
        KnownMixture(),
        KnownRatio(gaussian_log_ratio),
        **{"space": "data", "share": SHARE} | params,
    )


def p_value(sampler, cdf, through=lambda x: x, n_samples=4000):
    # So many candidates that their own error does not count.
    rows = sampler.sample(n_samples, random_state=0, candidates_per_sample=50)
    assert rows.shape == (n_samples, 1)
    return kstest(through(rows[:, 0]), cdf).pvalue


@pytest.mark.parametrize("target", TARGETS)
def test_rows_in_data_are_those_of_the_target(target):
    sampler = gaussian_sampler(target=target).fit(*ROWS)
    right, wrong = (P, Q) if target == "numerator" else (Q, P)
    assert p_value(sampler, right.cdf) > 0.01
    assert p_value(sampler, wrong.cdf) < 1e-50


@pytest.mark.parametrize("target", TARGETS)
def test_rows_in_features_are_those_of_the_target(target):
    cdf, other = SKEW.cdf, skewed_complement_cdf
    if target == "denominator":
        cdf, other = other, cdf
    sampler = TargetedSampler(
        ExpFlow(), KnownRatio(skewed_log_ratio), target=target, share=SHARE
    ).fit(*ROWS)
    assert p_value(sampler, cdf, through=np.log) > 0.01
    assert p_value(sampler, other, through=np.log) < 1e-50


@pytest.mark.parametrize("share", [1 - SHARE, 0.5])
@pytest.mark.parametrize("target", TARGETS)
def test_a_wrong_share_is_seen(target, share):
    """So the tests above would fail of a swapped or a forgotten share."""
    cdf = (P if target == "numerator" else Q).cdf
    sampler = gaussian_sampler(target=target, share=share).fit(*ROWS)
    assert p_value(sampler, cdf) < 1e-3


@pytest.mark.parametrize("share", ["balanced", "proportional"])
@pytest.mark.parametrize("target", TARGETS)
def test_fitted_flow_and_ratio_of_unequal_samples(target, share):
    """The flow learns the mixture that the share says, not another."""
    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=rng.normal(1.5, 1, (4000, 1)),
        denominator=rng.normal(0, 1, (36_000, 1)),
    )
    cdf = (P if target == "numerator" else Q).cdf
    flow = FlowFeaturizer("copula", random_state=0)
    # In one dimension the copula's curve takes any mixture to a normal.
    ratio = GaussianRatio(shrink=False)
    params = {"target": target, "space": "data", "candidates_per_sample": 20}
    sampler = TargetedSampler(flow, ratio, share=share, **params).fit(X, y)
    assert sampler.share_ == (0.5 if share == "balanced" else 0.1)

    def distance(sampler):
        rows = sampler.sample(4000, random_state=0)[:, 0]
        return kstest(rows, cdf).statistic

    assert distance(sampler) < 0.03
    wrong = 0.1 if share == "balanced" else 0.5
    fitted = TargetedSampler(
        FrozenEstimator(sampler.flow_),
        FrozenEstimator(sampler.ratio_),
        share=wrong,
        **params,
    ).fit(X, y)
    assert distance(fitted) > 0.06


def test_in_features_of_a_fitted_flow():
    """The default: the ratio of z, of samples of two sizes."""
    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=rng.normal(1.5, 1, (1000, 1)),
        denominator=rng.normal(0, 1, (9000, 1)),
    )
    flow = FlowFeaturizer("copula", random_state=0)
    for target, truth in zip(TARGETS, (P, Q), strict=True):
        sampler = TargetedSampler(flow, GaussianRatio(), target=target).fit(X, y)
        rows = sampler.sample(4000, random_state=0)[:, 0]
        assert kstest(rows, truth.cdf).statistic < 0.06
        swapped = sampler.set_params(target=TARGETS[target == "numerator"]).fit(X, y)
        rows = swapped.sample(4000, random_state=0)[:, 0]
        assert kstest(rows, truth.cdf).statistic > 0.3


def test_a_density_without_labels():
    rng = np.random.default_rng(0)
    X, y = pool(
        numerator=rng.normal(1.5, 1, (600, 1)), denominator=rng.normal(0, 1, (3400, 1))
    )
    sampler = TargetedSampler(
        KernelDensity(bandwidth=0.1),
        GaussianRatio(),
        space="data",
        share="proportional",
    ).fit(X, y)
    rows = sampler.sample(4000, random_state=0)[:, 0]
    assert kstest(rows, P.cdf).statistic < 0.05


def test_labels_reach_the_flow_only_when_it_balances():
    X, y = ROWS
    labels = np.where(y == 1, "real", "drawn")
    balanced = gaussian_sampler(share="balanced").fit(X, labels)
    np.testing.assert_array_equal(balanced.flow_.labels_, labels)
    np.testing.assert_array_equal(balanced.classes_, ["drawn", "real"])
    assert balanced.share_ == 0.5
    proportional = gaussian_sampler(share="proportional").fit(X, labels)
    assert proportional.flow_.labels_ is None
    assert proportional.share_ == 0.2


def test_the_ratio_sees_the_space_it_is_asked_for():
    X, y = ROWS
    ratio = KnownRatio(skewed_log_ratio)
    in_z = TargetedSampler(ExpFlow(), ratio).fit(X, y)
    np.testing.assert_array_equal(in_z.ratio_.seen_, np.log(X))
    in_x = TargetedSampler(ExpFlow(), ratio, space="data").fit(X, y)
    np.testing.assert_array_equal(in_x.ratio_.seen_, X)


def test_only_drawn_rows_are_inverted():
    """What makes many candidates cheap where the inverse is not."""
    sampler = TargetedSampler(ExpFlow(), KnownRatio(skewed_log_ratio), share=SHARE)
    sampler.fit(*ROWS).sample(30, random_state=0)
    assert sampler.flow_.n_inverted_ == 30


@pytest.mark.parametrize("target", TARGETS)
def test_effective_size(target):
    """M / E_h[w^2], by quadrature."""
    sampler = gaussian_sampler(target=target).fit(*ROWS)
    _, size = sampler.sample(2000, random_state=0, return_effective_size=True)
    x = np.linspace(-10, 12, 20_001)
    mixture = SHARE * P.pdf(x) + (1 - SHARE) * Q.pdf(x)
    wanted = (P if target == "numerator" else Q).pdf(x)
    expected = 20_000 / trapezoid(wanted**2 / mixture, x)
    assert size == pytest.approx(expected, rel=0.03)


def test_no_row_comes_twice_with_enough_candidates():
    """At least one over the target's share: the weights are bounded by that."""
    sampler = gaussian_sampler(candidates_per_sample=7).fit(*ROWS)
    rows = sampler.sample(3000, random_state=0)
    # The mean weight of 21,000 candidates is 1 only within some percent.
    assert len(np.unique(rows)) > 2990
    few = gaussian_sampler(candidates_per_sample=1).fit(*ROWS)
    with pytest.warns(UserWarning, match="effective sample size"):
        assert len(np.unique(few.sample(3000, random_state=0))) < 2000


def test_low_effective_size_says_what_to_do():
    sampler = gaussian_sampler(candidates_per_sample=1).fit(*ROWS)
    with pytest.warns(UserWarning, match="candidates_per_sample to ") as caught:
        sampler.sample(3000, random_state=0)
    said = str(caught[0].message)
    enough = int(said.partition("candidates_per_sample to ")[2].split()[0])
    _, size = sampler.sample(
        3000,
        random_state=0,
        candidates_per_sample=enough + 1,
        return_effective_size=True,
    )
    assert size > 3000


def test_one_row_is_one_of_the_target():
    """Of ten candidates none may be likely, so there are more."""
    log_ratio = lambda x: np.where(x > 1.5, 60.0, -60.0)  # noqa: E731
    sampler = TargetedSampler(KnownMixture(), KnownRatio(log_ratio), space="data")
    sampler.fit(*ROWS)
    assert all(sampler.sample(random_state=seed)[0, 0] > 1.5 for seed in range(100))


def test_repeatable_and_global_seeds_are_left_alone():
    sampler = gaussian_sampler().fit(*ROWS)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = sampler.sample(50, random_state=3)
    np.testing.assert_array_equal(first, sampler.sample(50, random_state=3))
    np.testing.assert_array_equal(
        first, sampler.sample(50, random_state=np.random.RandomState(3))
    )
    assert not np.array_equal(first, sampler.sample(50, random_state=4))
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert not (np.diff(first[:, 0]) > 0).all()


def test_order_of_candidates_is_not_that_of_the_rows():
    """Systematic resampling sorts; what comes out is in random order."""

    class Counting(KnownMixture):
        def sample(self, n_samples, random_state):
            return np.arange(float(n_samples)).reshape(-1, 1)

    ratio = KnownRatio(np.zeros_like)
    sampler = TargetedSampler(Counting(), ratio, space="data").fit(*ROWS)
    rows = sampler.sample(500, random_state=0)[:, 0]
    assert abs(np.corrcoef(rows, np.arange(500))[0, 1]) < 0.15
    assert len(np.unique(rows)) == 500


def test_frozen_parts_are_not_fitted_again():
    X, y = ROWS
    flow = FlowFeaturizer("gaussian", random_state=0).fit(X, y)
    ratio = GaussianRatio().fit(flow.transform(X), y)
    both = TargetedSampler(FrozenEstimator(flow), FrozenEstimator(ratio))
    both = clone(both).fit(X[::7], y[::7])
    anew = TargetedSampler(FlowFeaturizer("gaussian", random_state=0), GaussianRatio())
    np.testing.assert_array_equal(
        both.sample(20, random_state=0), anew.fit(X, y).sample(20, random_state=0)
    )
    proportional = clone(both).set_params(share="proportional").fit(X, y)
    assert (both.share_, proportional.share_) == (0.5, 0.2)
    again = pickle.loads(pickle.dumps(anew))
    np.testing.assert_array_equal(
        again.sample(20, random_state=0), anew.sample(20, random_state=0)
    )


@pytest.mark.parametrize("n_samples", [0, -3, 2.0, "many", None])
def test_bad_n_samples(n_samples):
    sampler = gaussian_sampler().fit(*ROWS)
    with pytest.raises(ValueError, match="n_samples must be an integer >= 1, got"):
        sampler.sample(n_samples)


@pytest.mark.parametrize("candidates", [0, 2.0, "many"])
def test_bad_candidates_of_a_draw(candidates):
    sampler = gaussian_sampler().fit(*ROWS)
    with pytest.raises(ValueError, match="candidates_per_sample must be an integer"):
        sampler.sample(3, candidates_per_sample=candidates)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"target": "p"}, "'target' parameter of TargetedSampler"),
        ({"space": "latent"}, "'space' parameter of TargetedSampler"),
        ({"share": 0.0}, "'share' parameter of TargetedSampler"),
        ({"share": 1.0}, "'share' parameter of TargetedSampler"),
        ({"share": "half"}, "'share' parameter of TargetedSampler"),
        ({"candidates_per_sample": 0}, "'candidates_per_sample' parameter"),
        ({"flow": GaussianRatio()}, "'flow' parameter of TargetedSampler"),
        ({"ratio": FlowFeaturizer()}, "ratio must be a density-ratio estimator"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        gaussian_sampler().set_params(**params).fit(*ROWS)


def test_a_flow_without_features():
    with pytest.raises(TypeError, match=r"needs a flow with transform.*space='data'"):
        gaussian_sampler(space="features").fit(*ROWS)


def test_unfitted():
    with pytest.raises(NotFittedError):
        gaussian_sampler().sample(3)
    frozen = FrozenEstimator(FlowFeaturizer("gaussian"))
    with pytest.raises(NotFittedError):
        TargetedSampler(frozen, GaussianRatio()).fit(*ROWS)


@pytest.mark.parametrize("y", [np.zeros(50, int), np.arange(50) % 3])
def test_labels_that_are_not_two(y):
    with pytest.raises(ValueError, match="class"):
        gaussian_sampler().fit(ROWS[0], y)


def test_no_candidate_has_a_weight():
    ratio = KnownRatio(lambda x: np.full(len(x), -1000.0))
    sampler = TargetedSampler(KnownMixture(), ratio, space="data").fit(*ROWS)
    with pytest.raises(ValueError, match=r"target \(numerator\) no weight at any"):
        sampler.sample(5, random_state=0)


def test_a_failed_fit_changes_nothing():
    sampler = gaussian_sampler().fit(*ROWS)
    before = vars(sampler).copy()
    with pytest.raises(ValueError, match="contains NaN"):
        sampler.fit(np.full((50, 2), np.nan), ROWS[1])
    assert vars(sampler) == before


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("space", ["features", "data"])
def test_repeats_whatever_the_flow_was_fitted_with(seed, space):
    flow = FlowFeaturizer("gaussian", random_state=seed)
    sampler = TargetedSampler(flow, GaussianRatio(), space=space).fit(*ROWS)
    first, second = (sampler.sample(20, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(first, second)
