"""Coupling layers: half of an event moves the other half, entry by entry; and linear maps across channels between them.

The Jacobian is triangular, so its determinant is the product of the slopes, exact and cheap. The price: half of the
event passes unchanged.
"""

import math
import re

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ..errors import InverseError, SettingsError
from ..expect import FLAG, integer, offering, settle, shown
from .bijection import Bijection, channels_of

LIMIT = 3.0
"""Logarithms of scales stay between -LIMIT and LIMIT."""


def bounded(raw: Tensor) -> Tensor:
    """LIMIT tanh(raw / LIMIT): close to raw near 0, and no scale so small or so large that precision is lost."""
    return LIMIT * (raw / LIMIT).tanh()


def dense_net(n_in: int, width: int, n_out: int) -> nn.Sequential:
    """n_in -> width -> width -> n_out on vectors. The last layer starts at zero, so that a coupling starts simple."""
    layers = [nn.Linear(n_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, n_out)]
    return _last_zero(layers)


def conv_net(n_in: int, width: int, n_out: int) -> nn.Sequential:
    """The same on images, with kernels 3x3, 1x1 and 3x3."""
    first, last = nn.Conv2d(n_in, width, 3, padding=1), nn.Conv2d(width, n_out, 3, padding=1)
    return _last_zero([first, nn.SiLU(), nn.Conv2d(width, width, 1), nn.SiLU(), last])


def _last_zero(layers: list[nn.Module]) -> nn.Sequential:
    nn.init.zeros_(layers[-1].weight)
    nn.init.zeros_(layers[-1].bias)
    return nn.Sequential(*layers)


def split_checkerboard(x: Tensor) -> tuple[Tensor, Tensor]:
    """The dark and the light squares of images: (B, C, H, W) -> twice (B, C, H, W/2), each row closed up."""
    first, second = x.unflatten(3, (-1, 2)).unbind(4)
    odd = _odd_rows(x)
    return torch.where(odd, second, first), torch.where(odd, first, second)


def join_checkerboard(dark: Tensor, light: Tensor) -> Tensor:
    """The inverse of split_checkerboard."""
    odd = _odd_rows(dark)
    return torch.stack([torch.where(odd, light, dark), torch.where(odd, dark, light)], 4).flatten(3)


def _odd_rows(x: Tensor) -> Tensor:
    return (torch.arange(x.shape[2], device=x.device) % 2 == 1)[:, None]


