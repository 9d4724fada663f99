"""Bijections that act on every entry by itself."""

import math

import torch
from torch import Tensor, nn

from ..expect import integer, number
from ..incoming import entries
from .bijection import Bijection, channels_of

ALPHA = number("[1e-30, 0.49]")
"""Of a Logit: below, float32 takes log s at x = 0 for infinite; near 1/2 log s - log(1 - s) cancels."""


class ActNorm(Bijection):
    """y = (x + shift) exp(log_scale), one pair per channel (axis 1).

    log det = (positions per channel) * sum of log_scale, the same for every sample. `initialize_` sets mean 0 and
    variance 1 per channel. Source: Kingma and Dhariwal 2018, sec. 3.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        channels = integer(1)("channels", channels, type(self).__name__)
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def _per_channel(self, t: Tensor, like: Tensor) -> Tensor:
        channels_of(like, len(t), self)
        return t.view(1, -1, *[1] * (like.dim() - 2))

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        positions = math.prod(x.shape[2:])
        return self.transform(x), (positions * self.log_scale.sum()).expand(len(x))

    def transform(self, x: Tensor) -> Tensor:
        return (x + self._per_channel(self.shift, x)) * self._per_channel(self.log_scale, x).exp()

    def inverse(self, y: Tensor) -> Tensor:
        return y * self._per_channel(-self.log_scale, y).exp() - self._per_channel(self.shift, y)

    @torch.no_grad()
    def initialize_(self, x: Tensor) -> None:
        per_channel = x.transpose(0, 1).flatten(1)
        mean, variance = per_channel.mean(1), per_channel.var(1, unbiased=False)
        entries("the variance of x over the batch", variance)  # its squares may be too large for the dtype
        self.shift.copy_(-mean)
        self.log_scale.copy_(-0.5 * variance.clamp_min(1e-6).log())


class Normalize(ActNorm):
    """An ActNorm that is not trained: mean 0 and variance 1 per channel, from the batch that `initialize_` saw.

    Stands in the place of Logit where a classifier reads the features (paper, sec. 5): the density is then one of the
    whole real line, not of [0, 1].
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        for name in ("shift", "log_scale"):
            value = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, value)


class Logit(Bijection):
    """y = log(s / (1 - s)) with s = alpha + (1 - 2 alpha) x: the open unit interval of s to the real line.

    log det = sum over entries of log(1 - 2 alpha) - log s - log(1 - s). alpha keeps s away from 0 and 1. An x beyond
    0 < s < 1 gives NaN. The inverse ends where the dtype does: at y = 15.9 in float32, next to x = 1, so that every
    y has an x whose own y is finite.
    Source: Dinh et al. 2017, sec. 4.1.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = ALPHA("alpha", alpha, "Logit")

    @property
    def interval(self) -> tuple[float, float]:
        """0 <= s <= 1: from a little below x = 0 to a little above x = 1, where samples may lie."""
        margin = self.alpha / (1 - 2 * self.alpha)
        return -margin, 1 + margin

    def _logs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """log s and log(1 - s). 1 - s comes from 1 - x, which is exact near x = 1 where 1 - s would cancel."""
        low, high = (self.alpha + (1 - 2 * self.alpha) * part for part in (x, 1 - x))
        return low.log(), high.log()

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        low, high = self._logs(x)
        return low - high, (math.log1p(-2 * self.alpha) - low - high).flatten(1).sum(1)

    def transform(self, x: Tensor) -> Tensor:
        low, high = self._logs(x)
        return low - high

    def inverse(self, y: Tensor) -> Tensor:
        # near x = 1 numbers lie eps apart, and so do values of 1 - s; near 0 they are as dense as s needs
        eps = torch.finfo(y.dtype).eps
        low, high = y.sigmoid().clamp_min(8 * eps * self.alpha), (-y).sigmoid().clamp_min(min(eps, self.alpha))
        low, high = ((s - self.alpha) / (1 - 2 * self.alpha) for s in (low, high))
        return torch.where(y < 0, low, 1 - high)
