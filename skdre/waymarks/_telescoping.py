"""TelescopingRatio: the log ratio as a sum over bridges."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch

from skdre._core.scales import draw_in
from skdre._core.types import Floats, RandomState, Rows
from skdre.paths import Path
from skdre.waymarks._base import BaseWaymarkRatio, of_model
from skdre.waymarks._models import BridgeModel
from skdre.waymarks._networks import BridgeEnsemble
from skdre.waymarks._placement import Spacing

__all__ = ["TelescopingRatio"]


class TelescopingRatio(BaseWaymarkRatio):
    """Density ratio as a product of ratios between waymarks (TRE).

    Where two samples hardly overlap, a classifier tells them apart without error and
    learns the sign of the log ratio, not its size. Telescoping ([1]_; DRE-infinity
    [2]_, section 2) puts waymarks on a path between the samples,

    log p(x) / q(x) = sum over k of log p_k+1(x) / p_k(x),

    and estimates the ratio of each two neighbours, which do overlap. By default that is
    done by an ensemble of networks as in :class:`skdre.MLPRatio`, each a trunk that all
    bridges share with a head for each.

    Parameters
    ----------
    estimator : ratio estimator, default=None
        Estimates the ratio of each bridge: cloned for each, and fitted on rows of its
        two waymarks. By default the networks that the parameters from `head` to
        `callbacks` describe.
    %(n_bridges)
    %(path)
    %(spacing)
    %(coupled)
    head : {"linear", "quadratic"}, default="linear"
        What each bridge's log ratio is of the trunk's output h: b^T h + c, or
        h^T W h + b^T h + c.
    %(network)
    %(hidden_features)
    %(activation)
    %(n_estimators)
    %(max_iter)
    %(batch_size)
    %(learning_rate)
    %(weight_decay)
    %(patience)
    %(device)
    %(callbacks)
    n_jobs : int, default=None
        Bridges that are fitted at a time, of a given `estimator`; -1 for all cores.
    %(verbose)
    %(random_state) Draws the pairs, the initial weights and the batches, or is dealt
        out to the clones of `estimator`.

    Attributes
    ----------
    %(network_)
    estimators_ : list of ratio estimators
        The fitted clones, the denominator's bridge first; with `estimator`.
    %(times_)
    %(bounds_)
    %(path_length_)
    %(center_)
    loss_curve_ : ndarray of shape (n_epochs,)
        Training loss, the mean over each 25 steps, all members and bridges, in nats.
    validation_scores_ : ndarray of shape (n_epochs,)
        Minus the log loss of held-out pairs, the mean over the same.
    %(best_validation_score_)
    %(n_iter_)
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.MultinomialRatio : One classifier of all waymarks.
    skdre.MLPRatio : The networks without bridges.

    Notes
    -----
    "TRE(4)" in [2]_ is ``n_bridges=4``. More bridges than needed cost nothing but time;
    bridges that are too long give a warning. A length of 1 to 2 each is easy: compare
    `path_length_`.

    The first and the last waymark are the samples themselves, also where the path ends
    near them only. Columns with a few values each (a code, a count) have nothing
    between the values, so that an interpolated waymark would be told from the sample by
    it; they switch from one row's value to the other's at a random time instead
    (dimension-wise mixing, [1]_, section 3.1).

    Networks see standardised columns, with values more than 2.5 standard deviations out
    drawn in, as in :class:`skdre.MLPRatio`. The pairs are drawn anew in each step, in
    proportion to the weights, and equal rows are merged first: neither the order of the
    rows, nor whether a row stands k times or has weight k, changes anything. A given
    `estimator` gets, for each waymark in between, as many rows as the larger sample
    has, and at the ends the samples with their weights.

    Each bridge is trained at its own two waymarks and evaluated everywhere, also where
    it has seen no rows. So the heads also see the columns themselves, linearly, and
    start from the linear discriminant of the two waymarks as Gaussians (without a
    trunk, quadratic heads from the quadratic one). This helps where the discriminant is
    near the truth far out, and harms where it is not.

    Interpolation is made for samples of one scale. Where the tails of a column are
    extreme (cubes of Gaussians) bridges in its units are worse than none; gaussianise
    it first.

    Ctrl-C during fit raises KeyboardInterrupt, and the best networks so far are kept:
    the estimator is fitted with them. With a given `estimator` nothing is kept.

    References
    ----------
    .. [1] B. Rhodes, K. Xu, M. Gutmann. "Telescoping Density-Ratio Estimation", NeurIPS
       2020, sections 3.1 to 3.3.
    .. [2] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022, section 2 and Eq. 2, where the ratio
       is q / p.

    Examples
    --------
    Two Gaussians 6 apart:

    >>> import numpy as np
    >>> from skdre import ClassifierRatio, TelescopingRatio, pool
    >>> rng = np.random.default_rng(0)
    >>> X, y = pool(
    ...     numerator=rng.normal(6, 1, (500, 1)), denominator=rng.normal(0, 1, (500, 1))
    ... )
    >>> ratio = TelescopingRatio(ClassifierRatio(), random_state=0).fit(X, y)
    >>> ratio.log_ratios(X).shape
    (1000, 4)
    >>> slope = ratio.decision_function([[1.0]]) - ratio.decision_function([[0.0]])
    >>> bool(abs(slope[0] - 6) < 0.5)
    True
    """

    _parameter_constraints = BaseWaymarkRatio._parameter_constraints | {
        "n_jobs": [Integral, None]
    }

    estimators_ = of_model("estimators_")

    _ensemble = BridgeEnsemble

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_bridges: int = 4,
        path: str | Path = "trigonometric",
        spacing: Spacing = "path-length",
        coupled: bool = True,
        head: str = "linear",
        network: torch.nn.Module | None = None,
        hidden_features: Sequence[int] = (64, 64, 64),
        activation: str = "silu",
        n_estimators: int = 8,
        max_iter: int = 2000,
        batch_size: int = 64,
        learning_rate: float = 0.002,
        weight_decay: float = 0.001,
        patience: int = 400,
        device: str = "auto",
        callbacks: Sequence[Any] | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        super().__init__(
            estimator,
            n_bridges=n_bridges,
            path=path,
            spacing=spacing,
            coupled=coupled,
            head=head,
            network=network,
            hidden_features=hidden_features,
            activation=activation,
            n_estimators=n_estimators,
            max_iter=max_iter,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            patience=patience,
            device=device,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
        self.n_jobs = n_jobs

    def _member_bridges(self, X: Rows) -> Floats:
        """The networks' log ratios, of shape (n_samples, n_members, n_bridges)."""
        rows = draw_in(self._validate_rows(X), *self.bounds_)
        return self.model_.log_ratios(rows, of_members=True)

    def _member_log_ratios(self, X: Rows) -> Floats:
        """Log ratios of the networks' members, of shape (n_samples, n_members)."""
        return self._member_bridges(X).sum(axis=-1)

    def _model_of_estimator(self) -> BridgeModel:
        return BridgeModel(self.estimator, self.n_bridges, self.n_jobs)
