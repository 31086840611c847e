"""The flows by name: an entry of ``FLOWS`` is all that a new one needs."""

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from zuko.flows import ElementWiseTransform, Flow
from zuko.transforms import (
    ComposedTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
)

from skdre._core.docs import SHARED
from skdre._nn.images import check_image_shape
from skdre.flows._autoregressive import SpreadAutoregressive
from skdre.flows._gaussian import GaussianFlow
from skdre.flows._images import ImageFlow
from skdre.flows._transforms import Chain, Continuous, Coupling, standard_normal

__all__ = [
    "FLOWS",
    "IMAGE_FLOWS",
    "TRAINED_FLOWS",
    "FlowKind",
    "build_flow",
    "names_of",
]

# Bins of a spline between -5 and 5.
_N_BINS = 8


@dataclass(frozen=True)
class FlowKind:
    """A flow that has a name.

    It starts at the identity: the maps of the columns have done the coarse work, and a
    flow that has nothing to add should not have to unlearn a random start.

    Attributes
    ----------
    about : str
        A sentence or two for docstrings, after the name, with the source.
    build : callable
        Of ``n_features, n_transforms, hidden_features``; returns the flow.
    marginals : {"standardize", "gaussianize"} or None
        The maps of the columns that the name stands for; None tries both.
    is_trained : bool
        Whether it has no closed form.
    """

    about: str
    build: Callable[[int, int, Sequence[int]], Flow]
    marginals: str | None = None
    is_trained: bool = True


def _single_column(n_transforms, **univariate):
    """Flow of one column, which has nothing to be conditioned on."""
    transforms = [ElementWiseTransform(1, **univariate) for _ in range(n_transforms)]
    flow = Flow(transforms, standard_normal(1))
    for parameter in flow.parameters():
        nn.init.zeros_(parameter)
    return flow


def _autoregressive(n_features, n_transforms, hidden_features, **univariate):
    if n_features == 1:
        return _single_column(n_transforms, **univariate)
    order = torch.arange(n_features)
    transforms = [
        # Who comes last in one is first in the next.
        SpreadAutoregressive(
            order.flip(0) if k % 2 else order, hidden_features, **univariate
        )
        for k in range(n_transforms)
    ]
    return Flow(Chain(*transforms), standard_normal(n_features))


def _affine_spline(shift, scale, *knots):
    """Affine map, then a spline, which moves nothing beyond five standard deviations.

    A spline alone could not take rows in from there.
    """
    return ComposedTransform(
        MonotonicAffineTransform(shift, scale), MonotonicRQSTransform(*knots)
    )


def _nsf(n_features, n_transforms, hidden_features):
    return _autoregressive(
        n_features,
        n_transforms,
        hidden_features,
        univariate=_affine_spline,
        shapes=[(), (), (_N_BINS,), (_N_BINS,), (_N_BINS - 1,)],
    )


def _realnvp(n_features, n_transforms, hidden_features):
    """Pairs of couplings: the second maps the columns that the first left alone.

    Every pair splits the columns at random: were it always the same two halves, columns
    of one half would never see each other.
    """
    if n_features == 1:
        return _single_column(2 * n_transforms)
    transforms = []
    for _ in range(n_transforms):
        stays = torch.randperm(n_features) % 2 == 0
        transforms += [Coupling(each, hidden_features) for each in (stays, ~stays)]
    return Flow(Chain(*transforms), standard_normal(n_features))


def _ffjord(n_features, n_transforms, hidden_features):
    transform = Continuous(n_features, hidden_features)
    return Flow(transform, standard_normal(n_features))


def _gaussian(n_features, n_transforms, hidden_features):
    return GaussianFlow(n_features)


_COPULA = FlowKind(
    "whitening of Gaussianised columns, in closed form: the Gaussian copula, as in "
    "Choi et al. (AISTATS 2022, section 6.3).",
    _gaussian,
    marginals="gaussianize",
    is_trained=False,
)

FLOWS = {
    "maf": FlowKind(
        "masked autoregressive flow (Papamakarios et al., NeurIPS 2017): affine maps "
        "of each column given those before it. Its inverse takes one step for each "
        "column, here at about twice the cost of the forward pass.",
        _autoregressive,
    ),
    "nsf": FlowKind(
        "neural spline flow (Durkan et al., NeurIPS 2019): the same, each affine map "
        "followed by a monotone rational-quadratic spline, which bends the column's "
        "bulk.",
        _nsf,
    ),
    "realnvp": FlowKind(
        "pairs of affine couplings (Dinh et al., ICLR 2017), one half of the columns "
        "given the other, split at random. Inverse as fast as forward.",
        _realnvp,
    ),
    "ffjord": FlowKind(
        "continuous flow (Grathwohl et al., ICLR 2019), the solution of an ordinary "
        "differential equation. Slow; many columns train on a random estimate of the "
        "trace.",
        _ffjord,
    ),
    "gaussian": FlowKind(
        "whitening, in closed form.",
        _gaussian,
        marginals="standardize",
        is_trained=False,
    ),
    "copula": _COPULA,
    "gaussianization": _COPULA,
}

