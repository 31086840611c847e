"""One unknown parameter in one dimension: Figure 6.

    python examples/papers/dre_infinity/parameter_recovery.py --out results/dre_infinity

N(0, s^2) is the numerator and N(0, 1) the denominator, with s^2 = 0.01 and 1e-6 as in
the figure's captions (appendix F.1 says 1 and 1e-6; at 1 there is no shift). The
network of both scores is right but for the mean, one number, which the joint objective
has to find. Finished runs stand in parameter_recovery.csv and are not run again.
"""

import numpy as np
import torch
from _runs import (
    HERE,
    ROOT,
    Runs,
    argument_parser,
    fit_timed,
    markdown,
    mean_and_error,
    replace_block,
    squared_error,
)
from torch import nn

import skdre
from skdre import pool

ROWS = 10_000
MAX_ITER = 2000
VARIANCES = (1e-2, 1e-6)


def variance_of_path(t, variance):
    """1 - (1 - s^2) t^2, without cancellation at t = 1."""
    return (1 - t) * (1 + t) + variance * t**2


class ParametricScore(nn.Module):
    r"""Scores of N(theta, 1 - (1 - s^2) t^2), theta unknown (appendix F.1).

    With c = 1 - s^2 and v = 1 - c t^2, the variance on the arithmetic path,

    .. math::

        \partial_t \log p_t(x) &= c t (v - (x - \theta)^2) / v^2 \\
        \nabla_x \log p_t(x) &= -(x - \theta) / v

    which is what the paper prints. theta stands still: a path between two samples of
    mean theta would have it at (sqrt(1 - t^2) + t) theta, which for the truth, 0, is
    the same.

    Parameters
    ----------
    variance : float
        s^2.
    start : float
        theta before training.
    """

    def __init__(self, variance, start):
        super().__init__()
        self.variance = variance
        self.theta = nn.Parameter(torch.tensor(float(start)))

    def forward(self, x, t):
        """Time score and data score, of shape (n_rows, 2), at rows x and times t."""
        slope = (1 - self.variance) * t
        v = variance_of_path(t, self.variance)
        deviation = x - self.theta
        time_score = slope * (v - deviation**2) / v**2
        return torch.cat([time_score, -deviation / v], dim=1)

    def log_ratio(self, x):
        """The integral of the time score over t from 0 to 1, in closed form."""
        squared = (x - float(self.theta.detach())) ** 2
        return 0.5 * (squared * (1 - 1 / self.variance) - np.log(self.variance))


# lambda(t). The scores go as 1 / v towards the numerator, and so does what a draw says
# of the mean: with 1 the draws near t = 1 decide, with v^2 all times count alike.
WEIGHTINGS = {
    "1": lambda variance: "uniform",
    "v(t)^2": lambda variance: lambda t: variance_of_path(t, variance) ** 2,
}

KEYS = ["variance", "weighting", "seed"]
RESULTS = ["start", "mean", "error", "relative_error", "seconds"]


def draw(variance, seed, rows):
    rng = np.random.default_rng(seed)
    numerator = rng.normal(0, variance**0.5, (rows, 1))
    return numerator, rng.standard_normal((rows, 1))


def true_log_ratio(X, variance):
    return 0.5 * (X[:, 0] ** 2 * (1 - 1 / variance) - np.log(variance))


def run(variance, weighting, seed, *, rows=ROWS, max_iter=MAX_ITER):
    """Fit; the results, and the log ratios at new rows of the numerator.

    The denominator is known to be Gaussian: it is whitened, and standard normal draws
    stand for its rows in training.
    """
    start = float(np.random.default_rng(seed).normal())
    model = skdre.TimeScoreRatio(
        "joint",
        path="arithmetic",
        denominator="gaussian",
        base_score=None,
        network=ParametricScore(variance, start),
        weighting=WEIGHTINGS[weighting](variance),
        learning_rate=0.01,
        weight_decay=0.0,
        max_iter=max_iter,
        patience=max_iter,
        # The time score has nearly a pole at t = 1.
        integrator="rk45",
        random_state=seed,
    )
    numerator, denominator = draw(variance, seed, rows)
    seconds = fit_timed(model, *pool(numerator=numerator, denominator=denominator))
    network = model.network_.network
    mean = to_units_of_rows(model, float(network.theta))
    at_p, at_q = draw(variance, 100_000 + seed, rows)
    estimate_p, estimate_q = (log_ratio(model, X) for X in (at_p, at_q))
    truth_p, truth_q = (true_log_ratio(X, variance) for X in (at_p, at_q))
    result = {
        "variance": variance,
        "weighting": weighting,
        "seed": seed,
        "start": start,
        "mean": mean,
        "error": squared_error(estimate_p, truth_p),
        "relative_error": np.median(np.abs(estimate_q - truth_q) / np.abs(truth_q)),
        "seconds": seconds,
    }
    return result, {"estimate": estimate_p, "truth": truth_p}


