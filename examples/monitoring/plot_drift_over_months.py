"""
Drift of a table over months
============================

A model was trained on a reference table, and new rows come in every month. Has the
table changed, when, and in which columns? :func:`skdre.drift_over_time` holds each
month against the reference: the month is the numerator of the ratio, the reference the
denominator.

The months are drawn, so the truth is known. Income rises from the fourth month on, the
web form leaves the age out from the sixth on, and in the eighth the relation of two
columns turns round, while each of them stays as it was::

    python examples/monitoring/plot_drift_over_months.py
"""

# %%
# The table
# ---------

import argparse

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdre import drift_over_time
from skdre.inspection import DriftDisplay, DriftHistoryDisplay


def draw(n_rows, rng, month=0):
    """Rows of a month; month 0 is the reference."""
    first, second = rng.normal(size=(2, n_rows))
    relation = -0.6 if month >= 8 else 0.6
    table = pd.DataFrame(
        {
            "age": rng.normal(45, 12, n_rows),
            "income": rng.lognormal(0.15 * max(month - 3, 0), 0.6, n_rows),
            "balance": first,
            "spending": relation * first + np.sqrt(1 - relation**2) * second,
            "visits": rng.poisson(1.5, n_rows),
            "region": pd.Categorical(rng.choice(["N", "E", "S", "W"], n_rows)),
        }
    )
    left_out = rng.uniform(size=n_rows) < (0.2 if month >= 6 else 0.05)
    table.loc[left_out, "age"] = np.nan
    return table


# %%
# Month by month
# --------------
# For each month the p-value of all columns together, adjusted for the number of months,
# a divergence with its standard error, and the area under the curve of the ratio. What
# is said of a row comes from a ratio that was fitted without it.


def report_months(n_months=9, n_rows=300, n_reference=600, seed=0):
    rng = np.random.default_rng(seed)
    reference = draw(n_reference, rng)
    months = pd.concat([draw(n_rows, rng, month + 1) for month in range(n_months)])
    names = np.repeat([f"month {month + 1}" for month in range(n_months)], n_rows)
    return drift_over_time(
        reference, months, names, n_permutations=499, n_repeats=3, random_state=0
    )


# %%
# Which columns
# -------------
# A report of one month has a line for each column: the test that fits it, and what the
# ratio loses when the column is shuffled. Balance and spending have importance in the
# last months, though no test of a single column sees anything in them: it is their
# relation that changed.


def plot(history):
    figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
    DriftHistoryDisplay.from_history(history, ax=axes[0])
    DriftHistoryDisplay.from_history(history, what="columns", ax=axes[1])
    DriftDisplay.from_report(history.reports[-1], ax=axes[2])
    axes[2].set_title(f"{history.periods[-1]}: {axes[2].get_title()}")
    return figure


def main(n_months=9, n_rows=300, save=None):
    history = report_months(n_months, n_rows)
    print(history, history.reports[-1], sep="\n\n")
    figure = plot(history)
    if save:
        figure.savefig(save, dpi=80)
        plt.close(figure)
    else:
        plt.show()
    return history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--months", type=int, default=9)
    parser.add_argument("--rows", type=int, default=300, help="rows a month")
    parser.add_argument("--save", help="file to save the picture to")
    options, _ = parser.parse_known_args()
    main(options.months, options.rows, options.save)
