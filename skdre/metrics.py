"""Losses of density ratios, as pure functions on arrays."""

import numpy as np

__all__ = ["ratio_log_loss"]


def ratio_log_loss(is_numerator, log_ratio, *, sample_weight=None):
    r"""Class-balanced log loss of a log ratio, in nats.

    The domain of a row is predicted from its density ratio under equal priors,
    :math:`P(\mathrm{numerator} \mid x) = r(x) / (1 + r(x))`, whatever the sample sizes.
    The loss is the mean over the two domains of the mean negative log probability
    within each; its minimum over all functions is reached by the true ratio, and
    ``log(2)`` is the loss of a constant ratio of 1.

    Parameters
    ----------
    is_numerator : array-like of bool, shape (n_samples,)
        True where the row comes from the numerator's sample.
    log_ratio : array-like of float, shape (n_samples,)
        Log density ratio at each row, in nats.
    sample_weight : array-like of float, shape (n_samples,), default=None
        Weights, counted inside each domain.

    Returns
    -------
    loss : float
        Mean of the two domains' losses, in nats; lower is better.

    Raises
    ------
    ValueError
        If the lengths differ, a log ratio is NaN, a weight is negative or not finite,
        or a domain has no row of positive weight.

    Examples
    --------
    >>> from skdre.metrics import ratio_log_loss
    >>> round(ratio_log_loss([True, False, False], [0.0, 0.0, 0.0]), 4)
    0.6931
    """
    is_numerator = np.asarray(is_numerator, dtype=bool)
    log_ratio = np.asarray(log_ratio, dtype=np.float64)
    if sample_weight is None:
        sample_weight = np.ones(log_ratio.shape)
    sample_weight = np.asarray(sample_weight, dtype=np.float64)
    if not is_numerator.shape == log_ratio.shape == sample_weight.shape:
        raise ValueError(
            "is_numerator, log_ratio and sample_weight must have one shape, got "
            f"{is_numerator.shape}, {log_ratio.shape} and {sample_weight.shape}."
        )
    if np.isnan(log_ratio).any():
        raise ValueError("log_ratio contains NaN.")
    if not np.isfinite(sample_weight).all() or (sample_weight < 0).any():
        raise ValueError("sample_weight must be finite and not negative.")
    losses = np.logaddexp(0.0, np.where(is_numerator, -log_ratio, log_ratio))
    total = 0.0
    for domain, name in ((is_numerator, "numerator"), (~is_numerator, "denominator")):
        # Without the rows of weight zero, whose loss may be infinite: 0 inf is NaN.
        domain = domain & (sample_weight > 0)
        if not domain.any():
            raise ValueError(
                "The loss of a ratio needs rows of positive weight from both classes, "
                f"but the {name}'s class has none."
            )
        total += 0.5 * np.average(losses[domain], weights=sample_weight[domain])
    return float(total)
