"""A flow: a bijection and a standard normal base density."""

import math
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError, SettingsError
from ..estimators.noise import device_generator
from ..expect import integer, number, shown, sizes
from ..incoming import GENERATOR, PRECISE, REAL, batch, entries
from ..layers.bijection import BIJECTION, Bijection
from ..layers.residual import residual_blocks
from .certificate import Certificate, certify, enforce_
from .variance import VarianceReport, refuse_expansion, variance_report


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, (B, ...) -> (B,)."""
    flat = z.flatten(1)
    return -0.5 * (flat.square().sum(1) + flat.shape[1] * math.log(2 * math.pi))


def bits_per_dim(log_prob: Tensor, event_shape: tuple[int, ...], n_levels: int) -> Tensor:
    """Bits per dimension of the discrete data: (-log p(x) + D log n_levels) / (D log 2).

    log_prob: (B,) nats, a density of x in [0, 1] after dequantisation x = (level + noise) / n_levels; the term
    D log n_levels is the change of variables back to integer levels. With uniform noise the result is an upper bound of
    the discrete model's bits (Theis et al. 2016, sec. 3.1). NaN stays NaN.
    """
    if not isinstance(log_prob, float) and getattr(log_prob, "dtype", None) not in PRECISE:
        raise SettingsError(f"log_prob={shown(log_prob)}: expected a tensor, (B,) nats, float32 or float64")
    n_levels = integer(2)("n_levels", n_levels)
    dimensions = math.prod(sizes()("event_shape", event_shape))
    return (dimensions * math.log(n_levels) - log_prob) / (dimensions * math.log(2))


class Flow(nn.Module):
    """Density of events x = f^-1(z), z ~ N(0, I):  log p(x) = log N(f(x)) + log |det df/dx|.

    Every method takes batches (B, *event_shape) in float32 or float64, not more precise than the parameters and on
    their device, and raises SettingsError for others. NaN, infinity, and pixels where a Logit has no value, raise
    DataError: on a CPU always, on a GPU in evaluation (`torch.no_grad()`), as to look costs a step its wait.
    """

    def __init__(self, bijection: Bijection, event_shape: tuple[int, ...], latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.bijection = BIJECTION("bijection", bijection)
        self.event_shape = sizes()("event_shape", event_shape)
        self.latent_shape = sizes()("latent_shape", latent_shape)
        # noise channels make the latent larger than the event
        if math.prod(self.latent_shape) < math.prod(self.event_shape):
            raise SettingsError(f"latent {latent_shape} is smaller than event {event_shape}: no inverse")

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """log_prob, for what calls a module: hooks, torch.compile, DataParallel."""
        return self.log_prob(x, generator)

    def load_state_dict(self, state_dict: Mapping[str, Any], *how: Any, **named: Any) -> Any:
        """As of every module. Raises SettingsError for the weights of another model."""
        try:
            return super().load_state_dict(state_dict, *how, **named)
        except (RuntimeError, TypeError) as error:
            told = " ".join(str(error).replace("\n", ";").split())
            raise SettingsError(f"these weights are not of this model: {told[:300]}") from error

    def log_prob(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B,) nats; unbiased where the blocks' estimators are. generator: their randomness."""
        z, log_det = self.encode(x, generator)
        return standard_normal_log_prob(z) + log_det

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """z = f(x) and log |det df/dx|."""
        self._events(x, generator)
        z, log_det = self.bijection(x, generator)
        return _of_shape("latent_shape", self.latent_shape, z), log_det

    def _events(self, x: Tensor, generator: torch.Generator | None = None, least: int = 0) -> None:
        """Refuse what is no batch of `least` or more events of this flow."""
        GENERATOR("generator", generator)
        batch("x", x, self.event_shape, like=self._anchor())
        entries("x", x, self.bijection.interval or REAL)
        if len(x) < least:
            raise DataError(f"x has {len(x)} events: expected {least} or more")

    def _anchor(self) -> Tensor | None:
        """A tensor of the dtype and on the device of the model; None where it has none."""
        return next(chain(self.parameters(), self.buffers()), None)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """x = f^-1(z) by fixed-point iteration through the blocks. Raises InverseError where one does not converge."""
        batch("z", z, self.latent_shape, like=self._anchor())
        entries("z", z)
        return _of_shape("event_shape", self.event_shape, self.bijection.inverse(z))

    def sample(self, n: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """n events: decode(temperature * standard normal noise), 0 <= temperature."""
        n, temperature = integer(0)("n", n), number("[0, inf)")("temperature", temperature)
        GENERATOR("generator", generator)
        anchor = self._anchor()
        anchor = torch.empty(0) if anchor is None else anchor
        source, like = device_generator(generator, anchor.device), dict(device=anchor.device, dtype=anchor.dtype)
        return self.decode(temperature * torch.randn((n, *self.latent_shape), generator=source, **like))

    @torch.no_grad()
    def initialize_(self, x: Tensor) -> None:
        """Start ActNorms from the statistics of a batch, and the norms from its image size. Once, before training."""
        self._events(x, least=1)
        self.bijection.initialize_(x)

    def certify(self) -> Certificate:
        """Proven bounds of Lip(g) for every residual block; see certificate.py."""
        return certify(self)

    def enforce_(self) -> Certificate:
        """Scale the weights of blocks that are not proven contractions; returns the new certificate."""
        return enforce_(self)

    def measure_contraction_(self, x: Tensor) -> None:
        """Measure at a batch of events what Matched laws and `variance_report` need. Call it now and then.

        Raises NotContractiveError where a block does not contract there: its series diverges, and log p is no number.
        """
        self._events(x, least=1)
        self.bijection.measure_contraction_(x)
        refuse_expansion(self)

    def variance_report(self, x: Tensor | None = None) -> VarianceReport:
        """The blocks whose training law cannot have finite variance, with the numbers.

        x: events to measure the contraction at; None: the rates measured last.
        Raises SettingsError where none were measured yet.
        """
        if x is not None:
            self.measure_contraction_(x)
        blocks = list(residual_blocks(self).values())
        if any(block.contraction is None for block in blocks):
            raise SettingsError("the contraction of the blocks was never measured: pass events, variance_report(x)")
        return variance_report(self)


def _of_shape(name: str, shape: tuple[int, ...], found: Tensor) -> Tensor:
    if tuple(found.shape[1:]) != shape:
        raise SettingsError(
            f"{name} = {shape}, but the bijection gives {tuple(found.shape)}: expected (batch, *{name})"
        )
    return found
