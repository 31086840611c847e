"""Normalising constants and samples by annealing, on densities that are known."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.special import expit, logsumexp
from scipy.stats import kstest, norm
from sklearn.base import BaseEstimator

from skdre import FlowFeaturizer, annealed_importance_sampling, raise_bound
from skdre.density import HMC, EllipticalSlice
from skdre.density._annealing import log_mean_error
from skdre.density._kernels import Ellipse
from skdre.density._targets import make_target

LOG_CONSTANT = 3.0


class Gaussian:
    """A rotated Gaussian, standard deviations .2 to 2.5, its mean off, times e^3."""

    def __init__(self, d, seed=0, scales=(0.2, 2.5), mean=0.7):
        rng = np.random.default_rng(seed)
        axes, _ = np.linalg.qr(rng.normal(size=(d, d)))
        scales = np.geomspace(*scales, d)
        self.d, self.mean, self.root = d, np.full(d, mean), axes * scales
        self.precision = (axes / scales**2) @ axes.T
        self.top = LOG_CONSTANT - np.log(scales).sum() - d / 2 * np.log(2 * np.pi)

    def __call__(self, X):
        e = X - self.mean
        return self.top - 0.5 * np.sum((e @ self.precision) * e, axis=1)

    def gradient(self, X):
        return -(X - self.mean) @ self.precision

    def draw(self, n, seed):
        normal = np.random.default_rng(seed).normal(size=(n, self.d))
        return self.mean + normal @ self.root.T

    def anneal(self, kernel="hmc", **options):
        gradient = None if kernel == "slice" else self.gradient
        options = {"kernel": kernel, "gradient": gradient, "random_state": 0} | options
        return annealed_importance_sampling(self, self.d, **options)


# --- constants that are known -----------------------------------------------------


@pytest.mark.parametrize(("d", "bar"), [(2, 0.05), (16, 0.1), (64, 0.3)])
def test_gaussian_by_hmc(d, bar):
    """100 chains and 1,000 steps, as the bars say."""
    result = Gaussian(d, seed=5).anneal(random_state=5)
    error = abs(result.log_normalizer - LOG_CONSTANT)
    assert error < min(bar, 2 * result.standard_error)
    assert result.standard_error < bar
    assert result.n_evaluations < 1.1 * 100 * 10_000


@pytest.mark.parametrize(("d", "bar"), [(2, 0.05), (8, 0.1)])
def test_gaussian_by_slices(d, bar):
    result = Gaussian(d, seed=5).anneal("slice", n_steps=400, random_state=5)
    error = abs(result.log_normalizer - LOG_CONSTANT)
    assert error < min(bar, 2 * result.standard_error)
    assert result.standard_error < 2 * bar


def log_ring(X):
    """A ring of radius 2."""
    return -(((np.sqrt((X**2).sum(axis=1)) - 2) / 0.2) ** 2) / 2


def log_ring_tensor(x):
    return -(((x.square().sum(1).sqrt() - 2) / 0.2) ** 2) / 2


def log_moons(X):
    """Two half rings, one upside down and moved, blurred."""
    halves = []
    for sign in (1, -1):
        u = sign * (X - np.array([sign * -0.5, sign * -0.25]))
        radius = np.sqrt((u**2).sum(axis=1))
        below = np.minimum(u[:, 1], 0)
        halves.append(-((radius - 1) ** 2 / 0.02) - below**2 / 0.1)
    return np.logaddexp(*halves)


def by_quadrature(log_density, function, half=5.0, n=801):
    """log Z and the mean of a function of rows."""
    axis = np.linspace(-half, half, n)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    density = np.exp(log_density(grid))

    def integral(values):
        return trapezoid(trapezoid(values.reshape(n, n), axis), axis)

    total = integral(density)
    return np.log(total), integral(density * function(grid)) / total


@pytest.mark.parametrize(
    ("log_density", "options"),
    [
        (log_ring, {"kernel": "slice"}),
        (log_ring_tensor, {"gradient": "torch"}),
        (log_moons, {"kernel": "slice"}),
    ],
    ids=["ring", "ring-hmc", "moons"],
)
def test_plane_by_quadrature(log_density, options):
    in_numpy = log_ring if log_density is log_ring_tensor else log_density

    def function(X):
        return (X[:, 0] + 0.3) ** 2 + (X[:, 1] > 0)

    truth, mean = by_quadrature(in_numpy, function)
    result = annealed_importance_sampling(
        log_density, 2, n_chains=400, n_steps=50, random_state=0, **options
    )
    assert abs(result.log_normalizer - truth) < 3 * result.standard_error
    assert result.standard_error < 0.1
    weights = np.exp(result.log_weights - logsumexp(result.log_weights))
    values = function(result.particles)
    error = np.sqrt(np.sum(weights**2 * (values - mean) ** 2))
    assert abs(weights @ values - mean) < 3.5 * error
    assert error < 0.2


def random_field(length, n=8):
    """Covariance of a Gaussian field of 8 by 8 pixels."""
    pixels = np.stack(np.meshgrid(*2 * [np.arange(n)]), axis=-1).reshape(-1, 2)
    squares = ((pixels[:, None] - pixels) ** 2).sum(axis=-1)
    return np.exp(-squares / (2 * length**2)) + 0.05 * np.eye(n * n)


def log_field(covariance):
    factor = np.linalg.cholesky(covariance)
    inverse = np.linalg.inv(factor)
    log_det = np.log(np.diagonal(factor)).sum()

    def log_density(X):
        squares = np.sum((X @ inverse.T) ** 2, axis=1)
        return -0.5 * squares - log_det - X.shape[1] / 2 * np.log(2 * np.pi)

    return log_density, lambda X: -(X @ inverse.T) @ inverse


def test_a_random_field_against_itself():
    """Nothing to do: exact, whatever the number of steps and chains."""
    covariance = random_field(1.5)
    log_density, _ = log_field(covariance)
    base = (np.zeros(64), covariance)
    result = annealed_importance_sampling(
        lambda X: log_density(X) + 2, base, n_chains=20, n_steps=2, random_state=0
    )
    assert abs(result.log_normalizer - 2) < 1e-9
    assert result.standard_error < 1e-9
    X = np.random.default_rng(0).multivariate_normal(*base, size=30)
    bound = raise_bound(
        lambda X: log_density(X) + 2, X, base, schedule=result, random_state=0
    )
    np.testing.assert_allclose(bound.log_likelihood, log_density(X), atol=1e-9)


def test_a_random_field_from_another():
    log_density, gradient = log_field(random_field(1.5))
    result = annealed_importance_sampling(
        log_density,
        (np.full(64, 0.1), 1.2 * random_field(1.0)),
        gradient=gradient,
        n_steps=100,
        random_state=0,
    )
    assert abs(result.log_normalizer) < min(0.3, 2.5 * result.standard_error)


def test_a_density_without_support_everywhere():
    """A half plane that N(0, I) falls into half of the time."""

    def log_density(X):
        log_normal = -0.5 * (X**2).sum(axis=1) - np.log(2 * np.pi)
        return np.where(X[:, 0] > 0, log_normal + 1, -np.inf)

    for options in ({"kernel": "slice"}, {"gradient": lambda X: -X}):
        result = annealed_importance_sampling(
            log_density, 2, n_chains=1000, n_steps=5, random_state=0, **options
        )
        error = abs(result.log_normalizer - (1 + np.log(0.5)))
        assert error < 3 * result.standard_error < 0.3
        weights = np.exp(result.log_weights)
        assert not weights[result.particles[:, 0] <= 0].any()


# --- standard errors --------------------------------------------------------------


def runs(d, kernel, n_runs, **options):
    found = []
    for seed in range(n_runs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            result = Gaussian(d, seed).anneal(kernel, random_state=seed, **options)
        found.append((result.log_normalizer - LOG_CONSTANT, result.standard_error))
    return np.array(found).T


@pytest.mark.parametrize(
    "options",
    [
        {"n_steps": 25},
        {"n_steps": 40, "schedule": "linear"},
        {"n_steps": 60, "schedule": "linear", "resample_below": 0},
    ],
    ids=["adaptive", "linear", "importance sampling"],
)
def test_standard_errors_cover(options):
    error, standard_error = runs(6, "hmc", 14, n_chains=40, **options)
    assert np.mean(np.abs(error) < 2 * standard_error) >= 0.9
    # Neither too wide.
    assert np.median(standard_error) < 3 * np.sqrt(np.mean(error**2))


def test_a_collapse_is_owned_up_to():
    """Slices in 24 columns with few steps, all of them nats too low."""
    error, standard_error = runs(
        24, "slice", 5, n_steps=20, n_chains=50, schedule="linear", resample_below=0
    )
    assert np.sqrt(np.mean(error**2)) > 3
    assert np.sum(np.abs(error) < 2 * standard_error) >= 4
    assert np.median(standard_error) > 2
    # Resampling hides it from the weights.
    error, standard_error = runs(24, "slice", 5, n_steps=20, n_chains=50)
    assert np.sqrt(np.mean(error**2)) > 1
    assert np.sum(np.abs(error) < 2 * standard_error) >= 4


def test_a_collapse_is_warned_of():
    target = Gaussian(16)
    with pytest.warns(
        UserWarning, match="fell to .* of 100 chains, below a tenth at"
    ) as c:
        result = target.anneal(n_steps=5, schedule="linear", resample_below=0)
    first = np.argmax(result.effective_sample_sizes < 10)
    temperature = result.temperatures[first + 1]
    assert f"inverse temperature {temperature:.3g}" in str(c[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target.anneal(n_steps=300)


def test_errors_of_a_log_mean():
    rng = np.random.default_rng(0)
    small = rng.normal(0, 0.1, size=(2000, 10)) + 500
    found = [log_mean_error(each) for each in small]
    spread = np.std([value for value, _ in found])
    widened = np.mean([errors["groups"] for _, errors in found])
    # t's quantile over that of a normal: 1.16 with ten values.
    assert widened == pytest.approx(1.16 * spread, rel=0.05)
    assert max(errors["tail"] for _, errors in found) < 0.05
    # Log-normal with a spread that no ten values show: the truth is 18 above.
    _, errors = log_mean_error(6 * norm.ppf(np.arange(0.5, 10) / 10))
    assert errors["groups"] < 1.2
    assert 5 < errors["tail"] < 18


# --- kernels ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "tuning"),
    [
        (HMC(3), 0.5),
        (EllipticalSlice(1), None),
        (EllipticalSlice(1), Ellipse(np.array([0.4]), np.array([[0.7]]))),
    ],
    ids=["hmc", "slice", "slice-ellipse"],
)
def test_kernels_leave_their_distribution_as_it_is(kernel, tuning):
    """At beta = 1/2 between N(0, 1) and N(2, .5): N(1.6, .4), by its variance .2."""
    target = make_target(
        lambda X: -((X[:, 0] - 2) ** 2) / 0.5, 1, lambda X: -4 * (X - 2)
    )
    precision = 0.5 * 1 + 0.5 * 4
    between = norm(0.5 * 4 * 2 / precision, precision**-0.5)
    rng = np.random.RandomState(0)
    state = kernel._start(target, between.rvs((20_000, 1), random_state=rng))
    for _ in range(4):
        before = state.Z
        state, acceptance = kernel._move(target, 0.5, state, tuning, rng)
    assert kstest(state.Z[:, 0], between.cdf).pvalue > 0.001
    assert 0.3 < acceptance < 0.999
    assert np.corrcoef(before[:, 0], state.Z[:, 0])[0, 1] < 0.9
    np.testing.assert_allclose(state.log_ratio, target.log_ratio(state.Z))


def test_steps_are_adapted_and_then_frozen():
    target = Gaussian(32, scales=(0.05, 1.0))
    result = target.anneal(n_steps=50, n_chains=200)
    # At the narrow end the quarter of a turn is no limit.
    assert abs(result.acceptance[-20:].mean() - 0.65) < 0.1
    again = target.anneal("auto", schedule=result, n_chains=200, random_state=1)
    assert again.n_pilot_evaluations == 0
    np.testing.assert_array_equal(again.temperatures, result.temperatures)
    assert abs(again.acceptance[-20:].mean() - 0.65) < 0.1


# --- schedules --------------------------------------------------------------------


def test_adaptive_steps_lose_equally_much():
    """Conditional effective sizes of a Gaussian's steps, in closed form."""
    sd = 0.1
    result = annealed_importance_sampling(
        lambda X: -(X[:, 0] ** 2) / (2 * sd**2),
        1,
        n_chains=500,
        n_steps=30,
        random_state=0,
    )

    def losses(betas):
        # log w = -step a z^2 / 2 under N(0, 1 / precision).
        a = 1 / sd**2 - 1
        precision, step = 1 + betas[:-1] * a, np.diff(betas) * a
        mean = (1 + step / precision) ** -0.5
        square = (1 + 2 * step / precision) ** -0.5
        return 1 - mean**2 / square

    found = losses(result.temperatures)
    # A pilot of a handful of temperatures, and a curve between them.
    assert found.max() < 4 * found.min()
    even = losses(np.linspace(0, 1, 31))
    assert even.max() > 50 * even.min()
    assert result.log_normalizer == pytest.approx(
        np.log(sd * np.sqrt(2 * np.pi)), abs=3 * result.standard_error
    )


