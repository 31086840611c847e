"""A small DAGAN: from a drawing and noise, another drawing of the same class.

As in Antoniou et al. the critic sees pairs: two real drawings of one class, or a real
one and what the generator made of it. Two things are other than theirs, so that minutes
on one core are enough. Their generator, a deep residual U-Net, paints each pixel; this
one moves the ink of its source about, as a hand would, by a smooth field of
displacements. (A painting one, given as long, still tore every stroke, and the ratio
told its images from real ones without error.) Their critic is that of a WGAN-GP, with
five steps to one of the generator; this one has spectral norms and the hinge loss, and
one step.
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate
from torch.nn.utils.parametrizations import spectral_norm

__all__ = [
    "SIDE",
    "Critic",
    "Generator",
    "PairDrawer",
    "generate",
    "render",
    "rendered",
    "train_generator",
]

# Table 7 ends in 64 features, one pixel after four poolings: 28, 14, 7, 3, 1.
SIDE = 28

NOISE = 32

# Points a side of a pixel at which the ink is looked up, and of the field.
_POINTS = 3
_KNOTS = 4

# Largest displacement, where half the image's side is 1.
_REACH = 0.3

# Weights in the generator's loss: of the bending energy, without which strokes tear,
# and of the logarithm of how far the noise moves the field, without which the generator
# learns to leave the noise unheard.
_BENDING = 20.0
_VARIETY = 0.3


def render(ink, displacement=None):
    """Images of drawings, their ink moved.

    Real and synthetic images are made by this one function, so that a ratio between
    them sees drawings, and not two ways to scale down.

    Parameters
    ----------
    ink : torch.Tensor of shape (n, 1, height, width)
        Between 0 and 1.
    displacement : torch.Tensor of shape (n, 2, knots, knots), default=None
        Where the ink of a point comes from, relative to the point, in halves of the
        side; smooth in between.

    Returns
    -------
    images : torch.Tensor of shape (n, 1, SIDE, SIDE)
    """
    fine = _POINTS * SIDE
    eye = torch.eye(2, 3, device=ink.device).expand(len(ink), 2, 3)
    grid = affine_grid(eye, [len(ink), 1, fine, fine], align_corners=False)
    if displacement is not None:
        field = interpolate(
            displacement, size=(fine, fine), mode="bicubic", align_corners=True
        )
        grid = grid + field.permute(0, 2, 3, 1)
    return avg_pool2d(grid_sample(ink, grid, align_corners=False), _POINTS)


def bending(field):
    """Mean squared second differences: what is not affine.

    Parameters
    ----------
    field : torch.Tensor of shape (n, 2, knots, knots)

    Returns
    -------
    energy : torch.Tensor of shape ()
    """
    second = [torch.diff(field, n=2, dim=dim) for dim in (-1, -2)]
    mixed = torch.diff(torch.diff(field, dim=-1), dim=-2)
    return sum(each.square().mean() for each in [*second, mixed])


class Generator(nn.Module):
    """Look at a drawing, and move its ink as the noise says."""

    def __init__(self, width=32):
        super().__init__()
        w = width
        self.encoder = nn.Sequential(
            nn.Conv2d(1, w, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * w * 49, 4 * w),
        )
        self.field = nn.Sequential(
            nn.Linear(4 * w + NOISE, 4 * w),
            nn.LeakyReLU(0.2),
            nn.Linear(4 * w, 4 * w),
            nn.LeakyReLU(0.2),
            nn.Linear(4 * w, 2 * _KNOTS**2),
        )
        # At the start the ink stays nearly where it is.
        with torch.no_grad():
            self.field[-1].weight *= 0.1
            self.field[-1].bias.zero_()

    def forward(self, ink, noise):
        """Drawings of shape (n, 1, height, width), noise of shape (n, NOISE)."""
        field = self.move(self.encoder(render(ink)), noise)
        return render(ink, field)

    def move(self, seen, noise):
        """The field of displacements for what the encoder saw."""
        field = self.field(torch.cat([seen, noise], dim=1))
        return _REACH * torch.tanh(field).view(-1, 2, _KNOTS, _KNOTS)


class Critic(nn.Module):
    """Score of a pair of images: high where both are real, and of one class."""

    def __init__(self, width=32):
        super().__init__()
        w = width
        layers = []
        for n_in, n_out in ((2, w), (w, 2 * w), (2 * w, 4 * w)):
            conv = nn.Conv2d(n_in, n_out, 4, stride=2, padding=1)
            layers += [spectral_norm(conv), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), spectral_norm(nn.Linear(4 * w * 9, 1))
        )

    def forward(self, source, candidate):
        return self.layers(torch.cat([source, candidate], dim=1))[:, 0]


class PairDrawer:
    """Positions of two different rows of one class, the classes equally often.

    Parameters
    ----------
    y : ndarray of int of shape (n_samples,)
        Classes, each of two rows or more.
    rng : numpy.random.Generator
    """

    def __init__(self, y, rng):
        self._order = np.argsort(y, kind="stable")
        _, self._start, self._count = np.unique(
            y[self._order], return_index=True, return_counts=True
        )
        if self._count.min() < 2:
            raise ValueError("Every class needs two rows at least.")
        self._rng = rng

    def __call__(self, n_pairs):
        label = self._rng.integers(len(self._start), size=n_pairs)
        count = self._count[label]
        first = self._rng.integers(count)
        second = (first + self._rng.integers(1, count)) % count
        return [self._order[self._start[label] + each] for each in (first, second)]


def train_generator(
    ink, y, *, n_steps, width=32, batch_size=64, seed=0, device="cpu", report=None
):
    """Train a generator on the pairs of each class.

    Parameters
    ----------
    ink : ndarray of shape (n_samples, height, width)
        Drawings, between 0 and 1.
    y : ndarray of int of shape (n_samples,)
    n_steps : int
        Steps of the generator, and of the critic.
    width : int, default=32
        Filters of the first layers.
    batch_size : int, default=64
    seed : int, default=0
    device : str, default="cpu"
    report : callable, default=None
        Called with the step and both losses, each hundred steps.

    Returns
    -------
    generator : Generator
        Its weights are an exponential average of those of the last steps.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator, critic = Generator(width).to(device), Critic(width).to(device)
        average = copy.deepcopy(generator)
        optimizers = [
            torch.optim.Adam(each.parameters(), lr=rate, betas=(0.0, 0.9))
            for each, rate in ((generator, 1e-4), (critic, 4e-4))
        ]
        draw = PairDrawer(np.asarray(y), np.random.default_rng(seed))
        for step in range(1, n_steps + 1):
            pairs = [_drawings(ink[each], device) for each in draw(batch_size)]
            losses = _step(generator, critic, pairs, optimizers)
            _follow(average, generator, min(0.998, step / (step + 10)))
            if report is not None and step % 100 == 0:
                report(step, *losses)
    return average.eval().requires_grad_(False)


