"""Layers that move entries, set some aside or add some; they change no volume themselves."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ..errors import SettingsError
from ..estimators.noise import draw_uniform
from ..expect import integer, sizes
from .bijection import BIJECTION, Bijection


def squeezed(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of images after a Squeeze: (C, H, W) -> (4C, H/2, W/2)."""
    return 4 * shape[0], shape[1] // 2, shape[2] // 2


class _Rearrangement(Bijection):
    interval = None

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        return self.transform(x), x.new_zeros(len(x))


class Squeeze(_Rearrangement):
    """(B, C, H, W) -> (B, 4C, H/2, W/2): each 2 x 2 patch becomes four channels. Source: Dinh et al. 2017, sec. 3.6."""

    def transform(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[2] % 2 or x.shape[3] % 2:
            raise SettingsError(f"Squeeze needs images of even height and width, got {tuple(x.shape)}")
        return pixel_unshuffle(x, 2).view(len(x), *squeezed(x.shape[1:]))  # a batch of none keeps its shape otherwise

    def inverse(self, y: Tensor) -> Tensor:
        if y.dim() != 4 or y.shape[1] % 4:
            raise SettingsError(f"Squeeze makes four channels of each, and none other: got {tuple(y.shape)}")
        return pixel_shuffle(y, 2).view(len(y), y.shape[1] // 4, 2 * y.shape[2], 2 * y.shape[3])


class Flatten(_Rearrangement):
    """(B, *shape) -> (B, D)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = sizes()("shape", shape, "Flatten")

    def transform(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise SettingsError(f"Flatten({self.shape}) got events of shape {tuple(x.shape[1:])}")
        return x.flatten(1)

    def inverse(self, y: Tensor) -> Tensor:
        if y.shape[1:] != (math.prod(self.shape),):
            raise SettingsError(f"Flatten({self.shape}) got vectors of shape {tuple(y.shape[1:])} to put back")
        return y.view(len(y), *self.shape)


class FactorOut(Bijection):
    """(B, 2C, H, W) -> (B, D): the first C channels go through `rest`, the others leave for the base density.

    y = [the leaving channels, flattened; rest(the kept channels)], so that the latent stays one vector and
    log det = that of `rest`. The leaving channels pass no later layer, which saves most of the work.

    rest: a bijection from (B, C, H, W) to vectors.  kept: (C, H, W).  Source: Dinh et al. 2017, sec. 3.6.
    """

    def __init__(self, rest: Bijection, kept: tuple[int, int, int]) -> None:
        super().__init__()
        self.rest = BIJECTION("rest", rest, "FactorOut")
        self.kept = sizes(3)("kept", kept, "FactorOut")

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        channels, height, width = self.kept
        if tuple(x.shape[1:]) != (2 * channels, height, width):
            raise SettingsError(
                f"FactorOut(kept={self.kept}) needs twice as many channels, got images {tuple(x.shape[1:])}"
            )
        # a copy: the layers that follow expect dense storage
        return x[:, :channels].contiguous(), x[:, channels:].flatten(1)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        kept, leaving = self._split(x)
        z, log_det = self.rest(kept, generator)
        return torch.cat([leaving, z], 1), log_det

    def transform(self, x: Tensor) -> Tensor:
        kept, leaving = self._split(x)
        return torch.cat([leaving, self.rest.transform(kept)], 1)

    def inverse(self, y: Tensor) -> Tensor:
        size = math.prod(self.kept)
        if y.dim() != 2 or y.shape[1] <= size:
            raise SettingsError(f"FactorOut(kept={self.kept}) got {tuple(y.shape)}: expected longer vectors")
        leaving = y[:, :size].view(len(y), *self.kept)
        return torch.cat([self.rest.inverse(y[:, size:]), leaving], 1)

    def initialize_(self, x: Tensor) -> None:
        self.rest.initialize_(self._split(x)[0])

    def measure_contraction_(self, x: Tensor) -> None:
        self.rest.measure_contraction_(self._split(x)[0])


class NoiseChannels(Bijection):
    """(B, C, H, W) -> (B, C + n, H, W): n channels u of uniform noise on [0, 1) beside the image; inverse drops them.

    It is no bijection of x. What follows models the pair (x, u), and as the noise has log q(u) = 0,
        E_u[log p(x, u)] <= log p(x) = log of the integral of p(x, u) over u        (Jensen's inequality):
    a flow that starts with it returns an estimate of this LOWER BOUND from one u, so its bits/dim is an upper bound of
    the data's, not the density of the data alone. Its samples do follow p(x). Channels of zeros in place of noise (the
    injective padding of Behrmann et al. 2019, sec. 4.2, for classifiers) leave no density at all: the images would fill
    a set of volume zero, where log p(x, 0) has no upper limit.

    `transform` draws the noise from a fixed seed, to be a function of x alone.  Source: the paper's public code.
    """

    interval = None

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = integer(1)("n", n, "NoiseChannels")

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        noise = draw_uniform((len(x), self.n, *x.shape[2:]), x, generator)
        return torch.cat([x, noise], 1), x.new_zeros(len(x))

    def transform(self, x: Tensor) -> Tensor:
        return self.forward(x, torch.Generator().manual_seed(0))[0]

    def inverse(self, y: Tensor) -> Tensor:
        return y[:, : -self.n]