class Coupling(Bijection):
    """y1 = x1 and y2 = h(x2; net(x1)) with an increasing h of every entry: log det = sum of log h'.

    x1, x2: the first and the second half of axis 1 (features or channels), or the dark and the light squares of an
    image.  net: from x1 to `n_parameters` numbers for every entry of x2, (B, n_parameters * C, ...).
    swap: the second half moves the first instead.

    A subclass gives h, `move`, and its inverse, `move_back`. Raises SettingsError for events that cannot be split, and
    for a net of the wrong number of outputs. Source: Dinh et al. 2014; checkerboard: Dinh et al. 2017, sec. 3.4.
    """

    n_parameters: int

    def __init__(self, net: nn.Module, *, swap: bool = False, checkerboard: bool = False) -> None:
        super().__init__()
        self.net, self.swap, self.checkerboard = net, swap, checkerboard
        settle(self, net=offering("a function, such as an nn.Module", "__call__"), swap=FLAG, checkerboard=FLAG)

    def move(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """h(x) and log h'(x). x: (B, C, ...).  parameters: (B, C, n_parameters, ...)."""
        raise NotImplementedError

    def move_back(self, y: Tensor, parameters: Tensor) -> Tensor:
        """The x with h(x) = y."""
        raise NotImplementedError

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """context: (B, K, ...), more that the net may look at: then this is a bijection of x for every context."""
        still, moving = self._split(x)
        moved, log_slope = self.move(moving, self._ask(still, moving, context))
        return self._join(still, moved), log_slope.flatten(1).sum(1)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        still, moved = self._split(y)
        return self._join(still, self.move_back(moved, self._ask(still, moved, context)))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.checkerboard and (x.dim() != 4 or x.shape[3] % 2):
            raise SettingsError(f"a checkerboard needs images of even width, got {tuple(x.shape)}")
        if not self.checkerboard and x.shape[1] < 2:
            raise SettingsError(f"axis 1 of {tuple(x.shape)} has no two halves: set checkerboard=True for images")
        first, second = split_checkerboard(x) if self.checkerboard else x.tensor_split(2, 1)
        return (second, first) if self.swap else (first, second)

    def _join(self, still: Tensor, moved: Tensor) -> Tensor:
        halves = (moved, still) if self.swap else (still, moved)
        return join_checkerboard(*halves) if self.checkerboard else torch.cat(halves, 1)

    def _ask(self, still: Tensor, moving: Tensor, context: Tensor | None) -> Tensor:
        if context is not None:
            seen = split_checkerboard(context) if self.checkerboard else (context,)
            still = torch.cat([still, *seen], 1)
        raw, channels = self._found(still), moving.shape[1]
        wanted = (len(moving), channels * self.n_parameters, *moving.shape[2:])
        if not isinstance(raw, Tensor) or raw.shape != wanted:
            raise SettingsError(
                f"the net of {type(self).__name__} gives {shown(raw)}: expected {wanted}, "
                f"{self.n_parameters} numbers for each of the {channels} channels that move"
            )
        return raw.unflatten(1, (channels, self.n_parameters))

    def _found(self, still: Tensor) -> Tensor:
        try:
            return self.net(still)
        except RuntimeError as error:
            if not re.search("shape|channels|dimension|dtype|same type", str(error)):
                raise
            told = f"the net of {type(self).__name__} does not take the {tuple(still.shape)} that stay"
            raise SettingsError(f"{told}: {' '.join(str(error).split())[:200]}") from error


class AffineCoupling(Coupling):
    """h(x) = x exp(s) + t, so that log h' = s, with |s| <= 3. Source: Dinh et al. 2017, sec. 3.2 (Real NVP)."""

    n_parameters = 2

    def move(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = parameters.unbind(2)
        log_scale = bounded(raw)
        return x * log_scale.exp() + shift, log_scale

    def move_back(self, y: Tensor, parameters: Tensor) -> Tensor:
        raw, shift = parameters.unbind(2)
        return (y - shift) * (-bounded(raw)).exp()


class MixtureCoupling(Coupling):
    """h(x) = logit(F(x)) exp(s) + t, with F(x) = sum_k pi_k sigmoid((x - m_k) / s_k) the distribution function of a
    mixture of logistic densities: steep at each centre m_k, flat between, where an affine h has one slope.

    log h' = log F' - log F - log(1 - F) + s, all from logarithms, so that no tail rounds to 0.
    Source: Ho et al. 2019, sec. 3.2 (Flow++).
    """

    n_components = 8
    n_parameters = 3 * n_components + 2  # weight, centre and scale of every component, s and t

    def _unpack(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """log pi, m, log s_k, each (B, C, n_components, ...); s and t, each (B, C, ...)."""
        k = self.n_components
        weight, centre, raw, ends = parameters.split([k, k, k, 2], 2)
        # components that start alike would stay alike
        apart = torch.linspace(-1, 1, k, dtype=raw.dtype, device=raw.device).view(-1, *[1] * (raw.dim() - 3))
        raw_end, shift = ends.unbind(2)
        return weight.log_softmax(2), centre + apart, bounded(raw), bounded(raw_end), shift

    def move(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        log_weight, centre, log_scale, log_end, shift = self._unpack(parameters)
        z = (x.unsqueeze(2) - centre) * (-log_scale).exp()
        below, above = log_weight + logsigmoid(z), log_weight + logsigmoid(-z)
        log_cdf, log_rest = below.logsumexp(2), above.logsumexp(2)
        log_density = (below + logsigmoid(-z) - log_scale).logsumexp(2)
        return (log_cdf - log_rest) * log_end.exp() + shift, log_density - log_cdf - log_rest + log_end

    @torch.no_grad()
    def move_back(self, y: Tensor, parameters: Tensor) -> Tensor:
        """Bisection, one binary digit of x a round: it cannot miss.

        logit(F(x)) = u is between the values of the components by themselves, (x - m_k) / s_k. So x is between the
        least and the largest of m_k + s_k u, where all of them are at most u, or at least u.
        """
        log_weight, centre, log_scale, log_end, shift = self._unpack(parameters)
        u = (y - shift) * (-log_end).exp()
        alone = centre + log_scale.exp() * u.unsqueeze(2)
        low, high = alone.amin(2), alone.amax(2)
        for _ in range(torch.finfo(y.dtype).bits):
            middle = (low + high) / 2
            z = (middle.unsqueeze(2) - centre) * (-log_scale).exp()
            logit = (log_weight + logsigmoid(z)).logsumexp(2) - (log_weight + logsigmoid(-z)).logsumexp(2)
            low, high = torch.where(logit < u, middle, low), torch.where(logit < u, high, middle)
        return (low + high) / 2


class InvertibleLinear(Bijection):
    """y = W x across axis 1, at every pixel by itself (a 1x1 convolution); W starts as a random rotation.

    log det = pixels * log |det W|. It mixes what the couplings keep apart: a permutation that is learned.
    Source: Kingma and Dhariwal 2018, sec. 3.2 (Glow).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        channels = integer(1)("channels", channels, "InvertibleLinear")
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0])

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        pixels = math.prod(x.shape[2:])
        return self.transform(x), (pixels * torch.linalg.slogdet(self.weight)[1]).expand(len(x))

    def transform(self, x: Tensor) -> Tensor:
        channels_of(x, len(self.weight), self)
        return torch.einsum("ij,bj...->bi...", self.weight, x)

    def inverse(self, y: Tensor) -> Tensor:
        channels_of(y, len(self.weight), self)
        solved, singular = torch.linalg.solve_ex(self.weight, y.flatten(2) if y.dim() > 2 else y.unsqueeze(2))
        if bool(singular.any()):
            raise InverseError("the weight of an InvertibleLinear is singular: take weights of an earlier step")
        return solved.view_as(y)
