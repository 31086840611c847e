"""What a fitted TimeScoreRatio predicts: time scores and their integral."""

import warnings
from functools import partial

import numpy as np
import torch

from skdre._compat import validate_parameter_constraints
from skdre._nn.settings import usual_torch
from skdre.time_score._integrate import gauss_legendre, path_integral, runge_kutta
from skdre.time_score._losses import fokker_planck_time_score

__all__ = ["TimeScorePrediction"]

# Rows at which prediction compares two numbers of nodes, and the difference, in nats
# or relative to the log ratio, that is warned of.
_CHECKED_ROWS = 32
_LARGE_ERROR = 0.05


class TimeScorePrediction:
    """Methods of estimators with a fitted ``network_``, ``path_`` and ``scaling_``.

    What is predicted follows from the fit and the arguments alone, not from parameters
    that were set since.
    """

    def _outputs(self, Z, t):
        """Outputs of the network at standardised rows and times, as a tensor."""
        device = next(self.network_.parameters()).device
        z, t = (torch.as_tensor(each, device=device) for each in (Z, t[:, None]))
        return self.network_(z, t)

    def _time_score(self, Z, t):
        """Time score at standardised rows, of shape (n_rows,)."""
        with usual_torch(grad=False):
            if self.objective_ == "fokker-planck":
                device = next(self.network_.parameters()).device
                z, t = (torch.as_tensor(each, device=device) for each in (Z, t))
                score = fokker_planck_time_score(
                    self.network_, self.path_, z, t[:, None]
                )
            elif self.objective_ == "ctsm-v":
                score = self._outputs(Z, t).sum(dim=1)
            else:
                score = self._outputs(Z, t)[:, 0]
        return score.cpu().numpy()

    def _data_score(self, Z, t):
        """Data score at standardised rows, of shape (n_rows, n_features)."""
        with usual_torch(grad=False):
            return self._outputs(Z, t)[:, 1:].cpu().numpy()

    def _integral(self, **changes):
        """How the integral is taken: as in the fit, but for what is not None."""
        changes = {name: value for name, value in changes.items() if value is not None}
        validate_parameter_constraints(
            {name: self._parameter_constraints[name] for name in changes},
            changes,
            caller_name=type(self).__name__,
        )
        return self.integral_ | changes

    def _integrate(self, Z, *, integrator, n_nodes, tol):
        margin = self.path_.margin if self.objective_ == "fokker-planck" else 0.0
        interval = (margin, 1.0)
        if integrator == "rk45":
            integrate = partial(runge_kutta, tol=tol, interval=interval)
        else:
            integrate = partial(gauss_legendre, n_nodes=n_nodes, interval=interval)
        if self.anchors_ is None:
            return integrate(self._time_score, Z)
        return path_integral(
            self._time_score,
            self._data_score,
            Z,
            self.anchors_,
            integrate,
            gaussian=self.denominator_ == "gaussian",
        )

    @staticmethod
    def _finer(integral):
        """Twice the nodes and a tenth of the tolerance, of which one matters."""
        finer = {"n_nodes": 2 * integral["n_nodes"], "tol": integral["tol"] / 10}
        return integral | finer

    def decision_function(self, X, *, integrator=None, n_nodes=None, tol=None):
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        integrator : {"gauss-legendre", "rk45"}, default=None
            How the integral over time is taken; None is as the estimator was fitted,
            here and below.
        n_nodes : int, default=None
            Nodes of "gauss-legendre".
        tol : float, default=None
            Tolerance of the steps of "rk45".

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite.

        Warns
        -----
        UserWarning
            If the integral is not accurate: with twice the nodes it differs by more
            than 0.05 nats and 5 %, at some of the rows.
        """
        X = self._validate_rows(X)
        integral = self._integral(integrator=integrator, n_nodes=n_nodes, tol=tol)
        Z = self.scaling_.transform(X)
        log_ratio = self._integrate(Z, **integral)
        if integral["integrator"] == "gauss-legendre":
            index = np.unique(np.linspace(0, len(Z) - 1, _CHECKED_ROWS).astype(int))
            self._warn_if_inaccurate(Z[index], log_ratio[index], integral)
        return log_ratio

    def _warn_if_inaccurate(self, Z, log_ratio, integral):
        error = np.abs(self._integrate(Z, **self._finer(integral)) - log_ratio)
        worst = np.argmax(error / np.maximum(1, np.abs(log_ratio)))
        if error[worst] > _LARGE_ERROR * max(1, abs(log_ratio[worst])):
            n_nodes = integral["n_nodes"]
            warnings.warn(
                f"The integral over time is not accurate: with n_nodes={n_nodes} and "
                f"with twice as many a log ratio of {log_ratio[worst]:.3g} differs by "
                f"{error[worst]:.2g} nats. Increase n_nodes.",
                UserWarning,
                stacklevel=3,
            )

    def integration_error(self, X, *, integrator=None, n_nodes=None, tol=None):
        """How far the log ratio is off for its integral over time alone.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        integrator : {"gauss-legendre", "rk45"}, default=None
            As of :meth:`decision_function`; None is as the estimator was fitted.
        n_nodes : int, default=None
            Nodes of "gauss-legendre".
        tol : float, default=None
            Tolerance of the steps of "rk45".

        Returns
        -------
        error : ndarray of shape (n_samples,)
            Absolute difference, in nats, to the integral with twice the nodes, or, of
            "rk45", with a tenth of the tolerance.
        """
        X = self._validate_rows(X)
        integral = self._integral(integrator=integrator, n_nodes=n_nodes, tol=tol)
        Z = self.scaling_.transform(X)
        coarse = self._integrate(Z, **integral)
        return np.abs(self._integrate(Z, **self._finer(integral)) - coarse)

    def time_score(self, X, times):
        """Time score d/dt log p_t(x), whose integral is the log ratio.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        times : array-like of shape (n_times,)
            Times on the path, from 0, the denominator, to 1, the numerator. Where a
            coefficient of the path has an infinite slope at an end, the score is taken
            1e-5 inside.

        Returns
        -------
        time_score : ndarray of shape (n_samples, n_times)
            In nats by unit of time.

        Raises
        ------
        ValueError
            If a time is not in [0, 1].

        Notes
        -----
        With ``pathwise=True`` the log ratio is the integral along other lines.
        """
        X = self._validate_rows(X)
        times = np.asarray(times, dtype=np.float64)
        if times.ndim != 1 or not ((times >= 0) & (times <= 1)).all():
            raise ValueError(
                f"times must be of shape (n_times,), all from 0 to 1, got {times!r}."
            )
        Z = self.scaling_.transform(X)
        margin = self.path_.margin
        inside = np.clip(times, margin, 1 - margin)
        return np.column_stack(
            [self._time_score(Z, np.full(len(Z), t)) for t in inside]
        )
