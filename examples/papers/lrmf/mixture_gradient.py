"""How the gradient of a cross-entropy between mixtures vanishes: Figure 7.

    python examples/papers/lrmf/mixture_gradient.py --out results/lrmf

A sample of N(0, 1), half of a mixture m1, is fitted by m2, an equal mixture of N(0, 1)
and N(mu, 1): the derivative of the cross-entropy by mu is what would move the second
component back to the sample. Section 8.8 fits sqrt(-log |dL / dmu|) by a mu + b. Here
the derivative is computed by quadrature, to all digits, and as in the paper from a
fixed sample of 100,000 rows. (The paper's text does not give its components.)
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import log_expit, logsumexp
from scipy.stats import norm

sys.path.append(str(Path(__file__).resolve().parents[1] / "dre_infinity"))

from _runs import ROOT, argument_parser, markdown, replace_block

HERE = Path(__file__).resolve().parent
OUT = Path("results/lrmf")
RANGES = ((2, 10), (5, 16), (7, 16))
PRINTED = {"a": 0.6, "b": -1.168, "R": 0.99996}


def log_gradient(mu, x, log_weight):
    """Log of |dL / dmu| for rows x with weights that sum to 1; L is in nats."""
    # The posterior of the second component: log N(x; mu) - log N(x; 0) is linear in x.
    log_posterior = log_expit(mu * x - mu**2 / 2)
    terms = log_posterior + log_weight + np.log(np.abs(x - mu) + 1e-300)
    return logsumexp(terms, b=np.sign(x - mu), return_sign=True)[0]


def exact(mu):
    x = np.linspace(-12, mu + 12, 200_001)
    return log_gradient(mu, x, norm.logpdf(x) + np.log(x[1] - x[0]))


def sampled(mu, rows):
    return log_gradient(mu, rows, -np.log(len(rows)))


def fit(mus, log_gradients):
    """The line through sqrt(-log |dL / dmu|), and its correlation."""
    roots = np.sqrt(-np.asarray(log_gradients))
    a, b = np.polyfit(mus, roots, 1)
    return {"a": a, "b": b, "R": np.corrcoef(mus, roots)[0, 1]}


def main(arguments=None):
    parser = argument_parser(__doc__, seeds=3)
    parser.set_defaults(out=OUT)
    options = parser.parse_args(arguments)
    n_rows = 1000 if options.quick else 100_000
    samples = {
        seed: np.random.default_rng(seed).normal(size=n_rows) for seed in options.seeds
    }
    lines = [{"what": "printed", "range": ""} | PRINTED]
    for low, high in RANGES:
        mus = np.linspace(low, high, 8 if options.quick else 50)
        span = f"{low} to {high}"
        found = fit(mus, [exact(mu) for mu in mus])
        lines.append({"what": "quadrature", "range": span} | found)
        for seed, rows in samples.items():
            found = fit(mus, [sampled(mu, rows) for mu in mus])
            lines.append({"what": f"sample, seed {seed}", "range": span} | found)
    headings = {
        "what": ("expectation", "{}"),
        "range": ("mu", "{}"),
        "a": ("a", "{:.3f}"),
        "b": ("b", "{:.3f}"),
        "R": ("R", "{:.5f}"),
    }
    text = markdown(lines, headings)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    name = "mixture_gradient_quick" if options.quick else "mixture_gradient"
    pd.DataFrame(lines).to_csv(options.out / f"{name}.csv", index=False)
    picture = options.out / f"{name}.png"
    if options.write_doc and not options.quick:
        replace_block(HERE / "README.md", "mixture-gradient", text)
        picture = ROOT / "doc" / "images" / "lrmf_mixture_gradient.png"
    plot(picture, samples)


def plot(path, samples):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    mus = np.linspace(1, 16, 100)
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    roots = np.sqrt([-exact(mu) for mu in mus])
    ax.plot(mus, roots, "k", label="by quadrature")
    for seed, rows in samples.items():
        ax.plot(mus, np.sqrt([-sampled(mu, rows) for mu in mus]), label=f"seed {seed}")
    ax.plot(mus, mus / np.sqrt(8), "k:", label="mu / sqrt(8)")
    ax.plot(mus, 0.6 * mus - 1.168, "--", color="tab:red", label="printed line")
    ax.set(xlabel="mu", ylabel="sqrt(-log |dL / dmu|)", ylim=(0, None))
    ax.legend(frameon=False)
    figure.savefig(path, dpi=75)
    plt.close(figure)


if __name__ == "__main__":
    main()
