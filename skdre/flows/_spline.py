"""The step of a spline flow, and its gradient by hand."""

import torch

from skdre.flows._steps import LOG_SCALE_BOUND, Step

__all__ = ["SplineStep"]

# Numbers that are worked on at once: what the steps of the computation hand on to one
# another shall stay in the processor's cache.
_CHUNK_NUMBERS = 2**18

# Of more numbers the gradient computes again what the values have found.
_KEPT_NUMBERS = 2**20


class SplineStep(Step):
    """An affine map of each column, then a monotone rational-quadratic spline.

    The spline is that of Durkan et al. (NeurIPS 2019) as
    :class:`zuko.transforms.MonotonicRQSTransform` has it: the identity beyond its
    bound.

    Parameters
    ----------
    network : Network
        Gives, for each column in turn, the shift, the unbounded log scale, the widths
        and the heights of the bins, and the slopes at the knots between them.
    n_bins : int
    bound : float
    """

    def __init__(self, network, n_bins, bound=5.0):
        super().__init__(network)
        self.n_bins, self.bound = n_bins, bound

    def _chunks(self, outputs):
        """Columns in groups, and the outputs for each, (n_columns, -1, n_rows)."""
        arguments = outputs.unflatten(0, (-1, 3 * self.n_bins + 1))
        n_columns = max(_CHUNK_NUMBERS // arguments[0].numel(), 1)
        starts = range(0, len(arguments), n_columns)
        return [(slice(k, k + n_columns), arguments[k : k + n_columns]) for k in starts]

    def forward(self, x, *, save):
        outputs, of_network = self.network.forward(x, save=save)
        y, log_det, kept = torch.empty_like(x), x.new_zeros(x.shape[1]), []
        is_kept = save and outputs.numel() <= _KEPT_NUMBERS
        for columns, arguments in self._chunks(outputs):
            y[columns], slopes, found = self._spline(x[columns], arguments)
            log_det.add_(slopes.sum(0))
            kept.append(found if is_kept else None)
        return y, log_det, (x, outputs, of_network, kept)

    def backward(self, by_y, by_log_det, saved, *, of_inputs):
        x, outputs, of_network, kept = saved
        by_x, by_outputs = torch.empty_like(x), torch.empty_like(outputs)
        for (columns, arguments), (_, into), found in zip(
            self._chunks(outputs), self._chunks(by_outputs), kept, strict=True
        ):
            if found is None:
                found = self._spline(x[columns], arguments)[2]
            self._gradients(
                by_y[columns], by_log_det, x[columns], found, by_x[columns], into
            )
        by_seen, found = self.network.backward(
            by_outputs, of_network, of_inputs=of_inputs
        )
        return None if by_seen is None else by_x.add_(by_seen), found

    def _spline(self, x, arguments):
        """Values, log slopes, and what the gradients are made of."""
        n, B = self.n_bins, self.bound
        # Each argument a becomes a / (1 + |a| / its bound); a shift has none.
        bounds = arguments.new_full((3 * n + 1,), 1 / LOG_SCALE_BOUND)
        bounds[0] = 0
        bounds[2 : 2 * n + 2] *= 2
        shrink = arguments.abs().mul_(bounds[:, None]).add_(1).reciprocal_()
        arguments = arguments * shrink
        shift, log_scale = arguments[:, 0], arguments[:, 1]
        sizes, slopes = arguments[:, 2 : 2 * n + 2], arguments[:, 2 * n + 2 :]
        scale = log_scale.exp()
        u = torch.addcmul(shift, x, scale)

        # A softmax of few numbers is slow; these are bounded, so nothing overflows.
        shares = sizes.unflatten(1, (2, n)).exp()
        ends = shares.clone()
        for k in range(1, n):
            ends[:, :, k] += ends[:, :, k - 1]
        total = ends[:, :, -1:].reciprocal()
        shares.mul_(total)
        ends.mul_(total)
        inside = u.abs() <= B
        bin_ = (ends[:, 0, :-1] < ((u + B) / (2 * B))[:, None]).sum(1)
        at = bin_[:, None, None].expand(-1, 2, 1, -1)
        share, end = shares.gather(2, at).squeeze(2), ends.gather(2, at).squeeze(2)
        width, height = (2 * B * share).unbind(1)
        x0, y0 = ((end - share) * (2 * B)).sub_(B).unbind(1)
        log_slopes = torch.nn.functional.pad(slopes, (0, 0, 1, 1))
        of_bin = torch.stack([bin_, bin_ + 1], dim=1)
        d0, d1 = log_slopes.gather(1, of_bin).exp_().unbind(1)

        s = height / width
        xi = torch.where(inside, (u - x0) / width, 0)
        mix = xi - xi * xi
        bend = d0 + d1 - 2 * s
        below = torch.addcmul(s, bend, mix)
        share_up = (s * xi * xi + d0 * mix) / below
        rest = 1 - xi
        top = 2 * s * mix + d0 * rest * rest + d1 * xi * xi
        log_slope = torch.log(s * s * top / (below * below))
        y = torch.where(inside, torch.addcmul(y0, height, share_up), u)
        log_slope = torch.where(inside, log_slope, 0).add_(log_scale)
        kept = (
            shrink, scale, shares, bin_, share, end, width, height,
            inside, d0, d1, s, xi, mix, bend, below, share_up, rest, top,
        )  # fmt: skip
        return y, log_slope, kept

    def _gradients(self, by_y, by_slope, x, kept, by_x, by_arguments):
        """Gradients by x, without the network, and by arguments, into the last two."""
        n, B = self.n_bins, self.bound
        (
            shrink, scale, shares, bin_, share, end, width, height,
            inside, d0, d1, s, xi, mix, bend, below, share_up, rest, top,
        ) = kept  # fmt: skip
        # Of value and log slope: the parts that enter by xi, s, d0 and d1.
        of_value = by_y * height / below
        of_top = by_slope / top
        of_below = -(of_value * share_up) - 2 * by_slope / below
        turn = 1 - 2 * xi
        by_xi = (
            of_value * (2 * s * xi + d0 * turn)
            + of_below * bend * turn
            + 2 * of_top * (s * turn - d0 * rest + d1 * xi)
        )
        squared = xi * xi
        by_s = (
            of_value * squared
            + of_below * (1 - 2 * mix)
            + 2 * of_top * mix
            + 2 * by_slope / s
        )
        by_d0 = (of_value + of_below) * mix + of_top * rest * rest
        by_d1 = of_below * mix + of_top * squared

        by_u = by_xi / width
        by_x0 = -by_u
        by_width = -(by_xi * xi + by_s * s) / width
        by_height = by_y * share_up + by_s / width
        by_ends = torch.stack([by_x0, by_y], dim=1)
        by_sizes = torch.stack([by_width, by_height], dim=1)
        by_ends.mul_(inside[:, None]).mul_(2 * B)
        by_sizes.mul_(inside[:, None]).mul_(2 * B)
        by_u = torch.where(inside, by_u, by_y)

        by_arguments[:, 0] = by_u
        torch.mul(by_u, scale, out=by_x)
        torch.addcmul(by_slope, by_x, x, out=by_arguments[:, 1])
        # Through the softmax: a bin's start is the sum of the shares before it.
        mean = by_ends * (end - share) + by_sizes * share
        place = torch.arange(n, device=x.device)[:, None]
        before = place < bin_[:, None]
        by_shares = before[:, None] * by_ends[:, :, None]
        at = bin_[:, None, None].expand(-1, 2, 1, -1)
        by_shares.scatter_(2, at, by_sizes[:, :, None])
        by_shares.sub_(mean[:, :, None]).mul_(shares)
        by_arguments[:, 2 : 2 * n + 2] = by_shares.flatten(1, 2)
        by_log_slopes = torch.zeros_like(by_arguments[:, : n + 1])
        of_bin = torch.stack([bin_, bin_ + 1], dim=1)
        by_both = torch.stack([by_d0 * d0, by_d1 * d1], dim=1).mul_(inside[:, None])
        by_log_slopes.scatter_(1, of_bin, by_both)
        by_arguments[:, 2 * n + 2 :] = by_log_slopes[:, 1:-1]
        by_arguments.mul_(shrink).mul_(shrink)
