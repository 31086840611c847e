"""The parametric score of DRE-infinity, appendix F.2: a path between two Gaussians."""

import torch
from torch import nn

__all__ = ["GaussianScore"]


class GaussianScore(nn.Module):
    r"""Time and data score of N(0, I + t^2 S), the law of x_t on the arithmetic path.

    The denominator is N(0, I) at t = 0 and the numerator N(0, Sigma) at t = 1, with
    S = Sigma - I; the paper learns S. Here Sigma = L L^T is learnt, so that
    I + t^2 S = (1 - t^2) I + t^2 Sigma is positive definite at all times, which a free
    S is not. With M = (I + t^2 S)^-1 the scores are

    .. math::

        \partial_t \log p_t(x) &= t\, (x^T M S M x - \operatorname{tr}(S M)) \\
        \nabla_x \log p_t(x) &= -M x

    where the paper prints the quadratic form without its factor t.

    All times share the eigenvectors of Sigma: one decomposition serves a batch, however
    many times are in it. No gradient goes through the decomposition, which has none
    where eigenvalues coincide, as they all do at the start; the residual that is added
    to its solution, zero but for rounding, carries the gradient instead.

    Parameters
    ----------
    n_features : int
        Columns of x.
    learn_from_time : bool, default=True
        Whether L gets gradients through the time score too, not only through the data
        score. Both are the same L's, so either identifies it; the time score is one
        number a row, a sum over the columns, and its gradient is as noisy as that.
    """

    def __init__(self, n_features, learn_from_time=True):
        super().__init__()
        self.learn_from_time = learn_from_time
        self.factor = nn.Parameter(torch.eye(n_features))

    def forward(self, x, t):
        """Scores.

        Parameters
        ----------
        x : torch.Tensor of shape (n_rows, n_features)
        t : torch.Tensor of shape (n_rows, 1)

        Returns
        -------
        scores : torch.Tensor of shape (n_rows, 1 + n_features)
            The time score, then the data score.
        """
        factor, squared = self.factor, t.square()
        with torch.no_grad():
            vectors = torch.linalg.eigh(factor @ factor.T).eigenvectors
            values = (factor.T @ vectors).square().sum(dim=0)
        inverse = 1 / (1 + squared * (values - 1))

        def solve(rows):
            return (rows @ vectors * inverse) @ vectors.T

        fixed = solve(x)
        residual = x - fixed - squared * _times_S(fixed, factor)
        solution = fixed + solve(residual)
        if self.learn_from_time:
            # To first order eigenvalues change as if the vectors stood still.
            values = (factor.T @ vectors).square().sum(dim=0)
            quadratic = (solution * _times_S(solution, factor)).sum(1, keepdim=True)
        else:
            quadratic = (fixed * _times_S(fixed, factor.detach())).sum(1, keepdim=True)
        excess = values - 1
        trace = (excess / (1 + squared * excess)).sum(dim=1, keepdim=True)
        return torch.cat([t * (quadratic - trace), -solution], dim=1)

    def log_ratio(self, x):
        """The integral of the time score over t from 0 to 1, in closed form.

        Parameters
        ----------
        x : torch.Tensor of shape (n_rows, n_features)

        Returns
        -------
        log_ratio : torch.Tensor of shape (n_rows,)
            log N(x; 0, Sigma) - log N(x; 0, I), in nats.
        """
        whitened = torch.linalg.solve(self.factor, x.T)
        log_determinant = 2 * torch.linalg.slogdet(self.factor).logabsdet
        return (x.square().sum(1) - whitened.square().sum(0) - log_determinant) / 2


def _times_S(rows, factor):
    return rows @ factor @ factor.T - rows
