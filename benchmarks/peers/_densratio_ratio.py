"""densratio: uLSIF, RuLSIF and KLIEP, each with its own search.

Its grid is absolute (sigma and lambda from 1e-3 to 10, nine values each); KLIEP steps
down from sigma = 10 digit by digit. ``densratio(x, y)`` gives p_x / p_y. The relative
ratio is turned back as in ``_relative.py``.
"""

import numpy as np
from _ratio_job import Fitted, solve
from _relative import ratio_of_relative
from _serve import serve
from densratio import densratio


def make(**options):
    alpha = options.get("alpha", 0)

    def fit(Xp, Xq, gammas, seed):
        # It draws the centres from numpy's global generator.
        np.random.seed(seed)  # noqa: NPY002
        given = {} if np.ndim(gammas) else {"sigma": float((2 * gammas) ** -0.5)}
        model = densratio(Xp, Xq, verbose=False, **given, **options)
        info = model.kernel_info
        kernel = (info.centers, model.theta, 0.5 / info.sigma**2)
        return Fitted(
            lambda X: ratio_of_relative(model.compute_density_ratio(X), alpha),
            kernel=kernel if options["method"] == "KLIEP" else None,
        )

    return fit


if __name__ == "__main__":
    serve(make, solve, ("densratio", "numpy"))