def _drawings(ink, device):
    return torch.as_tensor(ink, dtype=torch.float32, device=device)[:, None]


def _step(generator, critic, pairs, optimizers):
    step_generator, step_critic = optimizers
    ink, other = pairs
    source, other = render(ink), render(other)
    noise = torch.randn(2, len(ink), NOISE, device=ink.device)
    seen = generator.encoder(source)
    field, another = (generator.move(seen, each) for each in noise)
    made = render(ink, field)

    candidates = torch.cat([other, made.detach()])
    real, fake = critic(source.repeat(2, 1, 1, 1), candidates).chunk(2)
    critic_loss = torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()
    step_critic.zero_grad()
    critic_loss.backward()
    step_critic.step()

    variety = torch.log((field - another).abs().mean())
    generator_loss = (
        _BENDING * bending(field) - _VARIETY * variety - critic(source, made).mean()
    )
    step_generator.zero_grad()
    generator_loss.backward()
    step_generator.step()
    return generator_loss.item(), critic_loss.item()


@torch.no_grad()
def _follow(average, generator, decay):
    pairs = zip(average.parameters(), generator.parameters(), strict=True)
    for follower, leader in pairs:
        follower.lerp_(leader, 1 - decay)


@torch.no_grad()
def _in_parts(make, ink, device):
    parts = [
        make(_drawings(part, device))
        for part in np.array_split(ink, -(-len(ink) // 500))
    ]
    rows = 255 * torch.cat(parts).flatten(1)
    return rows.round().to(torch.uint8).cpu().numpy()


def rendered(ink):
    """Images of drawings as rows of whole numbers.

    Parameters
    ----------
    ink : ndarray of shape (n_samples, height, width)
        Between 0 and 1.

    Returns
    -------
    X : ndarray of uint8 of shape (n_samples, SIDE * SIDE)
        Ink from 0 to 255.
    """
    return _in_parts(render, ink, "cpu")


def generate(generator, ink, *, seed):
    """Another image for each drawing, in the form of `rendered`.

    Parameters
    ----------
    generator : Generator
    ink : ndarray of shape (n_samples, height, width)
        Between 0 and 1.
    seed : int
        Of the noise.

    Returns
    -------
    X : ndarray of uint8 of shape (n_samples, SIDE * SIDE)
        Ink from 0 to 255.
    """
    device = next(generator.parameters()).device
    rng = torch.Generator().manual_seed(seed)

    def make(drawings):
        noise = torch.randn(len(drawings), NOISE, generator=rng)
        return generator(drawings, noise.to(device))

    return _in_parts(make, ink, device)
