"""A flow: a bijection and a standard normal base density."""

import math

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from ..estimators.noise import device_generator
from ..layers.bijection import Bijection
from ..layers.residual import ResidualBlock
from .certificate import Certificate, certify, enforce_
from .variance import VarianceReport, refuse_expansion, variance_report

__all__ = ["Flow", "bits_per_dim", "standard_normal_log_prob"]


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, (B, ...) -> (B,)."""
    flat = z.flatten(1)
    return -0.5 * (flat.square().sum(1) + flat.shape[1] * math.log(2 * math.pi))


def bits_per_dim(log_prob: Tensor, event_shape: tuple[int, ...], n_levels: int) -> Tensor:
    """Bits per dimension of the discrete data: (-log p(x) + D log n_levels) / (D log 2).

    log_prob: (B,) nats, a density of x in [0, 1] after dequantisation x = (level + noise) / n_levels; the term
    D log n_levels is the change of variables back to integer levels. With uniform noise the result is an upper bound of
    the discrete model's bits (Theis et al. 2016, sec. 3.1).
    """
    dimensions = math.prod(event_shape)
    return (dimensions * math.log(n_levels) - log_prob) / (dimensions * math.log(2))


class Flow(nn.Module):
    """Density of events x = f^-1(z), z ~ N(0, I):  log p(x) = log N(f(x)) + log |det df/dx|."""

    def __init__(self, bijection: Bijection, event_shape: tuple[int, ...], latent_shape: tuple[int, ...]) -> None:
        super().__init__()
        # noise channels make the latent larger than the event
        if math.prod(latent_shape) < math.prod(event_shape):
            raise SettingsError(f"latent {latent_shape} is smaller than event {event_shape}: no inverse")
        self.bijection = bijection
        self.event_shape, self.latent_shape = tuple(event_shape), tuple(latent_shape)

    def log_prob(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B,) nats; unbiased where the blocks' estimators are. generator: their randomness."""
        z, log_det = self.encode(x, generator)
        return standard_normal_log_prob(z) + log_det

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """z = f(x) and log |det df/dx|."""
        if tuple(x.shape[1:]) != self.event_shape:
            raise SettingsError(f"events of shape {tuple(x.shape[1:])} for a flow of events {self.event_shape}")
        return self.bijection(x, generator)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """x = f^-1(z) by fixed-point iteration through the blocks. Raises InverseError where one does not converge."""
        return self.bijection.inverse(z)

    def sample(self, n: int, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """n events: decode(temperature * standard normal noise)."""
        anchor = next(self.parameters())
        noise = torch.randn(
            (n, *self.latent_shape),
            generator=device_generator(generator, anchor.device),
            device=anchor.device,
            dtype=anchor.dtype,
        )
        return self.decode(temperature * noise)

    @torch.no_grad()
    def initialize_(self, x: Tensor) -> None:
        """Start ActNorms from the statistics of a batch, and the norms from its image size. Once, before training."""
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
        self.bijection.measure_contraction_(x)
        refuse_expansion(self)

    def variance_report(self, x: Tensor | None = None) -> VarianceReport:
        """The blocks whose training law cannot have finite variance, with the numbers.

        x: events to measure the contraction at; None: the rates measured last.
        Raises SettingsError where none were measured yet.
        """
        if x is not None:
            self.measure_contraction_(x)
        blocks = [b for b in self.modules() if isinstance(b, ResidualBlock)]
        if any(block.contraction is None for block in blocks):
            raise SettingsError("the contraction of the blocks was never measured: pass events, variance_report(x)")
        return variance_report(self)