def test_fixed_schedules():
    def temperatures(schedule):
        return (
            Gaussian(2).anneal(n_chains=20, n_steps=4, schedule=schedule).temperatures
        )

    np.testing.assert_array_equal(temperatures("linear"), [0, 0.25, 0.5, 0.75, 1])
    curve = expit([-4, -2, 0, 2, 4])
    np.testing.assert_allclose(
        temperatures("sigmoid"), (curve - curve[0]) / (curve[-1] - curve[0])
    )
    np.testing.assert_array_equal(temperatures([0, 0.1, 1]), [0, 0.1, 1])


# --- RAISE ------------------------------------------------------------------------


def test_both_sides_bracket_the_truth():
    n_inside, widths = 0, []
    for seed in range(10):
        target = Gaussian(12, seed)
        forward = target.anneal(n_steps=60, random_state=seed)
        bound = raise_bound(
            target,
            target.draw(50, seed),
            12,
            gradient=target.gradient,
            schedule=forward,
            random_state=seed,
        )
        low = forward.log_normalizer - 2 * forward.standard_error
        high = bound.log_normalizer + 2 * bound.log_normalizer_std
        n_inside += low < LOG_CONSTANT < high
        widths.append(high - low)
        # Above in expectation, far more than its error with so few steps.
        assert bound.log_normalizer > LOG_CONSTANT
    assert n_inside >= 9
    assert max(widths) < 2.5


