"""The contract of every layer of a flow, and layers one after the other."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["Bijection", "Chain"]


class Bijection(nn.Module):
    """An invertible map of events; each sample of a batch is mapped on its own."""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """x (B, ...) -> y (B, ...) and log |det dy/dx| (B,) in nats."""
        raise NotImplementedError

    def transform(self, x: Tensor) -> Tensor:
        """y alone, with no work on the log-determinant."""
        return self.forward(x)[0]

    def inverse(self, y: Tensor) -> Tensor:
        """The x with transform(x) = y."""
        raise NotImplementedError

    def initialize_(self, x: Tensor) -> None:
        """Set what depends on data (statistics, sizes) from one batch of inputs. Nothing by default."""

    def measure_contraction_(self, x: Tensor) -> None:
        """Store how fast the powers of the Jacobian of a residual branch fall at these inputs. Nothing by default."""


class Chain(Bijection):
    """y = f_n(... f_1(x)); log-determinants add. The chain of a flow holds all its layers in order."""

    def __init__(self, layers: Iterable[Bijection]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x, generator)
            total = total + log_det
        return x, total

    def transform(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.transform(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            y = layer.inverse(y)
        return y

    def initialize_(self, x: Tensor) -> None:
        for layer in self.layers:
            layer.initialize_(x)
            with torch.no_grad():
                x = layer.transform(x)

    @torch.no_grad()
    def measure_contraction_(self, x: Tensor) -> None:
        for layer in self.layers:
            layer.measure_contraction_(x)
            x = layer.transform(x)
