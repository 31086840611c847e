"""ImageFlow: multi-scale convolutional couplings for rows that are images."""

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.nn import functional
from zuko.flows import Flow
from zuko.lazy import LazyTransform
from zuko.transforms import (
    ComposedTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
)

from skdre._nn.images import check_image_shape, to_images, to_rows
from skdre.flows._transforms import Bound, standard_normal, start_at_zero

__all__ = ["COUPLINGS", "ImageFlow"]

COUPLINGS = ("spline", "affine")


class _Rotation(nn.Module):
    """A 1 by 1 convolution: one matrix for the channels of every pixel."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and the log determinant."""
        log_det = torch.linalg.slogdet(self.matrix).logabsdet
        return _times(self.matrix, h), h.shape[2] * h.shape[3] * log_det

    def inverse(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and the log determinant of the inverse."""
        log_det = torch.linalg.slogdet(self.matrix).logabsdet
        back = _times(torch.linalg.inv(self.matrix), h)
        return back, -h.shape[2] * h.shape[3] * log_det


def _times(matrix, h):
    return functional.conv2d(h, matrix[:, :, None, None])


class _Step(nn.Module):
    """Act-norm, a rotation of the channels, and a coupling of their two halves.

    Act-norm starts at the identity: the columns come standardised.
    """

    def __init__(self, matrix, hidden_features, coupling, n_bins, bound):
        super().__init__()
        n_channels = len(matrix)
        self.n_given, self.bound = n_channels // 2, bound
        n_moved = n_channels - self.n_given
        self.sizes = (1, 1)
        if coupling == "spline":
            self.sizes += (n_bins, n_bins, n_bins - 1)
        self.log_scale = nn.Parameter(torch.zeros(n_channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(n_channels, 1, 1))
        self.rotation = _Rotation(matrix)
        # As in Glow: 3 by 3 at both ends, 1 by 1 between.
        widths = [self.n_given, *hidden_features]
        layers: list[nn.Module] = [Bound()]
        for k in range(len(hidden_features)):
            size = 1 if k else 3
            layers += [
                nn.Conv2d(*widths[k : k + 2], size, padding=size // 2),
                nn.SiLU(),
            ]
        last = nn.Conv2d(widths[-1], n_moved * sum(self.sizes), 3, padding=1)
        start_at_zero(last)
        self.network = nn.Sequential(*layers, last)

    def _conditioned(self, given):
        """The elementwise map of the other channels."""
        found = self.network(given).unflatten(1, (-1, sum(self.sizes)))
        shift, scale, *knots = found.movedim(2, -1).split(self.sizes, dim=-1)
        affine = MonotonicAffineTransform(shift[..., 0], scale[..., 0])
        if not knots:
            return affine
        # A spline alone could not take rows in from beyond its bound.
        spline = MonotonicRQSTransform(*knots, bound=self.bound)
        return ComposedTransform(affine, spline)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and the log determinant of each."""
        log_det = h.shape[2] * h.shape[3] * self.log_scale.sum()
        h, of_rotation = self.rotation(h * self.log_scale.exp() + self.shift)
        given, moved = h[:, : self.n_given], h[:, self.n_given :]
        moved, slopes = self._conditioned(given).call_and_ladj(moved)
        log_det = log_det + of_rotation + slopes.sum(dim=(1, 2, 3))
        return torch.cat([given, moved], dim=1), log_det

    def inverse(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and the log determinant of the inverse for each."""
        given, moved = h[:, : self.n_given], h[:, self.n_given :]
        found, slopes = self._conditioned(given).inv.call_and_ladj(moved)
        h, of_rotation = self.rotation.inverse(torch.cat([given, found], dim=1))
        log_det = of_rotation - h.shape[2] * h.shape[3] * self.log_scale.sum()
        h = (h - self.shift) * (-self.log_scale).exp()
        return h, log_det + slopes.sum(dim=(1, 2, 3))


def _level(n_channels, n_steps, **step):
    """Steps with random rotations, and one back: all together start at the identity."""
    layers, product = nn.ModuleList(), torch.eye(n_channels)
    for _ in range(n_steps):
        matrix, _ = torch.linalg.qr(torch.randn(n_channels, n_channels))
        product = matrix @ product
        layers.append(_Step(matrix.contiguous(), **step))
    layers.append(_Rotation(product.T.contiguous()))
    return layers


class _MultiScale(Transform):
    """What the levels make of rows: the features lie where the pixels lay."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, levels, shape):
        super().__init__()
        self.levels, self.shape = levels, shape

    def _forward(self, k, h):
        h, total = functional.pixel_unshuffle(h, 2), 0
        for layer in self.levels[k]:
            h, log_det = layer(h)
            total = total + log_det
        if k + 1 < len(self.levels):
            # Half of the channels are finished; the other half goes on.
            done, rest = h.chunk(2, dim=1)
            rest, log_det = self._forward(k + 1, rest)
            h, total = torch.cat([done, rest], dim=1), total + log_det
        return functional.pixel_shuffle(h, 2), total

    def _backward(self, k, h):
        h, total = functional.pixel_unshuffle(h, 2), 0
        if k + 1 < len(self.levels):
            done, rest = h.chunk(2, dim=1)
            rest, total = self._backward(k + 1, rest)
            h = torch.cat([done, rest], dim=1)
        for layer in reversed(self.levels[k]):
            h, log_det = layer.inverse(h)
            total = total + log_det
        return functional.pixel_shuffle(h, 2), total

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = x.shape
        h, log_det = self._forward(0, to_images(x, self.shape))
        return to_rows(h).reshape(shape), log_det.reshape(shape[:-1])

    def _call(self, x):
        return self.call_and_ladj(x)[0]

    def back_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse, and its own log determinant."""
        h, log_det = self._backward(0, to_images(z, self.shape))
        return to_rows(h).reshape(z.shape), log_det.reshape(z.shape[:-1])

    def _inverse(self, z):
        return self.back_and_ladj(z)[0]

    @property
    def inv(self) -> Transform:
        return _Back(self)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]


class _Back(Transform):
    """The inverse of a _MultiScale, with its log determinant in one pass."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, forward):
        super().__init__()
        self.there = forward

    @property
    def inv(self) -> Transform:
        return self.there

    def _call(self, z):
        return self.there.back_and_ladj(z)[0]

    def _inverse(self, x):
        return self.there(x)

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.there.back_and_ladj(z)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(x)[1]


class _LazyMultiScale(LazyTransform):
    def __init__(self, shape, n_levels, n_steps, **step):
        super().__init__()
        self.shape = shape
        self.levels = nn.ModuleList()
        n_channels = shape[2]
        for _ in range(n_levels):
            self.levels.append(_level(4 * n_channels, n_steps, **step))
            n_channels *= 2

    def forward(self, c=None):
        return _MultiScale(self.levels, self.shape)


class ImageFlow(Flow):
    """Multi-scale convolutional coupling flow for rows that are images.

    Each level halves the image and makes four channels of one (squeeze), then takes a
    number of steps: a scale and shift of each channel (act-norm), a rotation of the
    channels (a 1 by 1 convolution), and a coupling, which maps half of the channels,
    pixel by pixel, given the other half. Half of the channels are then finished and the
    next level goes on with the others [1]_ [2]_. With affine couplings this is Glow;
    with splines it is the noise of DRE-infinity's images, RQ-NSF ([3]_, appendix F.3).

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (height, width, channels) of an image, in the order in which
        ``row.reshape(image_shape)`` makes one of a row.
    coupling : {"spline", "affine"}, default="spline"
        "affine" maps a value by a scale and a shift; "spline" adds a monotone
        rational-quadratic spline.
    n_levels : int, default=2
        How often the image is halved; both sides must be multiples of 2^n_levels.
    n_steps : int, default=8
        Steps of each level.
    hidden_features : sequence of int, default=(64, 64)
        Channels of the hidden layers of each coupling's network: the first and the last
        convolution are 3 by 3, those between 1 by 1.
    n_bins : int, default=8
        Bins of a spline.
    bound : float, default=3.0
        The spline bends values between -bound and bound.

    Raises
    ------
    ValueError
        If an image of that shape cannot be halved so often, or a size is not as
        described.

    See Also
    --------
    skdre.FlowFeaturizer : Takes it as ``flow="conv-nsf"`` and ``flow="glow"``, or as a
        callable.
    skdre.LikelihoodRatioAligner : By those names, two of them back to back are its map.

    Notes
    -----
    It starts at the identity, as all flows here do: the steps' rotations are drawn at
    random, and the last of a level undoes them. The features keep the layout of the
    image, so that a convolutional network of them sees neighbours side by side.

    References
    ----------
    .. [1] D. Kingma, P. Dhariwal. "Glow: Generative Flow with Invertible 1x1
       Convolutions", NeurIPS 2018.
    .. [2] C. Durkan, A. Bekasov, I. Murray, G. Papamakarios. "Neural Spline Flows",
       NeurIPS 2019, section 5.2.
    .. [3] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022.

    Examples
    --------
    >>> import torch
    >>> from skdre.networks import ImageFlow
    >>> flow = ImageFlow((8, 8), n_steps=2, hidden_features=(16,))
    >>> x = torch.randn(5, 64)
    >>> flow().log_prob(x).shape
    torch.Size([5])

    As the flow of an estimator it is given by a function of the number of columns:

    >>> from skdre import LikelihoodRatioAligner
    >>> aligner = LikelihoodRatioAligner(
    ...     flow=lambda n_features: ImageFlow((8, 8), coupling="affine")
    ... )
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        coupling: str = "spline",
        *,
        n_levels: int = 2,
        n_steps: int = 8,
        hidden_features: Sequence[int] = (64, 64),
        n_bins: int = 8,
        bound: float = 3.0,
    ) -> None:
        shape = check_image_shape(image_shape)
        if coupling not in COUPLINGS:
            raise ValueError(f"coupling must be one of {COUPLINGS}, got {coupling!r}.")
        sizes = {"n_levels": n_levels, "n_steps": n_steps, "n_bins": n_bins}
        for name, size in sizes.items():
            least = 1 + (name == "n_bins")
            if not isinstance(size, Integral) or size < least:
                raise ValueError(
                    f"{name} must be an integer of {least} or more, got {size!r}."
                )
        if not isinstance(bound, Real) or not 0 < bound < math.inf:
            raise ValueError(f"bound must be a positive number, got {bound!r}.")
        hidden = tuple(hidden_features)
        if not all(isinstance(n, Integral) and n > 0 for n in hidden):
            raise ValueError(
                "hidden_features must be a sequence of positive integers, got "
                f"{hidden_features!r}."
            )
        if any(side % 2**n_levels for side in shape[:2]):
            halvings = 0
            while not any(side % 2 ** (halvings + 1) for side in shape[:2]):
                halvings += 1
            raise ValueError(
                f"n_levels={n_levels} halves an image {n_levels} times, so both sides "
                f"must be multiples of {2**n_levels}, got {shape[0]} by {shape[1]}: "
                + (f"use n_levels={halvings}, or " if halvings else "")
                + "pad the images."
            )
        transform = _LazyMultiScale(
            shape,
            n_levels,
            n_steps,
            hidden_features=hidden,
            coupling=coupling,
            n_bins=n_bins,
            bound=float(bound),
        )
        super().__init__(transform, standard_normal(math.prod(shape)))