def test_log_weights_are_averaged_over_rows():
    target = Gaussian(4)
    X = target.draw(60, 1)
    options = {"gradient": target.gradient, "n_steps": 30, "random_state": 0}
    bound = raise_bound(target, X, 4, **options)
    assert bound.value == pytest.approx(bound.log_likelihood.mean())
    assert bound.standard_error == pytest.approx(
        bound.log_likelihood.std(ddof=1) / np.sqrt(60)
    )
    truth = target(X) - LOG_CONSTANT
    gap = truth - bound.log_likelihood
    assert bound.log_normalizer - LOG_CONSTANT == pytest.approx(gap.mean())
    # What one public code returns is another number.
    assert logsumexp(bound.log_likelihood) - np.log(60) > bound.value + 1
    # More chains for each row make the bound tighter.
    many = raise_bound(target, X, 4, n_chains=30, **options)
    assert 0 < truth.mean() - many.value < 0.5 * gap.mean()


def test_reverse_weights_have_the_density_of_what_annealing_draws():
    """With few and short steps, that is another density than the target's."""
    target = Gaussian(1, scales=(0.5, 0.5), mean=0.5)
    options = {"gradient": target.gradient, "random_state": 0}
    plan = target.anneal(HMC(1), schedule=[0, 0.3, 0.7, 1])
    drawn = annealed_importance_sampling(
        target, 1, n_chains=40_000, schedule=plan, resample_below=0, **options
    ).particles[:, 0]
    X = np.linspace(-0.5, 1.5, 5)[:, None]
    bound = raise_bound(target, X, 1, n_chains=40_000, schedule=plan, **options)
    near = np.abs(drawn - X) < 0.05
    np.testing.assert_allclose(
        np.exp(bound.log_likelihood), near.mean(axis=1) / 0.1, rtol=0.1
    )
    truth = np.exp(target(X) - LOG_CONSTANT)
    assert np.abs(np.exp(bound.log_likelihood) / truth - 1).max() > 0.3


