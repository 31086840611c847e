"""A convolutional network for rows that are images."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from skdre._nn.images import check_image_shape, to_images, to_rows
from skdre._nn.networks import SiLUWithTangent

__all__ = ["UNet"]

# Width of the small networks that tell the time to each convolution.
_DENSE_FEATURES = 32


def _tanh_network(n_inputs, n_hidden, n_outputs):
    """The time's networks in [1]_, D.2: Linear, Tanh, Linear, Tanh, Linear."""
    return nn.Sequential(
        nn.Linear(n_inputs, n_hidden),
        nn.Tanh(),
        nn.Linear(n_hidden, n_hidden),
        nn.Tanh(),
        nn.Linear(n_hidden, n_outputs),
    )


def _group_norm(n_channels, most):
    """At most so many groups, of two channels or more each."""
    fit = [n for n in range(2, n_channels // 2 + 1) if n_channels % n == 0]
    return nn.GroupNorm(max((n for n in fit if n <= most), default=1), n_channels)


class _Block(nn.Module):
    """A convolution, the time added to it, group normalisation and Swish."""

    def __init__(self, convolution, n_channels, n_groups, time_features):
        super().__init__()
        self.convolution = convolution
        self.time = None
        if time_features is not None:
            self.time = _tanh_network(time_features, _DENSE_FEATURES, n_channels)
        self.norm = _group_norm(n_channels, n_groups)

    def forward(self, h, embedded):
        h = self.convolution(h)
        if self.time is not None:
            h = h + self.time(embedded)[:, :, None, None]
        return functional.silu(self.norm(h))

    def with_derivative(self, h, dh, embedded, d_embedded):
        """The output, and its derivative along a direction."""
        # The convolution is linear: one call for both.
        h, dh = self.convolution(torch.cat([h, dh])).chunk(2)
        if self.time is not None:
            time, d_time = _with_derivative(self.time, embedded, d_embedded)
            h, dh = h + time[:, :, None, None], dh + d_time[:, :, None, None]
        norm = self.norm
        groups = h.shape[0], norm.num_groups, -1
        variance, mean = torch.var_mean(
            h.reshape(groups), dim=2, correction=0, keepdim=True
        )
        scale = torch.rsqrt(variance + norm.eps)
        z, dz = (h.reshape(groups) - mean) * scale, dh.reshape(groups) * scale
        along = (z * dz).mean(dim=2, keepdim=True)
        dz = dz - dz.mean(dim=2, keepdim=True) - z * along
        weight = norm.weight[:, None, None]
        z = torch.addcmul(norm.bias[:, None, None], z.view(h.shape), weight)
        return SiLUWithTangent.apply(z, dz.view(h.shape) * weight)


def _with_derivative(tanh_network, t, dt):
    for layer in tanh_network:
        t = layer(t)
        if isinstance(layer, nn.Tanh):
            dt = (1 - t**2) * dt
        else:
            dt = dt @ layer.weight.T
    return t, dt


class UNet(nn.Module):
    """Convolutional U-Net of an image and a time, with columns for its inputs.

    The network of DRE-infinity for MNIST ([1]_, appendix D.2 and Table 2): 3 by 3
    convolutions halve the image while the channels grow, transposed convolutions take
    it back, each with what the first half had at that size beside it. A small Tanh
    network embeds the time, without sines, and another adds it to the output of each
    convolution; group normalisation and Swish follow.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (height, width, channels) of an image, in the order in which
        ``row.reshape(image_shape)`` makes one of a row.
    n_outputs : int, default=1
        Numbers that a linear layer reads off the last image: the time score, or a log
        ratio for each bridge; 0 for none.
    channels : sequence of int, default=(64, 128, 256, 512)
        Channels at each size of the image, the full one first. There is one halving
        less; odd sides are rounded up.
    time_features : int or None, default=256
        Width of the time's embedding; None makes a network of the image alone.
    image_output : bool, default=False
        Whether the last image itself is an output, n_features columns after the others.

    Raises
    ------
    ValueError
        If an image of that shape cannot be halved so often, or a size is not positive;
        when it is called, if the rows are of another number of columns.

    See Also
    --------
    skdre.TimeScoreRatio : Takes it as its `network`.
    skdre.TelescopingRatio : Takes one without a time, with an output for each bridge.
    skdre.MLPRatio : Takes one without a time and with one output.

    Notes
    -----
    ``TimeScoreRatio`` needs ``UNet(image_shape)`` for most objectives, for "joint"
    ``image_output=True`` as well, and for "ctsm-v" and "fokker-planck" ``n_outputs=0``
    and ``image_output=True``.

    With the defaults and images of 28 by 28 there are 3.7 million weights, as
    appendix F.4 of [1]_ says. Table 2 there has other numbers of channels in two rows
    of its second half (128 filters beside 256 channels), which fit no network; here the
    second half mirrors the first. There are 4 groups in the first normalisation and up
    to 32 in the others, each of two channels at least.

    The last layer starts small, so that training starts from outputs near 0.

    References
    ----------
    .. [1] K. Choi, C. Meng, Y. Song, S. Ermon. "Density Ratio Estimation via
       Infinitesimal Classification", AISTATS 2022, appendix D.2 and Table 2.

    Examples
    --------
    >>> import torch
    >>> from skdre.networks import UNet
    >>> network = UNet((8, 8), channels=(8, 16))
    >>> network(torch.zeros(5, 64), torch.zeros(5, 1)).shape
    torch.Size([5, 1])

    A time score of digits of 8 by 8 pixels, whose denominator is standard normal:

    >>> from sklearn.datasets import load_digits
    >>> from skdre import TimeScoreRatio, pool
    >>> X = load_digits().data[:200] / 8 - 1
    >>> noise = torch.randn(200, 64, generator=torch.manual_seed(0)).numpy()
    >>> ratio = TimeScoreRatio(
    ...     "velocity", network=network, max_iter=10, batch_size=16, random_state=0
    ... )
    >>> ratio.fit(*pool(numerator=X, denominator=noise)).decision_function(X).shape
    (200,)
    """

    encoder: nn.ModuleList
    decoder: nn.ModuleList
    last: nn.ConvTranspose2d
    image_output: bool

    def __init__(
        self,
        image_shape: Sequence[int],
        n_outputs: int = 1,
        *,
        channels: Sequence[int] = (64, 128, 256, 512),
        time_features: int | None = 256,
        image_output: bool = False,
    ) -> None:
        super().__init__()
        self.image_shape = shape = check_image_shape(image_shape)
        widths = tuple(channels)
        if not widths or not all(isinstance(n, Integral) and n > 0 for n in widths):
            raise ValueError(
                f"channels must be a sequence of positive integers, got {channels!r}."
            )
        if not isinstance(n_outputs, Integral) or n_outputs < (not image_output):
            raise ValueError(
                f"n_outputs must be an integer of {int(not image_output)} or more with "
                f"image_output={image_output}, got {n_outputs!r}."
            )
        sizes = [shape[:2]]
        for _ in widths[1:]:
            if 1 in sizes[-1]:
                raise ValueError(
                    f"An image of {shape[0]} by {shape[1]} pixels cannot be halved "
                    f"{len(widths) - 1} times, as channels={channels!r} asks: use at "
                    f"most {len(sizes)} of them."
                )
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        self.time_features, self.image_output = time_features, bool(image_output)
        self.embedding: nn.Sequential | None = None
        if time_features is not None:
            self.embedding = _tanh_network(1, time_features, time_features)

        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        n_inputs = shape[2]
        for k, width in enumerate(widths):
            convolution = nn.Conv2d(
                n_inputs, width, 3, stride=1 + (k > 0), padding=1, bias=False
            )
            n_groups = 32 if k else 4
            self.encoder.append(_Block(convolution, width, n_groups, time_features))
            n_inputs = width
        for k in reversed(range(1, len(widths))):
            odd = [n % 2 for n in sizes[k - 1]]
            convolution = nn.ConvTranspose2d(
                n_inputs,
                widths[k - 1],
                3,
                stride=2,
                padding=1,
                output_padding=(1 - odd[0], 1 - odd[1]),
                bias=False,
            )
            self.decoder.append(_Block(convolution, widths[k - 1], 32, time_features))
            n_inputs = 2 * widths[k - 1]
        self.last = nn.ConvTranspose2d(n_inputs, shape[2], 3, padding=1)
        self.linear: nn.Linear | None = None
        if n_outputs:
            self.linear = nn.Linear(math.prod(shape), n_outputs)
        with torch.no_grad():
            (self.last if image_output else self.linear).weight.mul_(0.1)

    def forward(self, x: torch.Tensor, t: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs at rows and times.

        Parameters
        ----------
        x : torch.Tensor of shape (n_rows, n_features)
            Images as rows.
        t : torch.Tensor of shape (n_rows, 1), default=None
            Times; none if `time_features` is None.

        Returns
        -------
        outputs : torch.Tensor of shape (n_rows, n_outputs)
            With `image_output` n_features columns more.
        """
        self._check(x, t)
        embedded = None if self.embedding is None else self.embedding(t)
        h, beside = to_images(x, self.image_shape), []
        for block in self.encoder:
            h = block(h, embedded)
            beside.append(h)
        beside.pop()
        for block in self.decoder:
            h = torch.cat([block(h, embedded), beside.pop()], dim=1)
        image = to_rows(self.last(h))
        outputs = [] if self.linear is None else [self.linear(image)]
        if self.image_output:
            outputs.append(image)
        return torch.cat(outputs, dim=1)

    def with_derivative(
        self, x: torch.Tensor, t: torch.Tensor, dx: torch.Tensor, dt: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs, and their derivatives along the direction (dx, dt).

        Parameters
        ----------
        x : torch.Tensor of shape (n_rows, n_features)
            Images as rows.
        t : torch.Tensor of shape (n_rows, 1)
            Times, or None if there are none.
        dx : torch.Tensor of shape (n_rows, n_features)
            Direction of the rows.
        dt : torch.Tensor of shape (n_rows, 1)
            Direction of the times, or None.

        Returns
        -------
        outputs, derivatives : torch.Tensor
            Of the shape that calling the network gives.
        """
        self._check(x, t)
        embedded = d_embedded = None
        if self.embedding is not None:
            embedded, d_embedded = _with_derivative(self.embedding, t, dt)
        h, dh = (to_images(each, self.image_shape) for each in (x, dx))
        beside = []
        for block in cast("list[_Block]", self.encoder):
            h, dh = block.with_derivative(h, dh, embedded, d_embedded)
            beside.append((h, dh))
        beside.pop()
        for block in cast("list[_Block]", self.decoder):
            pairs = (block.with_derivative(h, dh, embedded, d_embedded), beside.pop())
            h, dh = (torch.cat(each, dim=1) for each in zip(*pairs, strict=True))
        last = self.last(torch.cat([h, dh]))
        image, d_image = map(to_rows, last.chunk(2))
        # Of a direction there is no bias.
        of_zero = self.last(torch.zeros_like(h[:1]))
        d_image = d_image - to_rows(of_zero)
        outputs = []
        if self.linear is not None:
            outputs.append((self.linear(image), d_image @ self.linear.weight.T))
        if self.image_output:
            outputs.append((image, d_image))
        output, slope = (torch.cat(each, dim=1) for each in zip(*outputs, strict=True))
        return output, slope

    def _check(self, x, t):
        n_features = math.prod(self.image_shape)
        if x.shape[1] != n_features:
            raise ValueError(
                f"UNet is for images of height, width and channels {self.image_shape}, "
                f"rows of {n_features} columns, got {x.shape[1]}."
            )
        if (t is None) != (self.embedding is None):
            raise ValueError(
                f"UNet with time_features={self.time_features} is called with "
                f"{'rows alone' if self.embedding is None else 'rows and times'}."
            )
