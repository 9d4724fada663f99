"""From integer levels to the continuous values that a density is defined on."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .. import incoming
from ..errors import SettingsError
from ..estimators.noise import draw_uniform
from ..expect import integer, sizes
from ..layers.coupling import AffineCoupling, conv_net

N_LEVELS = integer(2, 2**16)
"""Far beyond, float32 has no room for noise between two levels."""


def uniform_dequantize(levels: Tensor, n_levels: int, generator: torch.Generator | None = None) -> Tensor:
    """x = (level + u) / n_levels, u uniform on [0, 1): integers 0 ... n_levels - 1 to [0, 1), float32.

    The expected log-density of x bounds the log-probability of the levels from below (Theis et al. 2016).
    Raises SettingsError for wrong settings and for levels of another dtype, DataError for levels out of range.
    """
    n_levels = N_LEVELS("n_levels", n_levels)
    incoming.levels("levels", levels, n_levels)
    incoming.GENERATOR("generator", generator)
    like = torch.empty(0, dtype=torch.float32, device=levels.device)
    return _in_level(levels, draw_uniform(tuple(levels.shape), like, generator), n_levels)


def _in_level(levels: Tensor, noise: Tensor, n_levels: int) -> Tensor:
    # noise so near to 1 that the highest level + noise would be rounded up to the next
    gap = 2 ** (n_levels - 1).bit_length() * torch.finfo(noise.dtype).eps / 2
    return (levels + noise.clamp_max(1 - gap)) / n_levels


class VariationalDequantizer(nn.Module):
    """Noise u in (0, 1) from a density q(u | levels) that is trained with the flow, in place of the uniform one:

        log P(levels) >= E_q[log p(x) - log q(u | levels)] - D log n_levels,  x = (levels + u) / n_levels,

    with equality where q is the flow's own density of u within the cell. u = sigmoid(h(logit(e))) with e uniform and h
    couplings of the noise, whose nets look at the image too. h starts as the identity: q = 1, uniform dequantisation.

        x, log_q = dequantizer(levels, n_levels, generator)
        bits = rf.bits_per_dim(flow.log_prob(x, generator) - log_q, flow.event_shape, n_levels)

    shape: (C, H, W) of the images, of even width.  Source: Ho et al. 2019, sec. 3.1 (Flow++).
    """

    def __init__(self, shape: tuple[int, int, int], n_blocks: int = 4, width: int = 32) -> None:
        super().__init__()
        self.shape = sizes(3, "(channels, height, width) with an even width")("shape", shape)
        if self.shape[2] % 2:
            raise SettingsError(f"shape={shape}: expected (channels, height, width) with an even width")
        n_blocks, width = integer(0)("n_blocks", n_blocks), integer(1)("width", width)
        channels = self.shape[0]
        # the still squares of the noise, and both colours of the image
        nets = (conv_net(3 * channels, width, AffineCoupling.n_parameters * channels) for _ in range(n_blocks))
        self.couplings = nn.ModuleList(
            AffineCoupling(net, swap=i % 2 == 1, checkerboard=True) for i, net in enumerate(nets)
        )

    def forward(self, levels: Tensor, n_levels: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """levels (B, C, H, W), integers -> x in [0, 1), and log q(u | levels), (B,) nats."""
        n_levels = N_LEVELS("n_levels", n_levels)
        incoming.levels("levels", levels, n_levels, self.shape)
        context = (levels + 0.5) / n_levels - 0.5
        uniform = draw_uniform(tuple(levels.shape), context, generator)
        eps = torch.finfo(uniform.dtype).eps
        v = uniform.clamp(eps / 2, 1 - eps / 2).logit()
        log_q = -_log_slope_of_logit(v)
        for coupling in self.couplings:
            v, log_det = coupling(v, context=context)
            log_q = log_q - log_det
        return _in_level(levels, v.sigmoid(), n_levels), log_q + _log_slope_of_logit(v)


def _log_slope_of_logit(v: Tensor) -> Tensor:
    """sum of log d logit(u) / du at u = sigmoid(v): -log u - log(1 - u)."""
    return (softplus(v) + softplus(-v)).flatten(1).sum(1)