# --- bases ------------------------------------------------------------------------


def test_from_a_flow():
    """In the features of the flow; rows and likelihoods are those of the data."""
    rng = np.random.default_rng(0)
    flow = FlowFeaturizer("copula", random_state=0).fit(
        np.exp(rng.normal(size=(500, 2)))
    )

    def log_density(X):  # a gamma of shape 2, times e^2
        return 2 + np.where(X > 0, np.log(np.maximum(X, 1e-300)) - X, -np.inf).sum(1)

    result = annealed_importance_sampling(
        log_density, flow, n_chains=200, n_steps=20, random_state=0
    )
    assert abs(result.log_normalizer - 2) < 3 * result.standard_error < 0.3
    assert (result.particles[np.isfinite(result.log_weights)] > 0).all()
    X = rng.gamma(2, size=(60, 2))
    bound = raise_bound(log_density, X, flow, schedule=result, random_state=0)
    assert abs(bound.value - (log_density(X) - 2).mean()) < 0.2


def test_ways_to_give_a_gradient_agree():
    class Energy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def forward(self, x):
            return -self.scale * (x - 1).square().sum(dim=1, keepdim=True)

    options = {"n_chains": 20, "n_steps": 5, "random_state": 0}
    found = [
        annealed_importance_sampling(log_density, 2, gradient=gradient, **options)
        for log_density, gradient in [
            (lambda X: -2 * ((X - 1) ** 2).sum(axis=1), lambda X: -4 * (X - 1)),
            (lambda x: -2 * (x - 1).square().sum(1), "torch"),
            (Energy(), None),
        ]
    ]
    for each in found[1:]:
        np.testing.assert_allclose(each.particles, found[0].particles)
        assert each.log_normalizer == pytest.approx(found[0].log_normalizer)