# Couplings of the flows of images by name, and what docstrings say of them.
IMAGE_FLOWS = {
    "conv-nsf": (
        "spline",
        "for images: convolutional couplings at several scales "
        "(:class:`skdre.networks.ImageFlow`), splines, as RQ-NSF in Choi et al. "
        "(AISTATS 2022, appendix F.3). Needs `image_shape`.",
    ),
    "glow": (
        "affine",
        "the same with affine couplings (Kingma and Dhariwal, NeurIPS 2018).",
    ),
}

TRAINED_FLOWS = [name for name, kind in FLOWS.items() if kind.is_trained]


def names_of(names: Iterable[str]) -> str:
    """The names in quotes, for docstrings and messages."""
    return ", ".join(f'"{name}"' for name in names)


def _describe(*more, names):
    """Header and text of the parameter `flow`, with names beside those of FLOWS."""
    abouts = {name: kind.about for name, kind in FLOWS.items()}
    abouts |= {name: about for name, (_, about) in IMAGE_FLOWS.items() if name in names}
    items = [f'* "{name}": {about}' for name, about in abouts.items()]
    return (
        f'flow : {{{names_of(names)}}} or callable, default="maf"',
        "The flow:\n\n"
        + "\n".join([*items, *more])
        + "\n\nA callable gets the number of features and returns a "
        ":class:`zuko.flows.Flow`, for example "
        "``functools.partial(zuko.flows.NSF, transforms=3)``; its base is taken as "
        "N(0, I), whatever it is.",
    )


SHARED["flow"] = _describe(names=FLOWS)
SHARED["flow_or_auto"] = _describe(
    '* "auto": as far from the columns as pays for the ratio of the two samples that y '
    'names: "standardize", the columns to mean 0 and variance 1; "gaussianize", each '
    'made normal; "gaussian"; "copula"; or "maf". The first whose held-out loss is '
    "within half a standard error of the best.",
    names=[*FLOWS, *IMAGE_FLOWS, "auto"],
)

# Of LikelihoodRatioAligner.
_OR_CALLABLE = (
    "A callable gets the number of features and returns a :class:`zuko.flows.Flow`."
)
SHARED["flow_of_map"] = (
    f"flow : {{{names_of(['affine', *TRAINED_FLOWS, *IMAGE_FLOWS])}}} or callable, "
    'default="affine"',
    "The map T: affine, or a flow of :class:`skdre.FlowFeaturizer`, which starts at "
    "the identity. For images it is two flows back to back, one to noise and the "
    f"inverse of another ([1]_, supplement 8.3). {_OR_CALLABLE}",
)
SHARED["density_of_samples"] = (
    f"density : {{{names_of(['gaussian', *TRAINED_FLOWS, *IMAGE_FLOWS])}}} "
    'or callable, default="gaussian"',
    "The family of densities: what it cannot tell apart counts as aligned. An affine "
    f"map between Gaussians needs no training. {_OR_CALLABLE}",
)


def build_flow(
    flow: str | Callable[[int], Flow],
    n_features: int,
    *,
    n_transforms: int,
    hidden_features: Sequence[int],
    image_shape: Sequence[int] | None = None,
    n_levels: int = 2,
    parameter: str = "flow",
) -> Flow:
    """Build a flow of a name of ``FLOWS``, or of a callable of the number of features.

    Or one of ``IMAGE_FLOWS``, for rows that are images of a shape.

    Raises ValueError if the name is unknown, the shape does not fit or the callable's
    flow is of other columns, TypeError if the callable returns something else.
    `parameter` is what the messages call it.
    """
    if isinstance(flow, str) and flow in IMAGE_FLOWS:
        if image_shape is None:
            raise ValueError(
                f"{parameter}={flow!r} is for images: give their image_shape, "
                "(height, width) or (height, width, channels), for rows of "
                f"{n_features} columns."
            )
        check_image_shape(image_shape, n_features)
        coupling, _ = IMAGE_FLOWS[flow]
        return ImageFlow(
            image_shape,
            coupling,
            n_levels=n_levels,
            n_steps=n_transforms,
            hidden_features=hidden_features,
        )
    if isinstance(flow, str):
        if flow not in FLOWS:
            known = ", ".join(map(repr, FLOWS))
            raise ValueError(
                f"{parameter} must be one of {known}, or a callable; got {flow!r}."
            )
        return FLOWS[flow].build(n_features, n_transforms, tuple(hidden_features))
    built = flow(n_features)
    if not isinstance(built, Flow):
        raise TypeError(
            f"{parameter} must be a callable that takes the number of features and "
            f"returns a zuko.flows.Flow, got a {type(built).__name__} from {flow!r}."
        )
    _check_columns(built, n_features, parameter)
    # A copy: the callable may give the same flow again, and it is trained in place.
    return copy.deepcopy(built)


def _check_columns(flow, n_features, parameter):
    """Try a flow of a user's on two rows: it may be made for other columns."""
    rows = torch.zeros(2, n_features)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # What does not fit may be warned of first; the error says it.
            warnings.simplefilter("ignore")
            shape = copy.deepcopy(flow).float()().transform(rows).shape
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{parameter} must return a flow of {n_features} columns, as many as it is "
            f"given, but its transform does not take such rows: {error}"
        ) from error
    if shape != rows.shape:
        raise ValueError(
            f"{parameter} must return a flow of {n_features} columns, as many as it is "
            f"given, but makes {tuple(shape)} of {tuple(rows.shape)}."
        )