def to_units_of_rows(model, theta):
    """Where theta, a mean of standardised rows, lies among the rows as they came."""
    ends = model.scaling_.transform(np.array([[0.0], [1.0]]))[:, 0]
    return float((theta - ends[0]) / (ends[1] - ends[0]))


def log_ratio(model, X):
    """The fitted log ratio, its integral in closed form: RK45 takes 0.1 s a row."""
    return model.network_.network.log_ratio(model.scaling_.transform(X)[:, 0])


def report(runs):
    """A line for each variance and weighting."""
    lines = []
    for variance in VARIANCES:
        for weighting in WEIGHTINGS:
            of_both = runs[
                (runs["variance"] == variance)
                & (runs["weighting"].astype(str) == weighting)
            ]
            if of_both.empty:
                continue
            off = of_both["mean"].abs()
            lines.append(
                {
                    "variance": f"{variance:g}",
                    "weighting": weighting,
                    "mean": f"{off.mean():.2g} (at most {off.max():.2g})",
                    "in_s": off.mean() / variance**0.5,
                    "error": mean_and_error(of_both["error"]),
                    "relative_error": of_both["relative_error"].mean(),
                    "seconds": of_both["seconds"].mean(),
                    "seeds": len(of_both),
                }
            )
    headings = {
        "variance": ("variance of p", "{}"),
        "weighting": ("weight of a time", "{}"),
        "mean": ("distance of the mean found from 0", "{}"),
        "in_s": ("in standard deviations of p", "{:.2g}"),
        "error": ("squared error of log r at rows of p", "{}"),
        "relative_error": ("relative error at rows of q, median", "{:.1%}"),
        "seconds": ("seconds", "{:.0f}"),
        "seeds": ("seeds", "{}"),
    }
    return markdown(lines, headings)


def plot(log_ratios, path):
    """Histograms of estimated and true log ratios, as in Figure 6."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(log_ratios), figsize=(9, 3), squeeze=False, layout="constrained"
    )
    for ax, (title, values) in zip(axes[0], log_ratios.items(), strict=True):
        low, high = np.quantile(values["truth"], [0.01, 1])
        bins = np.linspace(low, high + 0.1 * (high - low), 50)
        inside = np.clip(values["estimate"], bins[0], bins[-1])
        ax.hist(values["truth"], bins, color="0.75", label="truth")
        ax.hist(inside, bins, histtype="step", color="tab:red", label="estimate")
        ax.set(title=title, xlabel="log ratio at rows of p", yticks=[])
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def parse_args(arguments=None):
    return argument_parser(__doc__, seeds=5).parse_args(arguments)


def main(arguments=None):
    options = parse_args(arguments)
    name, rows, max_iter = "parameter_recovery", ROWS, MAX_ITER
    if options.quick:
        # In a file of their own: quick runs are no results.
        name, rows, max_iter = "parameter_recovery_quick", 300, 20
        options.seeds = options.seeds[:1]
    runs = Runs(options.out / f"{name}.csv", KEYS, RESULTS)
    stored = options.out / f"{name}_log_ratios"
    stored.mkdir(parents=True, exist_ok=True)
    for variance in VARIANCES:
        for weighting in WEIGHTINGS:
            for seed in options.seeds:
                run_key = dict(zip(KEYS, (variance, weighting, seed), strict=True))
                if run_key in runs:
                    continue
                result, log_ratios = run(**run_key, rows=rows, max_iter=max_iter)
                if weighting == next(iter(WEIGHTINGS)):
                    np.savez(stored / f"{variance:g}_{seed}.npz", **log_ratios)
                runs.add(result)
    text = report(runs.frame())
    print(text)
    picture = options.out / f"{name}.png"
    if options.write_doc and not options.quick:
        replace_block(HERE / "README.md", "parameter-recovery", text)
        picture = ROOT / "doc" / "images" / "dre_infinity_parameter_recovery.png"
    log_ratios = {
        f"p = N(0, {variance:g}), q = N(0, 1)": np.load(
            stored / f"{variance:g}_{options.seeds[0]}.npz"
        )
        for variance in VARIANCES
    }
    plot(log_ratios, picture)


if __name__ == "__main__":
    main()