# --- seeds, progress, interruption ------------------------------------------------


def test_repeatable_and_global_seeds_are_left_alone():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    torch_before = torch.get_rng_state()
    for kernel in ("hmc", "slice"):
        one, two, other = (
            Gaussian(3).anneal(kernel, n_steps=8, n_chains=23, random_state=seed)
            for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(one.log_weights, two.log_weights)
        np.testing.assert_array_equal(one.particles, two.particles)
        assert one.log_normalizer != other.log_normalizer
        mean = logsumexp(one.log_weights) - np.log(23)
        assert one.log_normalizer == pytest.approx(mean)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_results_are_stored():
    result = Gaussian(3).anneal("slice", n_steps=4, n_chains=200)
    again = pickle.loads(pickle.dumps(result))
    assert again.log_normalizer == result.log_normalizer
    assert repr(result).startswith("Annealing(log_normalizer=")


def test_progress(capsys):
    Gaussian(2).anneal(n_steps=30, n_chains=20, verbose=1)
    assert len(capsys.readouterr().out.splitlines()) == 10
    Gaussian(2).anneal(n_steps=30, n_chains=20)
    assert not capsys.readouterr().out


class Interrupted:
    """A log density that Ctrl-C reaches after so many rows."""

    def __init__(self, n_rows):
        self.left = n_rows

    def __call__(self, X):
        self.left -= len(X)
        if self.left < 0:
            raise KeyboardInterrupt
        return -(X**2).sum(axis=1)


def test_interrupted():
    count = Interrupted(10**9)
    options = {"n_chains": 20, "kernel": "slice", "random_state": 0}
    whole = annealed_importance_sampling(count, 2, n_steps=20, **options)
    n_rows = (whole.n_evaluations + whole.n_pilot_evaluations) // 2
    with pytest.raises(KeyboardInterrupt) as caught:
        annealed_importance_sampling(Interrupted(n_rows), 2, n_steps=20, **options)
    part = caught.value.partial_result
    n_done = len(part.effective_sample_sizes)
    assert 2 < n_done < 20
    assert len(part.temperatures) == n_done + 1
    # Of the distribution where it stopped: N(0, I) exp(beta (..)) in closed form.
    beta = part.temperatures[-1]
    truth = np.log(2 * np.pi) * beta - np.log(1 + beta)
    assert abs(part.log_normalizer - truth) < 0.2
    with pytest.raises(KeyboardInterrupt) as caught:
        annealed_importance_sampling(Interrupted(30), 2, n_steps=20, **options)
    assert not hasattr(caught.value, "partial_result")


def test_interrupted_bounds():
    X = np.random.default_rng(0).normal(size=(2500, 2)) / np.sqrt(2)
    schedule = annealed_importance_sampling(
        Interrupted(10**9), 2, n_steps=5, random_state=0
    )
    whole = raise_bound(Interrupted(10**9), X, 2, schedule=schedule, random_state=0)
    with pytest.raises(KeyboardInterrupt) as caught:
        raise_bound(
            Interrupted(int(0.9 * whole.n_evaluations)),
            X,
            2,
            schedule=schedule,
            random_state=0,
        )
    part = caught.value.partial_result
    np.testing.assert_array_equal(part.log_likelihood, whole.log_likelihood[:2000])


# --- bad input --------------------------------------------------------------------


def plain(X):
    return -0.5 * (X**2).sum(axis=1)


def spoilt(value):
    """The same, but on one side."""
    return lambda X: np.where(X[:, 0] > 1, value, plain(X))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_chains": 19}, ValueError, "n_chains must be at least 20.*got 19"),
        ({"n_steps": 0}, ValueError, "'n_steps' parameter"),
        ({"resample_below": 1.5}, ValueError, "'resample_below' parameter"),
        ({"schedule": "cosine"}, ValueError, "'schedule' parameter"),
        ({"schedule": [0, 0.5]}, ValueError, "schedule must be .* rise from 0 to 1"),
        ({"schedule": [0, 0.6, 0.5, 1]}, ValueError, "rise from 0 to 1, each above"),
        ({"schedule": [0.1, 1]}, ValueError, "rise from 0 to 1"),
        ({"kernel": "gibbs"}, ValueError, "'kernel' parameter"),
        ({"kernel": "hmc"}, ValueError, "needs the gradient of log_density"),
        ({"kernel": HMC(0)}, ValueError, "'n_leapfrogs' parameter of HMC"),
        ({"kernel": EllipticalSlice(0)}, ValueError, "'n_sweeps' parameter"),
        ({"gradient": 3}, TypeError, "gradient must be a function"),
        ({"base": None}, TypeError, "base must be given with a function"),
        ({"base": 0}, ValueError, "at least one feature, got 0"),
        ({"base": "normal"}, TypeError, "base must be a number of features.*'normal'"),
        ({"base": (np.zeros(2), np.eye(3))}, ValueError, r"got \(2,\) and \(3, 3\)"),
        ({"base": (np.zeros(2), -np.eye(2))}, ValueError, "positive definite"),
        ({"log_density": 3.0}, TypeError, "log_density must be a function of rows"),
        ({"log_density": lambda X: X}, ValueError, r"one value for each row.*\(100, 2"),
        (
            {"log_density": spoilt(np.nan)},
            ValueError,
            r"nan at \d+ of 100 rows.*z = \[",
        ),
        (
            {"log_density": spoilt(np.inf)},
            ValueError,
            r"inf at \d+ of 100 rows.*z = \[",
        ),
        (
            {"log_density": lambda X: np.full(len(X), -np.inf)},
            ValueError,
            "minus infinity at all of 100 draws",
        ),
        (
            {"gradient": lambda X: X[:, 0]},
            ValueError,
            "must have the shape of the rows",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    arguments = {"log_density": plain, "base": 2, "n_steps": 3} | arguments
    with pytest.raises(error, match=f"(?s){message}"):
        annealed_importance_sampling(random_state=0, **arguments)


def test_bad_rows_of_a_bound():
    options = {"n_steps": 3, "random_state": 0}
    with pytest.raises(ValueError, match="X has 3 features, but the base has 2"):
        raise_bound(plain, np.zeros((4, 3)), 2, **options)
    with pytest.raises(ValueError, match="contains NaN"):
        raise_bound(plain, np.full((4, 2), np.nan), 2, **options)
    X = np.array([[0.0, 0.0], [2.0, 0.0]])
    with pytest.raises(ValueError, match="0 at 1 of 2 rows of X, first at row 1"):
        raise_bound(spoilt(-np.inf), X, 2, **options)
    result = annealed_importance_sampling(plain, 3, **options)
    with pytest.raises(ValueError, match="a result of 3 features, but the base has 2"):
        raise_bound(plain, X, 2, schedule=result)
    with pytest.raises(ValueError, match="brings its kernel"):
        raise_bound(
            plain,
            np.zeros((2, 3)),
            3,
            schedule=result,
            kernel="hmc",
            gradient=np.zeros_like,
        )


def test_a_base_without_a_density():
    class Map(BaseEstimator):
        n_features_in_ = 2

        def transform(self, X):
            return X

        inverse_transform = transform

    with pytest.raises(TypeError, match="which has no score_samples"):
        annealed_importance_sampling(plain, Map())


def test_rows_outside_the_support_of_the_base():
    class HalfLine(BaseEstimator):
        def transform(self, X):
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.log(X)

        def inverse_transform(self, Z):
            return np.exp(Z)

        def score_samples(self, X):
            Z = self.transform(X)
            return norm.logpdf(Z[:, 0]) - Z[:, 0]

        def fit(self):
            self.n_features_in_ = 1
            return self

    with pytest.raises(
        ValueError, match=r"1 of 3 rows of X lie outside the support.*row 2"
    ):
        raise_bound(plain, np.array([[1.0], [2.0], [-1.0]]), HalfLine().fit())
